"""How mobility varies in space: the four-point structure factor S4(q) and its Ornstein-Zernike fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from kakehashi_botan.displacements import displacement_lengths
from kakehashi_botan.isoconfigurational_data import (
    FloatArray,
    IntArray,
    IsoconfigurationalData,
    spanning_cell,
)
from kakehashi_core.errors import InvalidInputError

Estimator = Literal["plain", "unbiased"]

MAX_WAVENUMBER = 2.0
"""Largest |q| by default, in 1/sigma_AA; beyond it S4 of the Kob-Andersen mixture is close to noise."""

_SAME_SHELL = 1e-6
"""Relative difference below which two wavenumbers are one shell."""

_CHUNK = 2_000_000
"""Phases (particles times modes) that are kept at a time."""

_REWEIGHTINGS = 8

_NO_PLATEAU = 1e-3
"""Smallest ratio of 1/S4(0) to the rest of 1/S4 at the smallest q that a fit can tell from zero."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StructureFactor:
    """S4 by shells of wave vectors, of one configuration or averaged over several.

    Attributes:
        wavenumbers: Mean |q| of each shell, (n_shells,), growing, in 1/sigma_AA.
        values: S4, (n_shells,), in sigma_AA^2.
        n_modes: Wave vectors per shell, (n_shells,); q and -q count once.
        errors: Standard error over configurations, (n_shells,), or None for a single configuration.
        n_configurations: How many were averaged.
    """

    wavenumbers: FloatArray
    values: FloatArray
    n_modes: IntArray
    errors: FloatArray | None = field(default=None)
    n_configurations: int = 1


@dataclass(frozen=True, kw_only=True)
class OrnsteinZernikeFit:
    """S4(q) = amplitude / (1 + (q correlation_length)^2).

    Attributes:
        amplitude: S4 at q = 0, in sigma_AA^2.
        correlation_length: In sigma_AA.
        amplitude_error: One standard deviation from the scatter around the fit.
        correlation_length_error: Likewise, in sigma_AA.
    """

    amplitude: float
    correlation_length: float
    amplitude_error: float
    correlation_length_error: float


def wave_vectors(
    cell: npt.ArrayLike, pbc: npt.ArrayLike, *, max_wavenumber: float
) -> tuple[IntArray, FloatArray]:
    """Return one of each pair q, -q of reciprocal lattice vectors up to a length, without q = 0.

    Args:
        cell: Rows are lattice vectors, (3, 3).
        pbc: Periodic directions, (3,); in two dimensions only vectors in the plane are returned.
        max_wavenumber: Largest |q|, in 1/sigma_AA.

    Returns:
        Integers n, (n_modes, 3), and q = 2 pi n inverse(cell)^T, (n_modes, 3), in order of growing |q|.

    Raises:
        InvalidInputError: If no vector is that short.
    """
    box, periodic = spanning_cell(cell, pbc), np.asarray(pbc, dtype=bool)
    # q . a_i = 2 pi n_i bounds each integer by the length of its lattice vector.
    reach = max_wavenumber * np.linalg.norm(box, axis=1) / (2.0 * np.pi)
    limits = np.where(periodic, np.floor(reach + _SAME_SHELL), 0).astype(np.int64)
    grid = np.meshgrid(*(np.arange(-n, n + 1) for n in limits), indexing="ij")
    integers = np.stack(grid, axis=-1).reshape(-1, 3)
    # The first integer that is not zero is positive in exactly one of n and -n.
    first = np.take_along_axis(integers, (integers != 0).argmax(axis=1)[:, None], axis=1)[:, 0]
    integers = integers[first > 0]
    vectors = 2.0 * np.pi * integers @ np.linalg.inv(box).T
    lengths = np.linalg.norm(vectors, axis=1)
    kept = lengths <= max_wavenumber * (1.0 + _SAME_SHELL)
    if not kept.any():
        shortest = 2.0 * np.pi / np.linalg.norm(box[periodic], axis=1).max()
        raise InvalidInputError(
            f"no wave vector of this box is shorter than {max_wavenumber!r} / sigma_AA; the first ones have "
            f"about {shortest:.4g}. Raise max_wavenumber."
        )
    order = np.flatnonzero(kept)[np.argsort(lengths[kept], kind="stable")]
    return integers[order], vectors[order]


