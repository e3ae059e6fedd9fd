"""Heat bath and overrelaxation of spins with pair couplings, compiled.

For log W_eff = sum over bonds of M_ij S_i . S_j the spin S_i feels the field H_i = sum_j M_ij S_j, and its
distribution, all others fixed, is that of von Mises and Fisher, exp(H_i . S_i).
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from numba import njit

from kakehashi_core.errors import InvalidInputError

FloatArray = npt.NDArray[np.float64]

SMALL_FIELD = 1e-6
"""Below this the distribution is uniform to rounding."""
SYMMETRY = 1e-10
"""Largest difference of couplings from their transpose, over the largest of them."""


class MovingSpins(Protocol):
    """Spins of many chains that sweeps change."""

    def heat_bath(self, order: npt.NDArray[np.int64], numbers: FloatArray) -> None:
        """Draw the spins of these sites anew, from uniform numbers in (0, 1], (n_chains, n_visited, 2)."""

    def overrelax(self, order: npt.NDArray[np.int64]) -> None:
        """Turn the spins of these sites by half a turn around their fields."""

    def spins(self) -> FloatArray:
        """Return where they point now, (n_chains, n_sites, 3)."""


class PairSweeps:
    """Reversible sequences of sweeps over all spins, for many chains at once.

    A coin decides between heat bath first and overrelaxation first, and every sweep visits the sites in an
    order drawn anew, so that the sequence is reversible. Order and coin are shared by all chains.

    Args:
        couplings: M, symmetric with zero diagonal, (n_sites, n_sites).
        n_sweeps: Pairs of one heat-bath and one overrelaxation sweep.
        device: "cpu" is compiled; "cuda" moves thousands of chains side by side.

    Raises:
        InvalidInputError: If the couplings are not finite, square, symmetric and zero on the diagonal: sweeps
            would not be reversible with them.
    """

    def __init__(self, couplings: FloatArray, *, n_sweeps: int = 2, device: str = "cpu") -> None:
        if n_sweeps < 1:
            raise InvalidInputError(f"n_sweeps must be at least 1, got {n_sweeps}")
        self._couplings = np.ascontiguousarray(couplings, dtype=np.float64)
        _check_couplings(self._couplings)
        self._n_sweeps, self._device = n_sweeps, device

    def __call__(
        self,
        spins: FloatArray,
        rng: np.random.Generator,
        sites: npt.NDArray[np.int64] | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        """Return new spins, (n_chains, n_sites, 3), and the change of log W_eff, (n_chains,).

        Args:
            spins: (n_chains, n_sites, 3); stay as they are.
            rng: For orders, coin and new directions.
            sites: Which sites may move, chosen independently of the spins; None for all.
        """
        moved = self.sweep(spins, rng, sites)
        return moved, self._pair_sum(moved) - self._pair_sum(spins)

    def sweep(
        self,
        spins: FloatArray,
        rng: np.random.Generator,
        sites: npt.NDArray[np.int64] | None = None,
    ) -> FloatArray:
        """Return new spins alone, (n_chains, n_sites, 3); arguments as of a call."""
        n = len(self._couplings)
        if np.ndim(spins) != 3 or np.shape(spins)[1:] != (n, 3):
            raise InvalidInputError(
                f"spins have shape {np.shape(spins)}; (n_chains, {n}, 3) is needed for couplings of {n} sites"
            )
        moving = self._moving(spins)
        n_chains, n_sites, _ = spins.shape
        free = np.arange(n_sites) if sites is None else sites
        heat_first = rng.random() < 0.5
        for _ in range(self._n_sweeps):
            for heat in (heat_first, not heat_first):
                order = rng.permutation(free)
                if heat:
                    # 1 - u is in (0, 1].
                    moving.heat_bath(order, 1.0 - rng.random((n_chains, len(order), 2)))
                else:
                    moving.overrelax(order)
        return moving.spins()

    def _moving(self, spins: FloatArray) -> MovingSpins:
        if self._device == "cpu":
            return _CompiledSpins(spins, self._couplings)
        from kakehashi_slmc.torch_sweeps import TorchSpins

        return TorchSpins(spins, self._couplings, device=self._device)

    def _pair_sum(self, spins: FloatArray) -> FloatArray:
        return np.asarray(0.5 * np.einsum("bia,bia->b", spins, np.matmul(self._couplings, spins)))


def _check_couplings(couplings: FloatArray) -> None:
    if couplings.ndim != 2 or couplings.shape[0] != couplings.shape[1] or not couplings.size:
        raise InvalidInputError(
            f"couplings have shape {couplings.shape}; (n_sites, n_sites) is needed"
        )
    if not np.isfinite(couplings).all():
        i, j = (int(k) for k in np.argwhere(~np.isfinite(couplings))[0])
        raise InvalidInputError(f"coupling ({i}, {j}) is {couplings[i, j]}; it must be finite")
    difference = np.abs(couplings - couplings.T)
    if difference.max() > SYMMETRY * np.abs(couplings).max():
        i, j = (int(k) for k in np.unravel_index(int(difference.argmax()), difference.shape))
        raise InvalidInputError(
            f"couplings are not symmetric: ({i}, {j}) is {couplings[i, j]}, ({j}, {i}) is "
            f"{couplings[j, i]}; sweeps with them would bias results. Take half the sum with the transpose."
        )
    if np.diagonal(couplings).any():
        i = int(np.flatnonzero(np.diagonal(couplings))[0])
        raise InvalidInputError(
            f"coupling ({i}, {i}) is {couplings[i, i]}; the diagonal must be zero, a spin has length 1"
        )


class _CompiledSpins:
    """Moved one chain after the other, on the CPU."""

    def __init__(self, spins: FloatArray, couplings: FloatArray) -> None:
        self._spins = np.array(spins, dtype=np.float64, order="C")
        self._couplings = couplings

    def heat_bath(self, order: npt.NDArray[np.int64], numbers: FloatArray) -> None:
        _heat_bath(self._spins, self._couplings, order, numbers)

    def overrelax(self, order: npt.NDArray[np.int64]) -> None:
        _overrelax(self._spins, self._couplings, order)

    def spins(self) -> FloatArray:
        return self._spins


def heat_bath_cosines(strength: FloatArray, uniform: FloatArray) -> FloatArray:
    """Return cosines between spin and field from uniform numbers in (0, 1], the same shape.

    Args:
        strength: |H|.
        uniform: Random numbers.

    Source:
        Inversion of the cumulative distribution of exp(|H| w) on [-1, 1].
    """
    flat = np.column_stack([np.ravel(strength), np.ravel(uniform)])
    return np.array([_cosine(k, u) for k, u in flat]).reshape(np.shape(strength))


def heat_bath_directions(fields: FloatArray, numbers: FloatArray) -> FloatArray:
    """Return unit vectors distributed as exp(H . S), (n, 3).

    Args:
        fields: H, (n, 3).
        numbers: Uniform in (0, 1], (n, 2).
    """
    found = np.empty((len(fields), 3))
    _draw_all(np.ascontiguousarray(fields), np.ascontiguousarray(numbers), found)
    return found


def _compiled(function: Any) -> Any:
    return njit(cache=True)(function)


@_compiled
def _cosine(strength: float, uniform: float) -> float:
    if strength < SMALL_FIELD:
        return 2.0 * uniform - 1.0
    w = 1.0 + math.log1p((1.0 - uniform) * math.expm1(-2.0 * strength)) / strength
    return min(1.0, max(-1.0, w))


@_compiled
def _field(
    spins: FloatArray, couplings: FloatArray, chain: int, site: int
) -> tuple[float, float, float]:
    x = y = z = 0.0
    for j in range(couplings.shape[0]):
        m = couplings[site, j]
        x += m * spins[chain, j, 0]
        y += m * spins[chain, j, 1]
        z += m * spins[chain, j, 2]
    return x, y, z


@_compiled
def _draw(
    hx: float, hy: float, hz: float, uniform: float, turn: float
) -> tuple[float, float, float]:
    """Return a direction distributed as exp(H . S); the basis around H is that of Duff et al. (2017)."""
    strength = math.sqrt(hx * hx + hy * hy + hz * hz)
    if strength > 0.0:
        hx, hy, hz = hx / strength, hy / strength, hz / strength
    else:
        hx, hy, hz = 0.0, 0.0, 1.0
    w = _cosine(strength, uniform)
    radius = math.sqrt(max(0.0, 1.0 - w * w))
    angle = 2.0 * math.pi * turn
    sign = 1.0 if hz >= 0.0 else -1.0
    a = -1.0 / (sign + hz)
    b = hx * hy * a
    c, s = radius * math.cos(angle), radius * math.sin(angle)
    x = w * hx + c * (1.0 + sign * hx * hx * a) + s * b
    y = w * hy + c * sign * b + s * (sign + hy * hy * a)
    z = w * hz - c * sign * hx - s * hy
    length = math.sqrt(x * x + y * y + z * z)
    return x / length, y / length, z / length


@_compiled
def _draw_all(fields: FloatArray, numbers: FloatArray, found: FloatArray) -> None:
    for k in range(len(fields)):
        x, y, z = _draw(fields[k, 0], fields[k, 1], fields[k, 2], numbers[k, 0], numbers[k, 1])
        found[k, 0], found[k, 1], found[k, 2] = x, y, z


@_compiled
def _heat_bath(
    spins: FloatArray, couplings: FloatArray, order: npt.NDArray[np.int64], numbers: FloatArray
) -> None:
    for chain in range(spins.shape[0]):
        for k in range(len(order)):
            site = order[k]
            hx, hy, hz = _field(spins, couplings, chain, site)
            x, y, z = _draw(hx, hy, hz, numbers[chain, k, 0], numbers[chain, k, 1])
            spins[chain, site, 0] = x
            spins[chain, site, 1] = y
            spins[chain, site, 2] = z


@_compiled
def _overrelax(spins: FloatArray, couplings: FloatArray, order: npt.NDArray[np.int64]) -> None:
    for chain in range(spins.shape[0]):
        for k in range(len(order)):
            site = order[k]
            hx, hy, hz = _field(spins, couplings, chain, site)
            square = hx * hx + hy * hy + hz * hz
            if square == 0.0:
                continue
            sx, sy, sz = spins[chain, site, 0], spins[chain, site, 1], spins[chain, site, 2]
            factor = 2.0 * (sx * hx + sy * hy + sz * hz) / square
            x, y, z = factor * hx - sx, factor * hy - sy, factor * hz - sz
            length = math.sqrt(x * x + y * y + z * z)
            spins[chain, site, 0] = x / length
            spins[chain, site, 1] = y / length
            spins[chain, site, 2] = z / length
