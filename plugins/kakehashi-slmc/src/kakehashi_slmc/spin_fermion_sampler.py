"""Spin-fermion models as a sampler: states, averages with errors, diagnostics."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.chains import ChainSampler
from kakehashi_core.errors import InvalidInputError, unknown_name
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
AXES = {"x": 0, "y": 1, "z": 2}


class SpinFermionSampler(ChainSampler):
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
        if n_chains < 1:
            raise InvalidInputError(f"n_chains must be at least 1, got {n_chains}")
        if lattice is not None and lattice.n_sites != model.n_sites:
            raise InvalidInputError(
                f"the lattice has {lattice.n_sites} sites and the model {model.n_sites}"
            )
        self._model, self._effective = model, effective
        self._shells = _shells(model, lattice)
        self._learner = SelfLearner(
            model, self._shells, kinds=model_kinds(effective, model, self._shells)
        )
        self._spectra = np.zeros((0, n_chains, 2 * model.n_sites))
        super().__init__(
            self._learner,
            lambda rng: random_spins(rng, n_chains, model.n_sites),
            warmup=warmup,
            thin=thin,
            seed=seed,
        )

    @property
    def learned(self) -> LearnedModel | None:
        """Which effective model moves the spins; None before the warm-up."""
        return self._learner.learned

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

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See the base class."""
        super().load_state_dict(state)
        self._spectra = self._spectra[:0]

    def arguments(self) -> dict[str, Any]:
        """See the base class."""
        return {
            "temperature": self._model.temperature,
            "chemical_potential": self._model.chemical_potential,
            "hopping and coupling": _digest(self._model.hopping, self._model.coupling),
            "shells": _digest(self._shells.labels),
            "effective": self._effective,
        }

    def series(self, operator: Any) -> FloatArray:
        """See the base class; arguments as of ``expt_value``."""
        if isinstance(operator, str) and operator in {"energy", "filling"}:
            self._diagonalize()
            measure = self._model.electron_energy if operator == "energy" else self._model.filling
            return np.array([measure(s) for s in self._spectra]).T
        return self.applied(self._function(operator))

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
        spins, n = self.measured(), len(self._spectra)
        if n < len(spins):
            new = np.array([self._model.spectrum(s) for s in spins[n:]])
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