def structure_factor(
    positions: npt.ArrayLike,
    mobility: npt.ArrayLike,
    cell: npt.ArrayLike,
    *,
    pbc: npt.ArrayLike = (True, True, True),
    estimator: Estimator = "plain",
    mean: float | None = None,
    max_wavenumber: float = MAX_WAVENUMBER,
    bin_edges: npt.ArrayLike | None = None,
) -> StructureFactor:
    """Calculate S4(q) = |sum_i (p_i - mean) exp(i q.r_i)|^2 / N of one configuration, by shells.

    With ``estimator="unbiased"``, pairs of different runs take the place of the square,
    S4 = (|sum_k W_k|^2 - sum_k |W_k|^2) / (n (n - 1) N) with W_k = sum_i (d_i^k - mean_k) exp(i q.r_i). Its
    expectation is S4 of infinitely many runs; that of the plain form is larger, by the noise of the runs.
    Single values may be negative.

    Args:
        positions: Starts r_i of the particles that count, (n_atoms, 3), not the displaced ones.
        mobility: Propensities or predictions, (n_atoms,), or displacement lengths of every run, (n_runs,
            n_atoms).
        cell: Rows are lattice vectors, (3, 3).
        pbc: Periodic directions, (3,).
        estimator: "plain" or "unbiased", which needs at least two runs.
        mean: What is subtracted: a number, such as the mean of all configurations of a temperature, or None
            for the mean over the particles, of every run by itself. Subtracting their common mean instead
            would leave a bias of order 1/n_runs.
        max_wavenumber: Largest |q|, in 1/sigma_AA; with ``bin_edges`` their last one counts.
        bin_edges: Bins of |q|, growing, in 1/sigma_AA; without them every length has its own shell (|n|^2 =
            const in a cube). Bins without a wave vector are left out.

    Raises:
        InvalidInputError: If shapes do not fit, or the unbiased form is asked of fewer than two runs.

    Source:
        The cross-run form is an own derivation, tested by Monte Carlo.
    """
    if estimator not in get_args(Estimator):
        raise InvalidInputError(f"estimator is {estimator!r}; it must be 'plain' or 'unbiased'.")
    starts, values = np.asarray(positions, dtype=float), np.asarray(mobility, dtype=float)
    if starts.ndim != 2 or starts.shape[1] != 3 or values.shape[-1:] != starts.shape[:1]:
        raise InvalidInputError(
            f"positions {starts.shape} and mobility {values.shape} do not fit; expected (n_atoms, 3) and "
            "(n_atoms,) or (n_runs, n_atoms). Select the same particles in both."
        )
    if estimator == "plain":
        values = values.reshape(-1, values.shape[-1]).mean(axis=0, keepdims=True)
    elif values.ndim != 2 or len(values) < 2:
        raise InvalidInputError(
            f"mobility has shape {values.shape}; the unbiased estimator needs displacement lengths of at "
            "least two runs, (n_runs, n_atoms). Use estimator='plain' for means."
        )
    fluctuations = values - (values.mean(axis=1, keepdims=True) if mean is None else mean)
    edges = None if bin_edges is None else _checked_edges(bin_edges)
    _, vectors = wave_vectors(
        cell, pbc, max_wavenumber=max_wavenumber if edges is None else float(edges[-1])
    )
    modes = _mode_values(starts, fluctuations, vectors) / starts.shape[0]
    return _shells(np.linalg.norm(vectors, axis=1), modes, edges)


