"""Exact thermodynamics of Ising rings and chains in a transverse field, as free fermions.

    H = -J sum z_i z_{i+1} - G sum x_i on a ring;  H = -sum J_i z_i z_{i+1} - sum G_i x_i on an open chain

Source:
    P. Pfeuty, Ann. Phys. 57, 79 (1970); both parities of the fermion number are summed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError

FloatArray = npt.NDArray[np.float64]

VANISHING = 1e-300
"""A parity sum below this, over the others, is one of a critical ring that is zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thermodynamics:
    """Of all sites together.

    Attributes:
        log_partition: ln Z.
        energy: E.
        specific_heat: C.
    """

    log_partition: float
    energy: float
    specific_heat: float

    def entropy(self, beta: float) -> float:
        """Return S = ln Z + beta E."""
        return self.log_partition + beta * self.energy


def ring_thermodynamics(n_sites: int, coupling: float, field: float, beta: float) -> Thermodynamics:
    """Return the thermodynamics of a periodic ring, of any number of sites and signs.

    Args:
        n_sites: N, at least 3: two sites would share two bonds.
        coupling: J.
        field: G.
        beta: Inverse temperature, positive.

    Raises:
        InvalidInputError: If a number makes no sense.
    """
    if n_sites < 3:
        raise InvalidInputError(f"a ring needs at least 3 sites, got {n_sites}")
    if not (np.isfinite(beta) and beta > 0.0):
        raise InvalidInputError(f"beta is {beta!r}; it must be positive")
    terms = [
        _parity_sum(_energies(n_sites, coupling, field, shift), beta, hyperbolic)
        for shift in (0.5, 0.0)
        for hyperbolic in ("cosh", "sinh")
    ]
    signs = np.array([1.0, 1.0, 1.0, -1.0])
    logs = np.array([t[0] for t in terms])
    # Z = sum of signed exponentials; E and C are its logarithmic derivatives by beta.
    largest = logs.max()
    weights = signs * np.array([t[1] for t in terms]) * np.exp(logs - largest)
    total = weights.sum()
    first = np.array([t[2] for t in terms])
    second = np.array([t[3] for t in terms])
    p = weights / total
    mean = float(p @ first)
    variance = float(p @ (second + first**2)) - mean**2
    return Thermodynamics(
        log_partition=float(largest + np.log(total / 2.0)),
        energy=-mean,
        specific_heat=beta**2 * variance,
    )


def chain_thermodynamics(
    couplings: npt.ArrayLike, fields: npt.ArrayLike, beta: float
) -> Thermodynamics:
    """Return the thermodynamics of an open chain with any couplings and fields.

    Args:
        couplings: J_i, (n_sites - 1,).
        fields: G_i, (n_sites,).
        beta: Inverse temperature.

    Raises:
        InvalidInputError: If the numbers of couplings and fields do not fit.
    """
    j, g = np.atleast_1d(np.asarray(couplings, float)), np.atleast_1d(np.asarray(fields, float))
    if g.ndim != 1 or j.shape != (len(g) - 1,):
        raise InvalidInputError(f"{g.shape} fields need one coupling less, got {j.shape}")
    matrix = np.diag(g) + np.diag(j, 1)
    half = beta * np.linalg.svd(matrix, compute_uv=False)
    return Thermodynamics(
        log_partition=float((np.logaddexp(half, -half)).sum()),
        energy=float(-(half * np.tanh(half)).sum() / beta) if beta else 0.0,
        specific_heat=float((half**2 / np.cosh(np.minimum(half, 300.0)) ** 2).sum()),
    )


def _energies(n_sites: int, coupling: float, field: float, shift: float) -> FloatArray:
    """Return mode energies, signed where a mode has no partner."""
    k = 2.0 * np.pi * (np.arange(n_sites) + shift) / n_sites
    found = 2.0 * np.sqrt(
        np.maximum(coupling**2 + field**2 - 2.0 * coupling * field * np.cos(k), 0.0)
    )
    for index in range(n_sites):
        if np.isclose(k[index], 0.0):
            found[index] = 2.0 * (field - coupling)
        elif np.isclose(k[index], np.pi):
            found[index] = 2.0 * (field + coupling)
    return np.asarray(found)


