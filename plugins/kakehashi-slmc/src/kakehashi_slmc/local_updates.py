"""Exact single-spin updates without a diagonalization each: the Fermi function as a sum over poles.

One spin changes the matrix h by a 2 x 2 block, so that the change of log W is a sum over the poles of 2 x 2
determinants of Green functions, and an accepted move changes each Green function by rank 2.

    f(x) = 1/2 - sum_p 2 R_p x / (x^2 + z_p^2)
    log W' - log W = 2 sum_p R_p log |det(1 + G^p_ii D)|,  G^p = (X + i z_p)^-1,  X = (h - mu) / T,
    D = (J_i / 2 T) (S_i' - S_i) . sigma

Source:
    T. Ozaki, Phys. Rev. B 75, 035123 (2007), for the poles; matrix determinant lemma for the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.chains import AdaptedScale, ChainState, Kernel, Step
from kakehashi_core.chains.kernels import checked_log_weights
from kakehashi_core.errors import ConvergenceError, InvalidInputError
from kakehashi_slmc.spin_fermion import SpinFermion
from kakehashi_slmc.unit_vectors import normalized

FloatArray = npt.NDArray[np.float64]
ComplexArray = npt.NDArray[np.complex128]

FERMI_TOLERANCE = 1e-11
"""Largest error of the Fermi function on the spectrum; that of log W is about as large per site."""
POLE_NUMBERS = tuple(range(8, 400, 4))
LARGEST_DRIFT = 1e-5
"""In log W of a sweep; rounding is many orders smaller."""
DELAY = 16
"""Accepted moves that are collected before the Green functions are multiplied out."""

SIGMA = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]], dtype=np.complex128)


def fermi_poles(n: int) -> tuple[FloatArray, FloatArray]:
    """Return z_p, growing, and R_p of the expansion of the Fermi function with n poles, (n,) each."""
    k = np.arange(1, 2 * n)
    off_diagonal = 0.5 / np.sqrt((2.0 * k - 1.0) * (2.0 * k + 1.0))
    matrix = np.diag(off_diagonal, 1) + np.diag(off_diagonal, -1)
    values, vectors = np.linalg.eigh(matrix)
    positive = values > 0.0
    z = 1.0 / values[positive]
    order = np.argsort(z)
    residues = 0.25 * vectors[0, positive] ** 2 * z**2
    return z[order], residues[order]


def needed_poles(largest: float, tolerance: float = FERMI_TOLERANCE) -> int:
    """Return how many poles give the Fermi function for |x| up to ``largest``.

    Raises:
        InvalidInputError: If it would take too many; the temperature is too low.
    """
    x = np.linspace(0.0, max(largest, 1.0), 2001)
    exact = 0.5 * (1.0 - np.tanh(0.5 * x))
    for n in POLE_NUMBERS:
        z, residues = fermi_poles(n)
        found = 0.5 - (2.0 * residues * x[:, None] / (x[:, None] ** 2 + z**2)).sum(axis=1)
        if np.abs(found - exact).max() < tolerance:
            return n
    raise InvalidInputError(
        f"|E - mu| / T reaches {largest:.0f}; local updates would need more than {POLE_NUMBERS[-1]} poles. "
        "Raise the temperature, or use SphereHMC or SelfLearning."
    )


class LocalUpdates(Kernel):
    """A sweep of single-spin moves, as ``SpinMetropolis``, at the cost of a few diagonalizations.

    Sites are visited in an order drawn anew for each sweep, the same for all chains. Each sweep ends with a
    diagonalization, so that rounding does not add up.

    Args:
        model: Exact weight.
        scale: Width of the Gaussian numbers xi of S' = normalize(S + scale xi) at first.
        target_acceptance: What the warm-up aims at; None keeps the scale.
        n_poles: Of the Fermi function, ``needed_poles`` at least; None for as many as the largest possible
            energy needs.

    Attributes:
        drift: Largest difference, in log W, between the sum over poles and a diagonalization so far.

    Raises:
        InvalidInputError: If there are fewer poles than it takes: decisions would be wrong.
    """

    def __init__(
        self,
        model: SpinFermion,
        *,
        scale: float = 0.5,
        target_acceptance: float | None = 0.5,
        n_poles: int | None = None,
    ) -> None:
        self._model = model
        needed = needed_poles(largest_energy(model) / model.temperature)
        n_poles = needed if n_poles is None else n_poles
        if n_poles < needed:
            raise InvalidInputError(
                f"n_poles is {n_poles}; at this temperature at least {needed} are needed for exact decisions"
            )
        self._poles, self._residues = fermi_poles(n_poles)
        self.scale = AdaptedScale(scale, target=target_acceptance, largest=10.0)
        self.drift = 0.0
        self._share = 0.0

    @property
    def n_poles(self) -> int:
        """Poles of the Fermi function."""
        return len(self._poles)

    @property
    def site_acceptance(self) -> float:
        """Share of single-spin moves that the last sweep accepted."""
        return self._share

    def start(self, positions: FloatArray) -> ChainState:
        """See the base class."""
        return ChainState(positions, checked_log_weights(self._model, positions))

    def step(self, state: ChainState, rng: np.random.Generator) -> Step:
        """Accepted are chains in which at least one spin moved."""
        n_chains, n_sites, _ = state.positions.shape
        order = rng.permutation(n_sites)
        noise = rng.normal(size=(n_chains, n_sites, 3))
        log_uniform = np.log1p(-rng.random((n_chains, n_sites)))
        spins = state.positions.copy()
        accepted = np.zeros(n_chains, dtype=np.int64)
        estimates = state.log_weights.copy()
        for chain in range(n_chains):
            change, accepted[chain] = self._sweep(
                spins[chain], order, noise[chain], log_uniform[chain]
            )
            estimates[chain] += change
        weights = checked_log_weights(self._model, spins)
        self.drift = max(self.drift, float(np.abs(weights - estimates).max()))
        if self.drift > LARGEST_DRIFT:
            raise ConvergenceError(
                f"the sum over poles and a diagonalization differ by {self.drift:.2g} in log W, more than "
                f"{LARGEST_DRIFT:g}: decisions are not exact. Use SphereHMC or SelfLearning here."
            )
        self._share = float(accepted.mean()) / n_sites
        return Step(ChainState(spins, weights), accepted > 0, np.ones(n_chains, dtype=bool))

    def adapt(self, step: Step) -> None:  # noqa: ARG002  it counts single moves
        """Move the scale toward the target."""
        self.scale.adapt(self._share)

    def state_dict(self) -> dict[str, Any]:
        """See the base class."""
        return {**self.scale.state_dict(), "drift": self.drift}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See the base class."""
        self.scale.load_state_dict(state)
        self.drift = float(state["drift"])

    def _sweep(
        self,
        spins: FloatArray,
        order: npt.NDArray[np.int64],
        noise: FloatArray,
        log_uniform: FloatArray,
    ) -> tuple[float, int]:
        """Move the spins of one chain in place; return the change of log W and how many moved."""
        model = self._model
        greens = _GreenFunctions(model, spins, self._poles)
        factor = 0.5 * model.coupling / model.temperature
        total, n_accepted = 0.0, 0
        for k, site in enumerate(order):
            proposed = normalized(spins[site] + self.scale.value * noise[k])
            change = factor[site] * np.tensordot(proposed - spins[site], SIGMA, axes=1)
            blocks = np.eye(2) + greens.block(site) @ change
            determinants = blocks[:, 0, 0] * blocks[:, 1, 1] - blocks[:, 0, 1] * blocks[:, 1, 0]
            ratio = 2.0 * float(self._residues @ np.log(np.abs(determinants)))
            if log_uniform[k] < ratio:
                greens.update(site, change, blocks)
                spins[site] = proposed
                total += ratio
                n_accepted += 1
        return total, n_accepted


