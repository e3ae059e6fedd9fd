"""Spin-fermion models as a sampler: states, averages with errors, diagnostics."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.chains import (
    Autocorrelation,
    ChainState,
    autocorrelation,
    effective_sample_size,
    rhat,
)
from kakehashi_core.errors import InvalidInputError, unknown_name
from kakehashi_core.random_streams import recorded_seed
from kakehashi_core.results import Estimate
from kakehashi_slmc.distance_shells import DistanceShells
from kakehashi_slmc.lattices import Lattice, bipartition, lattice
from kakehashi_slmc.learned_models import model_kinds
from kakehashi_slmc.pair_model import pair_classes
from kakehashi_slmc.self_learner import LearnedModel, SelfLearner
from kakehashi_slmc.spin_fermion import SpinFermion
from kakehashi_slmc.spin_observables import magnetization
from kakehashi_slmc.unit_vectors import random_spins

FloatArray = npt.NDArray[np.float64]
SpinFunction = Callable[[FloatArray], FloatArray]

OBSERVABLES = ("energy", "filling", "magnetization", "staggered_magnetization")
FIRST_RUN = 400
"""Measurements of each chain that are made when an average is asked for before anything was sampled."""
AXES = {"x": 0, "y": 1, "z": 2}


class SpinFermionSampler:
    """Exact samples of classical spins that electrons feel.

    The first call that needs samples warms up: it learns an effective model and freezes it. Further calls go
    on where the chains stand.

    Args:
        model: What is sampled.
        lattice: Where its sites are; None takes sites as many hops apart as alike.
        effective: "linear", "four-spin", "attention", "strong-coupling", or "auto" for what makes an
            independent sample cheapest.
        n_chains: Chains that move together.
        warmup: Steps before the first measurement; None for enough.
        thin: Steps between measurements.
        seed: Of everything; None draws one and records it.

    Attributes:
        seed: What all random numbers come from.

    Raises:
        UnknownNameError: If there is no such effective model.
        InvalidInputError: If a number makes no sense, or lattice and model do not fit.
    """

    def __init__(
        self,
        model: SpinFermion,
        *,
        lattice: Lattice | None = None,
        effective: str = "auto",
        n_chains: int = 16,
        warmup: int | None = None,
        thin: int = 1,
        seed: int | None = None,
    ) -> None:
        for name, number in (("n_chains", n_chains), ("thin", thin)):
            if number < 1:
                raise InvalidInputError(f"{name} must be at least 1, got {number}")
        if lattice is not None and lattice.n_sites != model.n_sites:
            raise InvalidInputError(
                f"the lattice has {lattice.n_sites} sites and the model {model.n_sites}"
            )
        self._model, self._thin, self._effective = model, thin, effective
        self._shells = _shells(model, lattice)
        self._kernel = SelfLearner(
            model, self._shells, kinds=model_kinds(effective, model, self._shells)
        )
        self._warmup = 2 * self._kernel.least_warmup if warmup is None else int(warmup)
        if self._warmup < self._kernel.least_warmup:
            raise InvalidInputError(
                f"warmup is {warmup}; learning takes at least {self._kernel.least_warmup} steps"
            )
        self.seed = recorded_seed(seed)
        self._rng = np.random.default_rng(self.seed)
        self._state = self._kernel.start(random_spins(self._rng, n_chains, model.n_sites))
        self._n_warm = 0
        self._spins = np.zeros((0, n_chains, model.n_sites, 3))
        self._spectra = np.zeros((0, n_chains, 2 * model.n_sites))
        self._accepted = self._moved = 0

    @property
    def learned(self) -> LearnedModel | None:
        """Which effective model moves the spins; None before the warm-up."""
        return self._kernel.learned

    def run(self, n_measurements: int) -> None:
        """Measure each chain so many times more.

        Raises:
            InvalidInputError: If the number is not positive.
        """
        if n_measurements < 1:
            raise InvalidInputError(f"n_measurements must be at least 1, got {n_measurements}")
        while self._n_warm < self._warmup:
            step = self._kernel.step(self._state, self._rng)
            self._state = step.state
            self._kernel.adapt(step)
            self._n_warm += 1
        found = []
        for _ in range(n_measurements):
            for _ in range(self._thin):
                step = self._kernel.step(self._state, self._rng)
                self._state = step.state
                self._accepted += int((step.accepted & step.moved).sum())
                self._moved += int(step.moved.sum())
            found.append(self._state.positions)
        self._spins = np.concatenate([self._spins, np.array(found)])

    def sample(self, n: int) -> FloatArray:
        """Return n new states, (n, n_sites, 3): those of all chains at one measurement, then at the next.

        Raises:
            InvalidInputError: If n is not positive.
        """
        if n < 1:
            raise InvalidInputError(f"the number of states must be at least 1, got {n}")
        n_measurements = math.ceil(n / self._state.n_chains)
        self.run(n_measurements)
        new = self._spins[-n_measurements:]
        return np.asarray(new.reshape(-1, *new.shape[2:])[:n].copy())

    def expt_value(self, operator: Any) -> Estimate:
        """Return the thermal average of an observable with its error.

        Args:
            operator: One of "energy" (of the electrons, without mu N), "filling" (electrons per site),
                "magnetization" and "staggered_magnetization" (lengths, per site); or spins as QuSpin writes
                them, such as [["zz", [[1.0, 0, 1]]]] with unit vectors instead of Pauli matrices; or a
                function of spins, (n, n_sites, 3), to numbers, (n,).

        Raises:
            InvalidInputError: If an operator string or the shape of what a function returns is wrong.
            UnknownNameError: If there is no such observable.
        """
        return self.autocorrelation(operator).estimate()

    def energy(self) -> Estimate:
        """Return the average energy of the electrons, without mu N."""
        return self.expt_value("energy")

    def autocorrelation(self, operator: Any) -> Autocorrelation:
        """Return how long an observable is remembered, in measurements; arguments as of ``expt_value``."""
        return autocorrelation(self._series(operator))

    def diagnostics(self) -> Mapping[str, float]:
        """Return acceptance of moved proposals, and of the energy tau_int, ESS and R-hat."""
        values = self._series("energy")
        return {
            "acceptance": self._accepted / max(self._moved, 1),
            "tau_int": autocorrelation(values).tau_int,
            "ESS": effective_sample_size(values) if len(values) > 1 else float("nan"),
            "R-hat": rhat(values) if len(values) > 1 else float("nan"),
        }

    def state_dict(self) -> Mapping[str, Any]:
        """Return what is needed to go on to the last bit."""
        return {
            "arguments": self._arguments(),
            "seed": self.seed,
            "n_warm": self._n_warm,
            "kernel": self._kernel.state_dict(),
            "positions": self._state.positions,
            "log_weights": self._state.log_weights,
            "rng": self._rng.bit_generator.state,
            "spins": self._spins,
            "accepted": self._accepted,
            "moved": self._moved,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state of a sampler with the same arguments.

        Raises:
            InvalidInputError: If the state is that of another model, lattice, number of chains, effective
                model or thinning, or not all of a state.
        """
        missing = sorted(set(self.state_dict()) - set(state))
        if missing:
            raise InvalidInputError(
                f"the state has no {', '.join(missing)}; it is not what state_dict of this version returned"
            )
        saved = state["arguments"]
        for name, own in self._arguments().items():
            if saved.get(name) != own:
                raise InvalidInputError(
                    f"the state is that of a sampler with {name} = {saved.get(name)!r}, this one has "
                    f"{own!r}; make a sampler with the same arguments"
                )
        if np.shape(state["positions"]) != self._state.positions.shape:
            raise InvalidInputError(
                f"the state holds spins of shape {np.shape(state['positions'])}, this sampler has "
                f"{self._state.positions.shape}"
            )
        self.seed, self._n_warm = int(state["seed"]), int(state["n_warm"])
        self._kernel.load_state_dict(state["kernel"])
        self._state = ChainState(np.array(state["positions"]), np.array(state["log_weights"]))
        self._rng.bit_generator.state = state["rng"]
        self._spins = np.array(state["spins"])
        self._spectra = self._spectra[:0]
        self._accepted, self._moved = int(state["accepted"]), int(state["moved"])

    def _arguments(self) -> dict[str, Any]:
        """Return what makes states of another sampler another distribution or another series."""
        return {
            "temperature": self._model.temperature,
            "chemical_potential": self._model.chemical_potential,
            "hopping and coupling": _digest(self._model.hopping, self._model.coupling),
            "shells": _digest(self._shells.labels),
            "effective": self._effective,
            "thin": int(self._thin),
        }

    def _series(self, operator: Any) -> FloatArray:
        """Return an observable at every measurement, (n_chains, n_measurements)."""
        if not len(self._spins):
            self.run(FIRST_RUN)
        if isinstance(operator, str) and operator in {"energy", "filling"}:
            self._diagonalize()
            measure = self._model.electron_energy if operator == "energy" else self._model.filling
            return np.array([measure(s) for s in self._spectra]).T
        function = self._function(operator)
        values = np.array([np.asarray(function(s), dtype=np.float64) for s in self._spins])
        if values.shape != self._spins.shape[:2]:
            raise InvalidInputError(
                f"the observable returned shape {values.shape[1:]} for {self._state.n_chains} states; one "
                "number for each is needed"
            )
        return values.T

    def _function(self, operator: Any) -> SpinFunction:
        if callable(operator):
            function: SpinFunction = operator
            return function
        if isinstance(operator, str):
            if operator == "magnetization":
                return magnetization
            if operator == "staggered_magnetization":
                signs = bipartition(_bonds(self._model))
                if signs is None:
                    raise InvalidInputError(
                        "the lattice is not bipartite; there is no staggered magnetization. Pass a function "
                        "of spins."
                    )
                return lambda spins: magnetization(spins, signs)
            raise unknown_name("observable", operator, OBSERVABLES)
        terms = spin_terms(operator, self._model.n_sites)
        return lambda spins: _evaluate(terms, spins)

    def _diagonalize(self) -> None:
        n = len(self._spectra)
        if n < len(self._spins):
            new = np.array([self._model.spectrum(s) for s in self._spins[n:]])
            self._spectra = np.concatenate([self._spectra, new])


