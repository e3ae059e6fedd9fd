"""Vibrations of a molecule from its geometry alone: force constants by a model, no calculation.

Source:
    R. Lindh, A. Bernhardsson, G. Karlström, P.-Å. Malmqvist, Chem. Phys. Lett. 241, 423 (1995).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_deqh.atomic_units import BOHR, HARTREE
from kakehashi_deqh.training.normal_modes import NormalModes, modes_of

FloatArray = npt.NDArray[np.float64]

STRETCH, BEND, TORSION = 0.45, 0.15, 0.005
"""Force constants, hartree / bohr^2 and hartree."""
DECAY = ((1.0, 0.3949), (0.3949, 0.28))
"""1 / bohr^2, by rows of the periodic table: hydrogen, carbon to fluorine."""
REFERENCE = ((1.35, 2.10), (2.10, 2.53))
"""Bond lengths, bohr."""
LEAST = 0.02
"""Products of bond strengths below this are left out."""
NEARLY_LINEAR = np.deg2rad(172.0)


def model_modes(numbers: npt.NDArray[np.int64], positions: FloatArray) -> NormalModes:
    """Return vibrations by the model.

    Args:
        numbers: Atomic numbers of H to F, (n_atoms,).
        positions: Minimum, (n_atoms, 3), Å.
    """
    hessian = model_hessian(numbers, positions / BOHR) * HARTREE / BOHR**2
    return modes_of(numbers, positions, hessian)


def model_hessian(numbers: npt.NDArray[np.int64], positions: FloatArray) -> FloatArray:
    """Return the Hessian of the model, (3 n_atoms, 3 n_atoms), hartree/bohr^2.

    Args:
        numbers: Atomic numbers of H to F.
        positions: (n_atoms, 3), bohr.
    """
    n = len(numbers)
    strength = _strengths(numbers, positions)
    x = torch.as_tensor(positions, dtype=torch.float64)
    hessian = np.zeros((3 * n, 3 * n))
    for constant, atoms, coordinate in _coordinates(strength, positions):
        chosen = x[list(atoms)].clone().requires_grad_()
        (slope,) = torch.autograd.grad(coordinate(chosen), chosen)
        row = np.zeros((n, 3))
        row[list(atoms)] = slope.numpy()
        hessian += constant * np.outer(row.ravel(), row.ravel())
    return hessian


def _strengths(numbers: npt.NDArray[np.int64], positions: FloatArray) -> FloatArray:
    """Return exp(a (r_0^2 - r^2)) of all pairs, (n_atoms, n_atoms), zero on the diagonal."""
    row = (np.asarray(numbers) > 2).astype(int)
    decay, reference = (np.array(t)[row[:, None], row[None]] for t in (DECAY, REFERENCE))
    square = ((positions[:, None] - positions[None]) ** 2).sum(-1)
    found = np.exp(decay * (reference**2 - square))
    np.fill_diagonal(found, 0.0)
    return np.asarray(found)


def _coordinates(
    strength: FloatArray, positions: FloatArray
) -> Iterator[tuple[float, tuple[int, ...], Callable[[torch.Tensor], torch.Tensor]]]:
    """Yield force constant, atoms and function of their positions of every internal coordinate."""
    n = len(strength)
    for i, j in combinations(range(n), 2):
        if strength[i, j] > LEAST:
            yield STRETCH * strength[i, j], (i, j), _length
    for j in range(n):
        for i, k in combinations([a for a in range(n) if a != j], 2):
            product = strength[i, j] * strength[j, k]
            if product < LEAST:
                continue
            a, b = positions[i] - positions[j], positions[k] - positions[j]
            if _angle_between(a, b) < NEARLY_LINEAR:
                yield BEND * product, (i, j, k), _angle
            else:
                # An angle of 180 degrees has no derivative; its two bends are linear in displacements.
                for direction in _perpendicular(a):
                    yield BEND * product, (i, j, k), _linear_bend(direction, a, b)
    for j, k in combinations(range(n), 2):
        for i in range(n):
            for m in range(n):
                if len({i, j, k, m}) < 4:
                    continue
                product = strength[i, j] * strength[j, k] * strength[k, m]
                axis = positions[k] - positions[j]
                bends = (
                    _angle_between(positions[i] - positions[j], axis),
                    _angle_between(positions[m] - positions[k], -axis),
                )
                if product > LEAST and max(bends) < NEARLY_LINEAR:
                    yield TORSION * product, (i, j, k, m), _torsion


def _length(x: torch.Tensor) -> torch.Tensor:
    length: torch.Tensor = torch.linalg.vector_norm(x[0] - x[1])
    return length


def _angle(x: torch.Tensor) -> torch.Tensor:
    a, b = x[0] - x[1], x[2] - x[1]
    return torch.atan2(torch.linalg.cross(a, b).norm(), a @ b)


def _linear_bend(
    direction: FloatArray, a: FloatArray, b: FloatArray
) -> Callable[[torch.Tensor], torch.Tensor]:
    u = torch.as_tensor(direction)
    lengths = float(np.linalg.norm(a)), float(np.linalg.norm(b))

    def bend(x: torch.Tensor) -> torch.Tensor:
        bent: torch.Tensor = u @ ((x[0] - x[1]) / lengths[0] + (x[2] - x[1]) / lengths[1])
        return bent

    return bend


def _torsion(x: torch.Tensor) -> torch.Tensor:
    a, b, c = x[1] - x[0], x[2] - x[1], x[3] - x[2]
    first, second = torch.linalg.cross(a, b), torch.linalg.cross(b, c)
    return torch.atan2(torch.linalg.cross(first, second) @ b / b.norm(), first @ second)


def _angle_between(a: FloatArray, b: FloatArray) -> float:
    cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.arccos(np.clip(cosine, -1.0, 1.0)))


def _perpendicular(axis: FloatArray) -> tuple[FloatArray, FloatArray]:
    first = np.cross(axis, np.eye(3)[int(np.argmin(np.abs(axis)))])
    first /= np.linalg.norm(first)
    second = np.cross(axis, first)
    return first, second / np.linalg.norm(second)