def _parity_sum(
    energies: FloatArray, beta: float, hyperbolic: str
) -> tuple[float, float, float, float]:
    """Return log |product|, its sign, and first and second derivative of its logarithm by beta."""
    x = 0.5 * beta * energies
    size = np.abs(x)
    if hyperbolic == "cosh":
        log = float((size + np.log1p(np.exp(-2.0 * size))).sum())
        t = np.tanh(x)
        return (
            log,
            1.0,
            float((0.5 * energies * t).sum()),
            float((0.25 * energies**2 * (1.0 - t**2)).sum()),
        )
    if (size < VANISHING).any():
        # A mode without energy: the product vanishes for all beta, and so do its derivatives.
        return -np.inf, 0.0, 0.0, 0.0
    log = float((size + np.log(-np.expm1(-2.0 * size))).sum())
    c = 1.0 / np.tanh(x)
    return (
        log,
        float(np.prod(np.sign(x))),
        float((0.5 * energies * c).sum()),
        float((0.25 * energies**2 * (1.0 - c**2)).sum()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RingLayer:
    """One factor of a layered ring state: exp(bonds sum z z + fields sum x).

    Attributes:
        bonds: Coefficient of the sum of z_i z_{i+1}.
        fields: Coefficient of the sum of x_i.
    """

    bonds: float = 0.0
    fields: float = 0.0


def log_layered_trace(n_sites: int, layers: Sequence[RingLayer]) -> float:
    """Return ln Tr of an ordered product of layers on a ring, exactly for any number of sites.

    Norms, energies (by differences in a layer that is added) and overlaps of layered networks follow.

    Args:
        n_sites: N.
        layers: Factors, the first one leftmost.

    Source:
        Each pair of modes (k, -k) is a 2 x 2 problem; modes without partner are numbers.
    """
    (c_half, s_half), (c_whole, s_whole) = (
        _layered_sector(n_sites, layers, shift) for shift in (0.5, 0.0)
    )
    terms = (c_half, s_half, c_whole, (s_whole[0], -s_whole[1]))
    largest = max(log for log, _ in terms)
    return largest + float(np.log(sum(s * np.exp(log - largest) for log, s in terms) / 2.0))


def _layered_sector(
    n_sites: int, layers: Sequence[RingLayer], shift: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return logarithm and sign of the products C and S of one boundary condition."""
    k = 2.0 * np.pi * (np.arange(n_sites) + shift) / n_sites
    inside = k[(k > 1e-12) & (k < np.pi - 1e-12)]
    alone = k[(np.abs(k) <= 1e-12) | (np.abs(k - np.pi) <= 1e-12)]
    product = np.broadcast_to(np.eye(2), (len(inside), 2, 2)).copy()
    scale = np.zeros(len(inside))
    for layer in layers:
        z = 2.0 * (layer.fields - layer.bonds * np.cos(inside))
        x = 2.0 * layer.bonds * np.sin(inside)
        factor, log = _exponential(x, z)
        product = product @ factor
        size = np.abs(product).max(axis=(1, 2))
        product /= size[:, None, None]
        scale += log + np.log(size)
    trace = np.trace(product, axis1=1, axis2=2)
    # tr +- 2 with the scale taken out.
    two = 2.0 * np.exp(-scale)
    x_alone = np.array(
        [sum(layer.fields - np.cos(q) * layer.bonds for layer in layers) for q in alone]
    )
    size = np.abs(x_alone)
    with np.errstate(divide="ignore"):
        cosines = np.log1p(np.exp(-2.0 * size)).sum()
        sines = np.log(-np.expm1(-2.0 * size)).sum()
        even, odd = (np.log(np.abs(trace + sign * two)).sum() for sign in (1.0, -1.0))
    rest = float(scale.sum() + size.sum())
    parity = float(np.prod(np.sign(x_alone)) * np.prod(np.sign(trace - two)))
    return (float(even + cosines) + rest, 1.0), (float(odd + sines) + rest, parity)


def _exponential(x: FloatArray, z: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return exp(x t_x + z t_z) without a factor, (n, 2, 2), and the logarithm of that factor."""
    r = np.hypot(x, z)
    # cosh r and sinh r over e^r / 2.
    c = 1.0 + np.exp(-2.0 * r)
    s = -np.expm1(-2.0 * r) / np.where(r > 0.0, r, 1.0)
    found = np.empty((len(r), 2, 2))
    found[:, 0, 0] = c + s * z
    found[:, 1, 1] = c - s * z
    found[:, 0, 1] = found[:, 1, 0] = s * x
    return found, r - np.log(2.0)