def four_point_structure_factor(
    data: IsoconfigurationalData,
    time_index: int = 0,
    *,
    species: int | None = 0,
    estimator: Estimator = "unbiased",
    mean: float | None = None,
    max_wavenumber: float = MAX_WAVENUMBER,
    bin_edges: npt.ArrayLike | None = None,
) -> StructureFactor:
    """Calculate S4(q) of the displacement lengths of one configuration; see ``structure_factor``.

    Args:
        data: The ensemble.
        time_index: Which of its times.
        species: Only particles of this type; None for all.
        estimator: "unbiased", or "plain" for that of the mean over runs.
        mean: See ``structure_factor``.
        max_wavenumber: Largest |q|, in 1/sigma_AA.
        bin_edges: See ``structure_factor``.
    """
    return structure_factor(
        data.initial_positions[data.mask(species)],
        displacement_lengths(data, time_index, species=species),
        data.cell,
        pbc=data.pbc,
        estimator=estimator,
        mean=mean,
        max_wavenumber=max_wavenumber,
        bin_edges=bin_edges,
    )


def average_structure_factors(configurations: Sequence[StructureFactor]) -> StructureFactor:
    """Average S4 over configurations of one box, with the standard error of the mean.

    Raises:
        InvalidInputError: If there is none, or shells differ.
    """
    if not configurations:
        raise InvalidInputError(
            "no structure factor to average; at least one configuration is needed."
        )
    first = configurations[0]
    for other in configurations[1:]:
        if other.wavenumbers.shape != first.wavenumbers.shape or not np.allclose(
            other.wavenumbers, first.wavenumbers, rtol=_SAME_SHELL, atol=0.0
        ):
            raise InvalidInputError(
                f"the shells differ: {first.wavenumbers[:4].tolist()} ... and "
                f"{other.wavenumbers[:4].tolist()} ... / sigma_AA; only configurations of equal boxes are "
                "averaged. Group them by box."
            )
    values = np.stack([c.values for c in configurations])
    n = len(values)
    return StructureFactor(
        wavenumbers=first.wavenumbers,
        values=values.mean(axis=0),
        n_modes=first.n_modes,
        errors=values.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else None,
        n_configurations=n,
    )


def ornstein_zernike(
    structure: StructureFactor, *, max_wavenumber: float | None = None
) -> OrnsteinZernikeFit:
    """Fit S4(q) = S4(0) / (1 + (q xi)^2) at small q.

    The scatter of a shell is taken as proportional to the fitted S4 over the root of its number of modes, as
    for Gaussian fluctuations, and found by refitting a few times. Average over configurations first: the
    smallest shell of a cube has three modes.

    Args:
        structure: S4, at least three shells below ``max_wavenumber``.
        max_wavenumber: Largest |q| that enters, in 1/sigma_AA; None for all.

    Raises:
        InvalidInputError: If fewer than three shells are left, or their mean is not positive.
        ConvergenceError: If no fit is found, or S4 has no plateau at small q.
    """
    from scipy.optimize import curve_fit

    from kakehashi_core.errors import ConvergenceError

    kept = structure.wavenumbers <= (np.inf if max_wavenumber is None else max_wavenumber)
    q, values = structure.wavenumbers[kept], structure.values[kept]
    if len(q) < 3 or np.average(values, weights=structure.n_modes[kept]) <= 0.0:
        raise InvalidInputError(
            f"{len(q)} shells with S4 = {values.tolist()} cannot be fitted; at least three with a positive "
            "mean are needed. Raise max_wavenumber, or average over configurations."
        )
    # 1/S4 is a straight line in q^2; its two coefficients stay finite where S4(0) and xi run away together.
    scale = values.max()
    guess = np.array([1.0 / scale, 1.0 / (scale * np.mean(q) ** 2)])
    expected = np.full(len(q), scale)
    try:
        for _ in range(_REWEIGHTINGS):
            guess, covariance = curve_fit(
                _inverse_line,
                q,
                values,
                p0=guess,
                sigma=expected / np.sqrt(structure.n_modes[kept]),
                bounds=(0.0, np.inf),
                x_scale=guess + 1e-3 / scale,
                xtol=1e-12,
                ftol=1e-12,
            )
            expected = _inverse_line(q, *guess)
    except (RuntimeError, ValueError) as error:
        raise ConvergenceError(
            f"no Ornstein-Zernike form was found for S4 = {values.tolist()} at q = {q.tolist()} / sigma_AA: "
            f"{error}. Average over more configurations, or change max_wavenumber."
        ) from error
    offset, slope = guess
    if offset < _NO_PLATEAU * slope * q.min() ** 2:
        raise ConvergenceError(
            f"S4 = {values.tolist()} at q = {q.tolist()} / sigma_AA falls at least as fast as 1/q^2, so that "
            "S4(0) and the correlation length have no upper bound; a plateau at small q is needed. Use a "
            "larger box, or change max_wavenumber."
        )
    length = math.sqrt(slope / offset)
    # d(length)/d(slope, offset) by the chain rule.
    gradient = np.array([-0.5 * length / offset, 0.5 / math.sqrt(slope * offset) if slope else 0.0])
    return OrnsteinZernikeFit(
        amplitude=float(1.0 / offset),
        correlation_length=length,
        amplitude_error=float(math.sqrt(covariance[0, 0]) / offset**2),
        correlation_length_error=float(math.sqrt(gradient @ covariance @ gradient)),
    )


