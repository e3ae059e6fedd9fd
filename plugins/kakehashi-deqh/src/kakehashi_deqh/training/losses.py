"""How far a predicted Hamiltonian is from the converged one: elements, orbital energies, energy."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import scipy.linalg
import torch

from kakehashi_deqh.block_batches import Molecule

MILLIHARTREE = 1e3


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """Weights of the parts of the loss; matrices are in millihartree.

    Attributes:
        absolute: Mean absolute error of matrix elements.
        squared: Mean squared error of matrix elements.
        orbitals: Mean absolute first-order error of orbital energies, occupied ones and the lowest unoccupied
            one counting twice.
        energy: Second-order error of the energy of the density, for each occupied orbital.
    """

    absolute: float = 1.0
    squared: float = 1.0
    orbitals: float = 0.1
    energy: float = 1.0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class EigenFrame:
    """Converged orbitals of a molecule, in the order of its layout.

    Attributes:
        coefficients: (n_orbitals, n_orbitals).
        energies: (n_orbitals,), hartree.
        n_occupied: Doubly occupied ones.
    """

    coefficients: torch.Tensor = field(repr=False)
    energies: torch.Tensor = field(repr=False)
    n_occupied: int

    @classmethod
    def of(cls, molecule: Molecule, hamiltonian: str, dtype: torch.dtype) -> EigenFrame:
        """Diagonalize a matrix of a molecule."""
        energies, c = scipy.linalg.eigh(
            molecule.matrices[hamiltonian], molecule.matrices["overlap"]
        )
        return cls(
            coefficients=torch.as_tensor(c, dtype=dtype),
            energies=torch.as_tensor(energies, dtype=dtype),
            n_occupied=int(np.sum(molecule.numbers)) // 2,
        )


def hamiltonian_loss(
    errors: torch.Tensor,
    matrices: list[torch.Tensor],
    frames: list[EigenFrame],
    weights: LossWeights,
) -> torch.Tensor:
    """Return the loss, a mean over molecules.

    Args:
        errors: All matrix elements of all molecules, packed, hartree.
        matrices: The same of each molecule.
        frames: Of each molecule.
        weights: Of the parts.
    """
    scaled = errors * MILLIHARTREE
    loss = weights.absolute * scaled.abs().mean() + weights.squared * scaled.square().mean()
    if weights.orbitals == weights.energy == 0.0:
        return loss
    for error, frame in zip(matrices, frames, strict=True):
        n = frame.n_occupied
        w = frame.coefficients.T @ (error * MILLIHARTREE) @ frame.coefficients
        importance = torch.ones(len(w), dtype=w.dtype, device=w.device)
        importance[: n + 1] = 2.0
        gaps = frame.energies[None, n:] - frame.energies[:n, None]
        share = 1.0 / len(matrices)
        loss = loss + share * weights.orbitals * (importance * w.diagonal().abs()).mean()
        second = 2.0 * (w[:n, n:].square() / gaps.clamp(min=0.05)).sum() / MILLIHARTREE / n
        loss = loss + share * weights.energy * second
    return loss


def first_order_errors(
    error: npt.NDArray[np.float64], frame: EigenFrame
) -> npt.NDArray[np.float64]:
    """Return first-order errors of all orbital energies, hartree, for an error of the matrix."""
    c = frame.coefficients.to(torch.float64).numpy()
    return np.asarray(np.einsum("ai,ab,bi->i", c, error, c))
