"""Lennard-Jones mixtures in ASE, by default the one of Kob and Andersen: ``calculator("ka-lj")``."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Unpack, get_args

import numpy as np
from ase.calculators.calculator import PropertyNotImplementedError
from ase.data import atomic_numbers

from kakehashi_ase import Calculator, CalculatorInputError, CalculatorOptions
from kakehashi_botan.mixtures import (
    CUTOFF_RATIO,
    Mixture,
    Shift,
    kob_andersen,
    ternary_kob_andersen,
)
from kakehashi_botan.pair_potential import SKIN, MixturePotential
from kakehashi_botan.particle_types import SPECIES, TYPES, particle_types
from kakehashi_core.errors import InvalidInputError

if TYPE_CHECKING:
    from ase import Atoms

    from kakehashi_botan.torch_potential import TorchPotential

Backend = Literal["numba", "torch"]
MIXTURES = {"kob-andersen": kob_andersen, "ternary-kob-andersen": ternary_kob_andersen}


class LennardJonesMixture(Calculator):
    """A mixture of Lennard-Jones particles in reduced units.

    What ASE calls Å is sigma_AA, what it calls eV is epsilon_AA, and masses have to be set to 1
    (``atoms.set_masses(np.ones(len(atoms)))``); then times are in tau_LJ = sigma sqrt(m / epsilon), a
    temperature T in epsilon_AA / k_B is ``temperature_K=T / ase.units.kB``, and stress comes in
    epsilon_AA / sigma_AA^3. Two-dimensional systems have ``pbc=(True, True, False)`` and z = 0.
    """

    implemented_properties = ("energy", "energies", "forces", "stress")
    registry_name = "ka-lj"
    watched_arrays = (TYPES,)

    def __init__(
        self,
        *,
        mixture: str = "kob-andersen",
        epsilon: Sequence[Sequence[float]] | None = None,
        sigma: Sequence[Sequence[float]] | None = None,
        cutoff_ratio: float = CUTOFF_RATIO,
        shift: Shift = "energy",
        species: Sequence[str] = SPECIES,
        skin: float = SKIN,
        backend: Backend = "numba",
        device: str = "cpu",
        **common: Unpack[CalculatorOptions],
    ) -> None:
        """Choose a mixture.

        Args:
            mixture: "kob-andersen" or "ternary-kob-andersen"; any name with ``epsilon`` and ``sigma``.
            epsilon: Well depths of a mixture of your own, (n_species, n_species).
            sigma: Diameters of a mixture of your own, (n_species, n_species).
            cutoff_ratio: Cutoff of each pair over its sigma.
            shift: "energy": v(r) - v(rc); "force": also forces continuous at the cutoff; "none".
            species: Chemical symbols that stand for A, B, ...; ``atoms.arrays["types"]`` wins.
            skin: How much further the list of pairs reaches, sigma_AA; cost only.
            backend: "numba", compiled for one core; "torch", also for GPUs.
            device: Where torch computes: "cpu", "cuda[:i]" or "auto".
            common: ``name``, ``atoms``, ``directory``.

        Raises:
            CalculatorInputError: If an option has a value that is not allowed.
        """
        super().__init__(
            {
                "mixture": mixture,
                "epsilon": epsilon,
                "sigma": sigma,
                "cutoff_ratio": cutoff_ratio,
                "shift": shift,
                "species": species,
                "skin": skin,
                "backend": backend,
                "device": device,
            },
            **common,
        )

    def configure(self) -> None:
        """Build the potential; see the base class."""
        options = self.parameters
        if options["backend"] not in get_args(Backend):
            raise CalculatorInputError(
                f"backend is {options['backend']!r}; it must be one of {', '.join(get_args(Backend))}."
            )
        unknown = [symbol for symbol in options["species"] if symbol not in atomic_numbers]
        if unknown:
            raise CalculatorInputError(
                f"species contains {unknown[0]!r}, which is no chemical symbol; atoms have symbols, for "
                "instance Ar and Ne, that stand for A and B."
            )
        try:
            mixture, skin = self._mixture(), float(options["skin"])
            self.potential: MixturePotential | TorchPotential
            if options["backend"] == "numba":
                self.potential = MixturePotential(mixture, skin=skin)
            else:
                # The compiled backend does without torch, whose import takes seconds.
                from kakehashi_botan.torch_potential import TorchPotential

                self.potential = TorchPotential(mixture, skin=skin, device=options["device"])
        except InvalidInputError as error:
            raise CalculatorInputError(str(error)) from error
        self._warned_of_masses = False
        self.cutoff_distances = sorted({r for row in mixture.cutoff for r in row})
        self.interaction_range = mixture.largest_cutoff

    @property
    def mixture(self) -> Mixture:
        """What interacts how."""
        return self.potential.mixture

    def types(self, atoms: Atoms) -> np.ndarray:
        """Return the species of every atom, (n_atoms,), 0 for A."""
        return particle_types(
            atoms, n_species=self.mixture.n_species, species=self.parameters["species"]
        )

    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        """Return energies, forces and, in a box, stress; see the base class."""
        if "stress" in properties and not atoms.pbc.all():
            raise PropertyNotImplementedError(
                "stress needs three periodic directions; this structure has pbc = "
                f"{atoms.pbc.tolist()}."
            )
        self._warn_of_masses(atoms)
        system = (
            np.ascontiguousarray(atoms.positions, dtype=float),
            self.types(atoms),
            np.asarray(atoms.cell.array, dtype=float),
            np.asarray(atoms.pbc, dtype=bool),
        )
        if set(properties) == {"forces"}:
            return {"forces": self.potential.forces(*system)}
        sums = self.potential.evaluate(*system)
        results: dict[str, object] = {
            "energy": sums.energy,
            "energies": sums.energies,
            "forces": sums.forces,
        }
        if atoms.pbc.all():
            results["stress"] = sums.virial / atoms.get_volume()
        return results

    def _warn_of_masses(self, atoms: Atoms) -> None:
        """Warn once of particles that move with masses other than 1: times are not in tau_LJ then."""
        if self._warned_of_masses or not atoms.has("momenta"):
            return
        masses = atoms.get_masses()
        if (masses != 1.0).any():
            self._warned_of_masses = True
            warnings.warn(
                f"the mass of atom 0 is {masses[0]:g}; with masses other than 1 times are not in tau_LJ. Use "
                "atoms.set_masses(np.ones(len(atoms))) before velocities are set.",
                stacklevel=2,
            )

    def _mixture(self) -> Mixture:
        options = self.parameters
        choice = {"shift": options["shift"], "cutoff_ratio": options["cutoff_ratio"]}
        if options["epsilon"] is not None or options["sigma"] is not None:
            if options["epsilon"] is None or options["sigma"] is None:
                raise CalculatorInputError(
                    "epsilon and sigma belong together; give both or neither."
                )
            return Mixture.of(options["mixture"], options["epsilon"], options["sigma"], **choice)
        if options["mixture"] not in MIXTURES:
            raise CalculatorInputError(
                f"mixture is {options['mixture']!r}; known are {', '.join(MIXTURES)}. Give epsilon and sigma "
                "for another one."
            )
        return MIXTURES[options["mixture"]](**choice)
