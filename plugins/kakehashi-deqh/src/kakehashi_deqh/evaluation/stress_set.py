"""Molecules on which a predictor is likely to fail, by name."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Named = tuple[str, tuple[list[int], FloatArray], int]
"""Name, atomic numbers with positions in Å, and charge."""

OH, ANGLE = 0.969, 104.2


def water(
    first: float = OH, second: float = OH, angle: float = ANGLE
) -> tuple[list[int], FloatArray]:
    """Return water with given bonds, Å, and angle, degrees."""
    t = np.deg2rad(angle)
    positions = [[0, 0, 0], [first, 0, 0], [second * np.cos(t), second * np.sin(t), 0]]
    return [8, 1, 1], np.array(positions, dtype=float)


def stress_set() -> list[Named]:
    """Return water stretched, bent and dissociating, larger systems, and foreign molecules."""
    found: list[Named] = [("equilibrium", water(), 0)]
    found += [(f"one OH x{f:g}", water(OH * f), 0) for f in (1.1, 1.25, 1.4, 1.7, 2.2)]
    found += [(f"both OH x{f:g}", water(OH * f, OH * f), 0) for f in (0.85, 1.05, 1.15, 1.3)]
    found += [(f"angle {a:g}", water(angle=a), 0) for a in (80.0, 130.0, 150.0, 178.0)]
    numbers, positions = water()
    for distance in (2.8, 4.0):
        pair = np.concatenate([positions, positions + np.array([-distance, 0.3, 0.2])])
        found.append((f"two waters, {distance:g} Å", (numbers * 2, pair), 0))
    found.append(("OH-", ([8, 1], np.array([[0.0, 0, 0], [OH, 0, 0]])), -1))
    found.append(("H2", ([1, 1], np.array([[0.0, 0, 0], [0.75, 0, 0]])), 0))
    peroxide = [[0, 0.73, -0.05], [0, -0.73, -0.05], [0.83, 0.88, 0.4], [-0.83, -0.88, 0.4]]
    found.append(("H2O2", ([8, 8, 1, 1], np.array(peroxide)), 0))
    methanol = [
        [-0.05, 0.66, 0],
        [-0.05, -0.76, 0],
        [-1.09, 0.98, 0],
        [0.88, -1.06, 0],
        [0.44, 1.07, 0.89],
        [0.44, 1.07, -0.89],
    ]
    found.append(("CH3OH", ([6, 8, 1, 1, 1, 1], np.array(methanol)), 0))
    ammonia = [[0, 0, 0.12], [0, 0.94, -0.27], [0.81, -0.47, -0.27], [-0.81, -0.47, -0.27]]
    found.append(("NH3", ([7, 1, 1, 1], np.array(ammonia)), 0))
    return found