def spin_terms(
    operator: Sequence[Any], n_sites: int
) -> list[tuple[float, tuple[tuple[int, int], ...]]]:
    """Return coefficients and (site, component) factors of an operator list of QuSpin.

    Args:
        operator: Such as [["zz", [[1.0, 0, 1]]], ["x", [[0.5, 0]]]].
        n_sites: Number of sites.

    Raises:
        InvalidInputError: If it is no such list, or names something that classical spins do not have.
    """
    found = []
    for term in operator:
        if len(term) != 2 or not isinstance(term[0], str) or set(term[0]) - set(AXES):
            raise InvalidInputError(
                f"{term!r} is no term of classical spins; write a string of x, y and z and a list of "
                "[coefficient, site, ...], such as ['zz', [[1.0, 0, 1]]]"
            )
        letters, couplings = term
        for coupling in couplings:
            coefficient, *sites = coupling
            indices = [int(s) for s in sites]
            if len(indices) != len(letters) or not all(0 <= i < n_sites for i in indices):
                raise InvalidInputError(
                    f"{coupling!r} does not fit {letters!r}: one coefficient and {len(letters)} sites from 0 "
                    f"to {n_sites - 1} are needed"
                )
            if np.imag(coefficient) != 0.0:
                raise InvalidInputError(f"coefficient {coefficient!r} of {letters!r} is not real")
            factors = tuple((i, AXES[a]) for i, a in zip(indices, letters, strict=True))
            found.append((float(np.real(coefficient)), factors))
    return found