class _GreenFunctions:
    """(X + i z_p)^-1 at all poles, with the last changes still as factors of low rank."""

    def __init__(self, model: SpinFermion, spins: FloatArray, poles: FloatArray) -> None:
        energies, vectors = np.linalg.eigh(model.matrices(spins)[0])
        x = (energies - model.chemical_potential) / model.temperature
        weights = 1.0 / (x + 1j * poles[:, None])
        self._matrices: ComplexArray = (vectors * weights[:, None, :]) @ vectors.conj().T
        self._n_sites = model.n_sites
        n_poles, size = weights.shape
        self._left = np.zeros((n_poles, size, 2 * DELAY), dtype=np.complex128)
        self._right = np.zeros((n_poles, 2 * DELAY, size), dtype=np.complex128)
        self._rank = 0

    def block(self, site: int) -> ComplexArray:
        """Return the 2 x 2 blocks of a site, (n_poles, 2, 2)."""
        pair = [site, site + self._n_sites]
        r = self._rank
        found = self._matrices[:, pair][:, :, pair]
        return np.asarray(found - self._left[:, pair, :r] @ self._right[:, :r, pair])

    def update(self, site: int, change: ComplexArray, blocks: ComplexArray) -> None:
        """Take over a change of the block of a site, with 1 + G D of that block."""
        pair = [site, site + self._n_sites]
        r = self._rank
        columns = self._matrices[:, :, pair] - self._left[:, :, :r] @ self._right[:, :r, pair]
        rows = self._matrices[:, pair, :] - self._left[:, pair, :r] @ self._right[:, :r, :]
        self._left[:, :, r : r + 2] = columns @ (change @ np.linalg.inv(blocks))
        self._right[:, r : r + 2, :] = rows
        self._rank += 2
        if self._rank == 2 * DELAY:
            self._matrices -= self._left @ self._right
            self._rank = 0


def largest_energy(model: SpinFermion) -> float:
    """Return a bound of |E - mu| for all spins."""
    hops = float(np.abs(np.linalg.eigvalsh(model.hopping)).max())
    return hops + 0.5 * float(np.abs(model.coupling).max()) + abs(model.chemical_potential)
