"""What all ensembles that one model is trained on have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kakehashi_botan.configuration_files import PUBLIC_TEMPERATURE
from kakehashi_botan.training.quenched_ensembles import QuenchedEnsemble
from kakehashi_core.errors import InvalidInputError

SAME_DENSITY = 2e-3
SAME_COMPOSITION = 5e-3
SAME_TIME = 1e-3
SAME_TEMPERATURE = 1e-6
PUBLIC_TIME = 4120.0
PUBLIC_SIZE = (4096, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConditions:
    """Conditions of simulations.

    Attributes:
        files: Names of the files.
        n_atoms: Smallest and largest number of particles.
        n_runs: Smallest and largest number of runs.
        temperature: epsilon_AA / k_B.
        time: Until when particles move, tau_LJ.
        density: 1 / sigma_AA^3.
        share_of_b: Share of particles that are of species B.
    """

    files: tuple[str, ...]
    n_atoms: tuple[int, int]
    n_runs: tuple[int, int]
    temperature: float
    time: float
    density: float
    share_of_b: float

    @property
    def public(self) -> bool:
        """Whether all of it is as in the public data of BOTAN."""
        size = (*self.n_atoms, *self.n_runs)
        return (
            size == (PUBLIC_SIZE[0], PUBLIC_SIZE[0], PUBLIC_SIZE[1], PUBLIC_SIZE[1])
            and (self.temperature, self.time) == (PUBLIC_TEMPERATURE, PUBLIC_TIME)
            and all(name.startswith("isoconfig_") for name in self.files)
        )

    def describe(self) -> str:
        """Return where the data come from, in words."""
        n = len(self.files)
        if self.public:
            return (
                f"{n} public isoconfigurational ensembles of BOTAN (H. Shiba, Apache-2.0; "
                f"{self._numbers()})"
            )
        return f"{n} isoconfigurational ensembles, {', '.join(self.files)} ({self._numbers()})"

    def _numbers(self) -> str:
        def span(values: tuple[int, int]) -> str:
            return str(values[0]) if values[0] == values[1] else f"{values[0]} to {values[1]}"

        return (
            f"N = {span(self.n_atoms)}, T = {self.temperature:g}, {span(self.n_runs)} runs, "
            f"t = {self.time:g} tau_LJ"
        )


def common_conditions(ensembles: Sequence[QuenchedEnsemble]) -> TrainingConditions:
    """Return the conditions of ensembles that belong together.

    Raises:
        InvalidInputError: If they do not: temperature, time, density or composition of a file differ from
            those of the first one, or it does not hold a mixture of two species in three dimensions.
    """
    first: tuple[float, ...] = ()
    names, sizes, runs = [], [], []
    for ensemble in ensembles:
        data, name = ensemble.data, ensemble.path.name
        species = np.unique(data.types)
        if not np.array_equal(species, [0, 1]) or data.n_dimensions != 3:
            raise InvalidInputError(
                f"{name} holds the species {species.tolist()} in {data.n_dimensions} dimensions; models are "
                "trained on mixtures of A (0) and B (1) in three"
            )
        here = (
            data.temperature,
            float(data.times[ensemble.time_index]),
            data.density,
            float((data.types == 1).mean()),
        )
        if not first:
            first = here
        for label, own, other, tolerance in zip(
            ("temperature", "time", "density", "share of B"),
            here,
            first,
            (
                SAME_TEMPERATURE * first[0],
                SAME_TIME * first[1],
                SAME_DENSITY * first[2],
                SAME_COMPOSITION,
            ),
            strict=True,
        ):
            if abs(own - other) > tolerance:
                raise InvalidInputError(
                    f"{name} has {label} {own:g}, {ensembles[0].path.name} has {other:g}; a model of one "
                    "temperature is trained on ensembles of one kind. Sort the files into folders."
                )
        names.append(name)
        sizes.append(data.n_atoms)
        runs.append(data.n_runs)
    temperature, time, density, share = first
    return TrainingConditions(
        files=tuple(names),
        n_atoms=(min(sizes), max(sizes)),
        n_runs=(min(runs), max(runs)),
        temperature=temperature,
        time=time,
        density=round(density, 4),
        share_of_b=round(share, 4),
    )
