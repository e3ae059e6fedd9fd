"""An effective model for any log-weight on unit vectors: couplings of classes of pairs, and a field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.sparse.csgraph import shortest_path

from kakehashi_core.errors import InvalidInputError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

PENALTIES = (1e-8, 1e-6, 1e-4, 1e-2, 1.0)
VALIDATION_SHARE = 0.25
BLOCK = 4_000_000
"""Numbers of one block of products of pairs; all samples at once would not fit into memory."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PairModel:
    """log W_eff = constant + sum over bonds of M_ij V_i . V_j + field . sum_i V_i.

    Attributes:
        couplings: M, symmetric with zero diagonal, (n_sites, n_sites).
        field: (dimension,).
        constant: Log-weight without either.
        residual: Standard deviation of log W - log W_eff on samples that were not fitted.
    """

    couplings: FloatArray
    field: FloatArray
    constant: float
    residual: float

    def __call__(self, vectors: FloatArray) -> FloatArray:
        """Return log W_eff of each chain, (n_chains,)."""
        pairs = 0.5 * np.einsum("bia,ij,bja->b", vectors, self.couplings, vectors, optimize=True)
        return np.asarray(self.constant + pairs + vectors.sum(axis=1) @ self.field)

    @classmethod
    def fit(cls, vectors: FloatArray, log_weights: FloatArray, labels: IntArray) -> Self:
        """Return the ridge fit; a quarter of the samples, the last ones, chooses its penalty.

        Args:
            vectors: (n_samples, n_sites, dimension), in the order in which they were visited.
            log_weights: (n_samples,), finite.
            labels: Class of each pair, from 1; 0 for pairs without a coupling, (n_sites, n_sites).
        """
        features = _features(vectors, labels)
        n_fitted = max(2, round((1.0 - VALIDATION_SHARE) * len(features)))
        constant = float(log_weights[:n_fitted].mean())
        center, scale = features[:n_fitted].mean(axis=0), features[:n_fitted].std(axis=0)
        scale = np.where(scale > 1e-12, scale, 1.0)
        features -= center
        features /= scale
        known, unseen = features[:n_fitted], features[n_fitted:]
        inner, cross = known.T @ known, known.T @ (log_weights[:n_fitted] - constant)
        best: tuple[float, FloatArray] | None = None
        for penalty in PENALTIES:
            found = np.linalg.solve(inner + penalty * n_fitted * np.eye(len(cross)), cross)
            left = log_weights[n_fitted:] - constant - unseen @ found
            residual = float(left.std()) if len(left) else 0.0
            if best is None or residual < best[0]:
                best = residual, np.asarray(found, dtype=np.float64)
        assert best is not None  # noqa: S101  there is a penalty at least
        weights = best[1] / scale
        n_classes = int(labels.max())
        table = np.concatenate([[0.0], weights[:n_classes]])
        return cls(
            couplings=table[labels],
            field=weights[n_classes:],
            constant=constant - float(center @ weights),
            residual=best[0],
        )


def pair_classes(n_sites: int, neighbors: npt.ArrayLike | None) -> IntArray:
    """Return the class of each pair, from 1, (n_sites, n_sites); 0 on the diagonal.

    Args:
        n_sites: Number of sites.
        neighbors: Bonds as pairs of sites, (n_bonds, 2), or as a matrix whose elements are not zero,
            (n_sites, n_sites): pairs that are equally many bonds apart are one class. None makes every pair
            its own.

    Raises:
        InvalidInputError: If the bonds do not fit, or leave a site alone.
    """
    if neighbors is None:
        labels = np.zeros((n_sites, n_sites), dtype=np.int64)
        first, second = np.triu_indices(n_sites, 1)
        labels[first, second] = np.arange(1, len(first) + 1)
        return labels + labels.T
    given = np.asarray(neighbors)
    bonds = np.zeros((n_sites, n_sites), dtype=bool)
    if given.shape == (n_sites, n_sites) and not (given.shape[1] == 2 and given.max() > 1):
        bonds = np.abs(given) > 0
    elif given.ndim == 2 and given.shape[1] == 2 and given.dtype.kind in "iu":
        if given.size and (given.min() < 0 or given.max() >= n_sites):
            raise InvalidInputError(
                f"neighbors name site {given.max()}; there are sites 0 to {n_sites - 1}"
            )
        bonds[given[:, 0], given[:, 1]] = True
    else:
        raise InvalidInputError(
            f"neighbors have shape {given.shape}; pairs of sites, (n_bonds, 2), or a matrix, ({n_sites}, "
            f"{n_sites}), are needed"
        )
    distances = shortest_path(bonds | bonds.T, directed=False, unweighted=True)
    if not np.isfinite(distances).all():
        alone = int(np.flatnonzero(~np.isfinite(distances[0]))[0])
        raise InvalidInputError(
            f"no path of neighbors leads from site 0 to site {alone}; give all bonds, or leave them out"
        )
    found: IntArray = np.rint(distances).astype(np.int64)
    return found


def _features(vectors: FloatArray, labels: IntArray) -> FloatArray:
    """Return sums over the bonds of each class, and components of the total, (n_samples, n_features)."""
    first, second = np.triu_indices(labels.shape[0], 1)
    kinds = labels[first, second]
    coupled = kinds > 0
    first, second, kinds = first[coupled], second[coupled], kinds[coupled]
    order = np.argsort(kinds, kind="stable")
    first, second = first[order], second[order]
    n_classes = int(labels.max())
    edges = np.searchsorted(kinds[order], np.arange(1, n_classes + 2))
    found = np.zeros((len(vectors), n_classes + vectors.shape[2]))
    size = max(1, BLOCK // max(1, len(first) * vectors.shape[2]))
    for begin in range(0, len(vectors), size):
        block = vectors[begin : begin + size]
        products = np.einsum("bka,bka->bk", block[:, first], block[:, second])
        for kind in range(n_classes):
            found[begin : begin + size, kind] = products[:, edges[kind] : edges[kind + 1]].sum(
                axis=1
            )
    found[:, n_classes:] = vectors.sum(axis=1)
    return found
