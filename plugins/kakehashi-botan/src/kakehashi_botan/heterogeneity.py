"""How mobility differs between runs, configurations and places."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kakehashi_botan.isoconfigurational_data import FloatArray, IntArray, spanning_cell
from kakehashi_core.errors import InvalidInputError


@dataclass(frozen=True, kw_only=True)
class Susceptibility:
    """The overlap's chi4 and its two parts; total = isoconfigurational + configurational.

    Attributes:
        isoconfigurational: N times the variance between runs of one configuration, averaged over
            configurations.
        configurational: N times the variance between configurations; NaN if there is only one.
        total: N times the variance over everything; NaN if there is only one configuration.
    """

    isoconfigurational: float
    configurational: float
    total: float


@dataclass(frozen=True, kw_only=True, eq=False)
class SpatialCorrelation:
    """C(r)/C(0) = <dp_i dp_j> / <dp_i^2> of pairs by distance.

    Attributes:
        bin_edges: In sigma_AA, (n_bins + 1,).
        values: (n_bins,), dimensionless; NaN in bins without pairs.
        n_pairs: (n_bins,).
    """

    bin_edges: FloatArray
    values: FloatArray
    n_pairs: IntArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Distribution:
    """Moments and histogram of a set of values.

    Attributes:
        mean: First moment.
        standard_deviation: Without the correction for a finite sample (ddof = 0).
        skewness: Third central moment over the cube of the standard deviation; zero for equal values.
        bin_edges: (n_bins + 1,).
        density: Normalized histogram P(p), (n_bins,): its integral over the bins is the share of values
            inside.
    """

    mean: float
    standard_deviation: float
    skewness: float
    bin_edges: FloatArray
    density: FloatArray


def overlap_susceptibility(
    overlaps: npt.ArrayLike, *, n_atoms: int, unbiased: bool = True
) -> Susceptibility:
    """Split the fluctuation of the overlap Q into parts within and between configurations.

    Args:
        overlaps: Q of every run, (n_configurations, n_runs); at one time.
        n_atoms: Number of particles that Q averages over.
        unbiased: If true, each part has the expectation of infinitely many runs and configurations: variances
            with n - 1, and the noise of the mean over runs taken off the configurational part (which may get
            negative). If false, variances with n, whose sum is exactly the variance of all values.

    Returns:
        The parts; those that need several configurations are NaN for one.

    Raises:
        InvalidInputError: If the shape is wrong, or there are too few runs.

    Source:
        Law of total variance; one-way analysis of variance for the unbiased form.
    """
    values = np.asarray(overlaps, dtype=float)
    if values.ndim != 2 or len(values) == 0 or values.shape[1] < 2:
        raise InvalidInputError(
            f"overlaps have shape {values.shape}; (n_configurations, n_runs) with at least two runs is "
            "needed. Stack the runs of every configuration into a row."
        )
    n_configurations, n_runs = values.shape
    ddof = 1 if unbiased else 0
    within = float(values.var(axis=1, ddof=ddof).mean())
    if n_configurations == 1:
        return Susceptibility(
            isoconfigurational=n_atoms * within, configurational=math.nan, total=math.nan
        )
    between = float(values.mean(axis=1).var(ddof=ddof))
    if unbiased:
        between -= within / n_runs
    return Susceptibility(
        isoconfigurational=n_atoms * within,
        configurational=n_atoms * between,
        total=n_atoms * (within + between),
    )


def propensity_susceptibility(means: npt.ArrayLike, *, n_atoms: int) -> float:
    """Return N Var(mean propensity) between configurations, in sigma_AA^2.

    Args:
        means: Mean propensity of every configuration, (n_configurations,), in sigma_AA.
        n_atoms: Number of particles that each mean averages over.

    Raises:
        InvalidInputError: For fewer than two configurations.
    """
    values = np.asarray(means, dtype=float)
    if values.ndim != 1 or len(values) < 2:
        raise InvalidInputError(
            f"means have shape {values.shape}; one number for each of at least two configurations is needed."
        )
    return float(n_atoms * values.var(ddof=1))


def spatial_correlation(
    positions: npt.ArrayLike,
    mobility: npt.ArrayLike,
    cell: npt.ArrayLike,
    *,
    pbc: npt.ArrayLike = (True, True, True),
    bin_edges: npt.ArrayLike,
) -> SpatialCorrelation:
    """Calculate C(r)/C(0) of one configuration over all pairs within the last bin edge.

    Args:
        positions: Starts of the particles that count, (n_atoms, 3), in sigma_AA.
        mobility: Their propensities or predictions, (n_atoms,).
        cell: Rows are lattice vectors, (3, 3).
        pbc: Periodic directions, (3,).
        bin_edges: Growing, in sigma_AA; a bin includes its lower edge only. Beyond half the box, images
            of a pair count as further pairs.

    Raises:
        InvalidInputError: If shapes do not fit, or all values are equal.
    """
    from kakehashi_core.neighbor_lists import NeighborList

    box = spanning_cell(cell, pbc)
    neighbors = NeighborList(float(np.max(bin_edges)), full=False)
    pairs = neighbors.update(positions, box, pbc)
    distances = np.linalg.norm(neighbors.vectors(positions, box), axis=1)
    return correlation_of_pairs(
        mobility, np.stack([pairs.i, pairs.j]), distances, bin_edges=bin_edges
    )


def correlation_of_pairs(
    mobility: npt.ArrayLike,
    edge_index: npt.ArrayLike,
    distances: npt.ArrayLike,
    *,
    bin_edges: npt.ArrayLike,
) -> SpatialCorrelation:
    """Calculate C(r)/C(0) over given pairs, for instance the edges of a graph.

    Args:
        mobility: Propensities or predictions of the particles that count, (n_atoms,).
        edge_index: Pairs of these particles, (2, n_pairs), once or in both directions.
        distances: Of each pair at the start, (n_pairs,), in sigma_AA.
        bin_edges: Growing, in sigma_AA; a bin includes its lower edge only.

    Raises:
        InvalidInputError: If shapes do not fit, or all values are equal.
    """
    values, pairs = np.asarray(mobility, dtype=float), np.asarray(edge_index)
    r, edges = np.asarray(distances, dtype=float), np.asarray(bin_edges, dtype=float)
    if (
        values.ndim != 1
        or pairs.shape != (2, len(r))
        or (pairs.size and pairs.max() >= len(values))
    ):
        raise InvalidInputError(
            f"mobility {values.shape}, edge_index {pairs.shape} and distances {r.shape} do not fit; expected "
            "(n_atoms,), (2, n_pairs) and (n_pairs,), with pairs counted among the selected particles."
        )
    fluctuations = values - values.mean()
    variance = float(np.mean(fluctuations**2))
    if variance == 0.0:
        raise InvalidInputError(
            f"all {len(values)} values are {values[0]}; a correlation needs values that differ."
        )
    products = fluctuations[pairs[0]] * fluctuations[pairs[1]]
    place = np.searchsorted(edges, r, side="right") - 1
    inside = (place >= 0) & (place < len(edges) - 1)
    counts = np.bincount(place[inside], minlength=len(edges) - 1)
    sums = np.bincount(place[inside], products[inside], minlength=len(edges) - 1)
    averages = np.divide(sums, counts, out=np.full(len(counts), math.nan), where=counts > 0)
    return SpatialCorrelation(
        bin_edges=edges, values=averages / variance, n_pairs=counts.astype(np.int64)
    )


def distribution(
    values: npt.ArrayLike, *, n_bins: int = 50, limits: tuple[float, float] | None = None
) -> Distribution:
    """Summarize values such as the propensities of all particles of a temperature.

    Args:
        values: Any shape, finite.
        n_bins: Of the histogram.
        limits: Of the histogram; None for the smallest and largest value.

    Raises:
        InvalidInputError: If there is no value, or one is not finite.
    """
    flat = np.asarray(values, dtype=float).ravel()
    if len(flat) == 0 or not np.isfinite(flat).all():
        raise InvalidInputError(
            f"{len(flat)} values, {int((~np.isfinite(flat)).sum())} of them not finite; at least one finite "
            "value is needed and no other. Look at the model or the runs."
        )
    counts, edges = np.histogram(flat, bins=n_bins, range=limits)
    deviation = float(flat.std())
    centered = flat - flat.mean()
    return Distribution(
        mean=float(flat.mean()),
        standard_deviation=deviation,
        skewness=float(np.mean(centered**3)) / deviation**3 if deviation > 0.0 else 0.0,
        bin_edges=edges,
        density=counts / (len(flat) * np.diff(edges)),
    )