def _inverse_line(q: FloatArray, offset: float, slope: float) -> FloatArray:
    # Both coefficients may sit on their bound at zero for a moment.
    return 1.0 / np.maximum(offset + slope * q**2, 1e-300)


def _mode_values(starts: FloatArray, fluctuations: FloatArray, vectors: FloatArray) -> FloatArray:
    """Return N S4 of every mode, (n_modes,), from one row (plain) or several (unbiased)."""
    n_runs, n_atoms = fluctuations.shape
    values = np.empty(len(vectors))
    step = max(1, _CHUNK // n_atoms)
    for begin in range(0, len(vectors), step):
        phases = starts @ vectors[begin : begin + step].T
        real, imaginary = fluctuations @ np.cos(phases), fluctuations @ np.sin(phases)
        of_sum = real.sum(axis=0) ** 2 + imaginary.sum(axis=0) ** 2
        if n_runs > 1:
            same_run = (real**2 + imaginary**2).sum(axis=0)
            of_sum = (of_sum - same_run) / (n_runs * (n_runs - 1))
        values[begin : begin + step] = of_sum
    return values


def _shells(
    lengths: FloatArray, modes: FloatArray, bin_edges: FloatArray | None
) -> StructureFactor:
    if bin_edges is None:
        new = np.diff(lengths, prepend=0.0) > _SAME_SHELL * lengths
        shell = np.cumsum(new) - 1
    else:
        shell = np.searchsorted(bin_edges, lengths, side="right") - 1
        inside = (shell >= 0) & (shell < len(bin_edges) - 1)
        lengths, modes, shell = lengths[inside], modes[inside], shell[inside]
        if not len(shell):
            raise InvalidInputError(
                f"no wave vector of this box lies in the bins {bin_edges.tolist()} / sigma_AA; widen them."
            )
    counts = np.bincount(shell)
    filled = counts > 0
    counts = counts[filled].astype(np.int64)
    return StructureFactor(
        wavenumbers=np.bincount(shell, lengths)[filled] / counts,
        values=np.bincount(shell, modes)[filled] / counts,
        n_modes=counts,
    )


def _checked_edges(bin_edges: npt.ArrayLike) -> FloatArray:
    edges = np.asarray(bin_edges, dtype=float)
    if edges.ndim != 1 or len(edges) < 2 or not np.isfinite(edges).all() or edges[0] < 0.0:
        growing = False
    else:
        growing = bool((np.diff(edges) > 0.0).all())
    if not growing:
        raise InvalidInputError(
            f"bin edges are {edges.tolist()}; at least two growing numbers >= 0 are needed. Sort them."
        )
    return edges