def _evaluate(
    terms: Sequence[tuple[float, tuple[tuple[int, int], ...]]], spins: FloatArray
) -> FloatArray:
    total = np.zeros(len(spins))
    for coefficient, factors in terms:
        product = np.full(len(spins), coefficient)
        for site, axis in factors:
            product = product * spins[:, site, axis]
        total += product
    return total


def _shells(model: SpinFermion, lattice: Lattice | None) -> DistanceShells:
    from kakehashi_slmc.distance_shells import distance_shells

    if lattice is not None:
        return distance_shells(lattice.positions, lattice.cell)
    n = model.n_sites
    labels = pair_classes(n, _bonds(model))
    counts = np.array([(labels == k).sum() / n for k in range(1, labels.max() + 1)])
    return DistanceShells(labels=labels, distances=np.arange(1.0, labels.max() + 1), counts=counts)


def _bonds(model: SpinFermion) -> npt.NDArray[np.bool_]:
    """Return which sites hopping of any spin connects, (n_sites, n_sites)."""
    n = model.n_sites
    bonds = np.abs(model.hopping) > 0.0
    if len(bonds) == 2 * n:
        bonds = bonds[:n, :n] | bonds[:n, n:] | bonds[n:, :n] | bonds[n:, n:]
    np.fill_diagonal(bonds, val=False)
    return np.asarray(bonds)


def _digest(*arrays: npt.NDArray[Any]) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.shape} {array.dtype}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def small_sampler(*, seed: int | None = None) -> SpinFermionSampler:
    """Return a sampler of a ring of four spins, for checks."""
    ring = lattice("chain", (4,))
    model = SpinFermion.from_matrix(ring.hopping, 1.0, temperature=0.3)
    return SpinFermionSampler(model, lattice=ring, n_chains=4, seed=seed)
