"""Spinors of spin 1/2 along unit vectors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def spinors(directions: npt.NDArray[np.float64]) -> npt.NDArray[np.complex128]:
    """Return chi with <chi| sigma |chi> along unit vectors (..., 3), (..., 2); its phase is arbitrary."""
    x, y, z = directions[..., 0], directions[..., 1], directions[..., 2]
    # Of two forms the one that does not divide by zero.
    upper = z >= 0.0
    radius = np.sqrt(0.5 * (1.0 + np.abs(z)))
    rest = (x + 1j * y) / (2.0 * radius)
    first = np.where(upper, radius, rest.conj())
    second = np.where(upper, rest, radius)
    return np.stack([first, second], axis=-1)
