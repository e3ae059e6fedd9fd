"""Classical spins: unit vectors, (..., n_sites, 3)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError

FloatArray = npt.NDArray[np.float64]

LENGTH_TOLERANCE = 1e-6
"""Spins whose length differs from 1 by more are refused; smaller differences are rounding."""


def random_spins(rng: np.random.Generator, n_chains: int, n_sites: int) -> FloatArray:
    """Return spins that are uniform on the sphere, (n_chains, n_sites, 3)."""
    return normalized(rng.normal(size=(n_chains, n_sites, 3)))


def normalized(vectors: FloatArray) -> FloatArray:
    """Return vectors of length 1 in the same directions, (..., 3)."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def tangential(vectors: FloatArray, spins: FloatArray) -> FloatArray:
    """Return the parts of vectors that are perpendicular to spins, (..., 3)."""
    along = np.einsum("...a,...a->...", vectors, spins)
    return np.asarray(vectors - along[..., None] * spins)


def checked_spins(spins: npt.ArrayLike, n_sites: int) -> FloatArray:
    """Return spins as float64, (n_chains, n_sites, 3).

    Args:
        spins: (n_chains, n_sites, 3), or (n_sites, 3) for one chain.
        n_sites: How many there must be.

    Raises:
        InvalidInputError: If the shape is another one, or a spin is not finite or not of length 1.
    """
    values = np.asarray(spins, dtype=np.float64)
    if values.ndim == 2:
        values = values[None]
    if values.ndim != 3 or values.shape[1:] != (n_sites, 3):
        raise InvalidInputError(
            f"spins have shape {np.shape(spins)}; (n_chains, {n_sites}, 3) or ({n_sites}, 3) is needed"
        )
    wrong = ~(np.abs(np.linalg.norm(values, axis=-1) - 1.0) <= LENGTH_TOLERANCE)
    if wrong.any():
        chain, site = (int(k) for k in np.argwhere(wrong)[0])
        raise InvalidInputError(
            f"spin {site} of chain {chain} is {values[chain, site].tolist()}; spins are unit vectors. "
            "Divide by their lengths; a spin of length zero has no direction."
        )
    return values


def random_rotations(rng: np.random.Generator, n: int) -> FloatArray:
    """Return rotations that are uniform in SO(3), (n, 3, 3)."""
    w, x, y, z = normalized(rng.normal(size=(n, 4))).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)
