"""Molecules on which the cost of functionals is compared: small, middle, large."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import unknown_name

Geometry = list[tuple[str, tuple[float, float, float]]]
"""Chemical symbol and position (Å) of each atom."""

_CC, _CH, _CO, _OH = 1.40, 1.09, 1.36, 0.96


def benchmark_molecule(name: str) -> Geometry:
    """Return "water", "benzene" or "anthrol" (C14H10O, 15 heavy atoms), idealized geometries.

    Raises:
        UnknownNameError: For any other name.
    """
    if name not in _BUILDERS:
        raise unknown_name("benchmark molecule", name, _BUILDERS)
    return _BUILDERS[name]()


def _water() -> Geometry:
    return [("O", (0.0, 0.0, 0.0)), ("H", (0.0, 0.757, 0.587)), ("H", (0.0, -0.757, 0.587))]


def _fused_rings(n_rings: int) -> tuple[npt.NDArray[np.float64], list[npt.NDArray[np.float64]]]:
    """Return carbon positions of a linear row of hexagons, and the outward directions of C-H bonds."""
    angles = np.deg2rad(30 + 60 * np.arange(6))
    hexagon = _CC * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    carbons: list[npt.NDArray[np.float64]] = []
    for ring in range(n_rings):
        center = np.array([ring * _CC * np.sqrt(3), 0.0])
        for vertex in center + hexagon:
            if all(np.linalg.norm(vertex - c) > 0.1 for c in carbons):
                carbons.append(vertex)
    positions = np.array(carbons)
    outward: list[npt.NDArray[np.float64]] = []
    for position in positions:
        bonds = [p - position for p in positions if 0.1 < np.linalg.norm(p - position) < _CC + 0.1]
        direction = -np.sum(bonds, axis=0)
        outward.append(direction / np.linalg.norm(direction) if len(bonds) == 2 else np.zeros(2))
    return positions, outward


def _hydrocarbon(n_rings: int) -> Geometry:
    positions, outward = _fused_rings(n_rings)
    atoms: Geometry = [("C", (float(x), float(y), 0.0)) for x, y in positions]
    for (x, y), (dx, dy) in zip(positions, outward, strict=True):
        if dx or dy:
            atoms.append(("H", (float(x + _CH * dx), float(y + _CH * dy), 0.0)))
    return atoms


def _benzene() -> Geometry:
    return _hydrocarbon(1)


def _anthrol() -> Geometry:
    """9-Anthrol: one central hydrogen of anthracene replaced by a hydroxyl group in the plane."""
    positions, outward = _fused_rings(3)
    middle = positions.mean(axis=0)
    central = min(
        (i for i, d in enumerate(outward) if d.any()),
        key=lambda i: float(np.linalg.norm(positions[i] - middle)),
    )
    hydrogen = tuple(positions[central] + _CH * outward[central])
    atoms = [
        (symbol, xyz)
        for symbol, xyz in _hydrocarbon(3)
        if not (symbol == "H" and np.allclose(xyz[:2], hydrogen))
    ]
    oxygen = positions[central] + _CO * outward[central]
    # The bond angle C-O-H of phenols is 109 degrees: 71 degrees away from the C-O direction.
    turn = np.deg2rad(71.0)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    tip = oxygen + _OH * rotation @ outward[central]
    atoms.append(("O", (float(oxygen[0]), float(oxygen[1]), 0.0)))
    atoms.append(("H", (float(tip[0]), float(tip[1]), 0.0)))
    return atoms


_BUILDERS = {"water": _water, "benzene": _benzene, "anthrol": _anthrol}
