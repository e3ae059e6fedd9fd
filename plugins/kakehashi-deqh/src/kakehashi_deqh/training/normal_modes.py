"""Geometries around a minimum: relaxation, normal modes, and thermal samples of these."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ase import Atoms

FloatArray = npt.NDArray[np.float64]

RELAXED = 0.003
"""Largest force at a minimum, eV/Å."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NormalModes:
    """A minimum and its harmonic vibrations.

    Attributes:
        numbers: Atomic numbers, (n_atoms,).
        positions: (n_atoms, 3), Å.
        displacements: Shape of each mode divided by the root of the masses, (n_modes, n_atoms, 3).
        constants: Squared angular frequencies in eV / (Å^2 u), (n_modes,).
    """

    numbers: npt.NDArray[np.int64]
    positions: FloatArray
    displacements: FloatArray = field(repr=False)
    constants: FloatArray

    @property
    def wavenumbers(self) -> FloatArray:
        """Frequencies, 1/cm."""
        from ase import units

        energies = units._hbar * 1e10 / np.sqrt(units._e * units._amu) * np.sqrt(self.constants)
        return np.asarray(energies / units.invcm)

    def sample(self, temperature: float, n: int, rng: np.random.Generator) -> FloatArray:
        """Return geometries of classical oscillators, each turned at random, (n, n_atoms, 3), Å.

        Args:
            temperature: Kelvin.
            n: How many.
            rng: Draws amplitudes and rotations.
        """
        from ase.units import kB

        amplitudes = rng.normal(size=(n, len(self.constants))) * np.sqrt(
            kB * temperature / self.constants
        )
        moved = self.positions + np.einsum("nk,kax->nax", amplitudes, self.displacements)
        return turned(moved, rng)


def turned(geometries: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return geometries, (n, n_atoms, 3), each turned at random around its center."""
    from scipy.spatial.transform import Rotation

    centered = geometries - geometries.mean(axis=1, keepdims=True)
    turns = Rotation.random(len(geometries), random_state=rng).as_matrix()
    return np.asarray(np.einsum("nxy,nay->nax", turns, centered))


def normal_modes(atoms: Atoms, calculator: Any) -> NormalModes:
    """Relax a molecule and return its vibrations, from differences of forces.

    Args:
        atoms: Where to begin; stays as it is.
        calculator: Of ASE.
    """
    from ase.optimize import BFGS
    from ase.vibrations import Vibrations

    relaxed = atoms.copy()
    relaxed.calc = calculator
    BFGS(relaxed, logfile=None).run(fmax=RELAXED, steps=200)
    with tempfile.TemporaryDirectory() as folder:
        vibrations = Vibrations(relaxed, name=f"{folder}/vibrations")
        vibrations.run()
        hessian = vibrations.get_vibrations().get_hessian_2d()
    return modes_of(np.asarray(relaxed.numbers, dtype=np.int64), relaxed.positions.copy(), hessian)


def modes_of(
    numbers: npt.NDArray[np.int64], positions: FloatArray, hessian: FloatArray
) -> NormalModes:
    """Return the vibrations of a Hessian; translations and rotations are left out.

    Args:
        numbers: Atomic numbers, (n_atoms,).
        positions: Minimum, (n_atoms, 3), Å.
        hessian: (3 n_atoms, 3 n_atoms), eV/Å^2.
    """
    from ase.data import atomic_masses

    masses = np.repeat(atomic_masses[numbers], 3)
    values, vectors = np.linalg.eigh(hessian / np.sqrt(masses[:, None] * masses))
    # The smallest are translations and rotations.
    kept = np.sort(np.argsort(np.abs(values))[5 if _is_linear(positions) else 6 :])
    shapes = (vectors / np.sqrt(masses)[:, None])[:, kept].T
    return NormalModes(
        numbers=numbers,
        positions=positions,
        displacements=shapes.reshape(len(kept), len(numbers), 3),
        constants=np.abs(values[kept]),
    )


def _is_linear(positions: FloatArray) -> bool:
    sizes = np.linalg.svd(positions - positions.mean(axis=0), compute_uv=False)
    return bool(sizes[1] < 1e-3 * max(sizes[0], 1e-12))
