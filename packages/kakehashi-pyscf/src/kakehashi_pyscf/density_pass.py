"""The density on a grid block by block, and the matrices of potentials that come back from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from pyscf import gto
from pyscf.dft import numint

FloatArray = npt.NDArray[np.float64]


class ConvolvedDensity(Protocol):
    """The convolution R of one density (or change of it), and the adjoint of that map.

    Attributes:
        block_points: How many points a block may have.
    """

    block_points: int

    def everywhere(self) -> FloatArray:
        """Return R on the whole grid, (n_points,)."""
        ...

    def values(self, points: slice) -> FloatArray:
        """Return R on a block of the grid."""
        ...

    def collect(self, points: slice, gradient: FloatArray) -> None:
        """Take w_i de/dR_i on a block of the grid."""
        ...

    def potential(self) -> FloatArray:
        """Return the matrix of dE/dD through R, (n_ao, n_ao), after everything was collected."""
        ...


@dataclass(frozen=True)
class DensityBlock:
    """The density on a block of a grid, in PySCF's components x (rho, gradient, tau; per spin).

    Attributes:
        points: Where the block is in the grid.
        ao: Values and gradients of the orbitals, (4, n_points, n_ao).
        mask: Which shells are seen at which points.
        weights: (n_points,), bohr^3.
        rho: x, (5, n_points), or (2, 5, n_points) for two spins.
        convolved: R, (n_points,).
    """

    points: slice
    ao: Any
    mask: Any
    weights: FloatArray
    rho: FloatArray
    convolved: FloatArray


class DensityPass:
    """One pass over a grid with one density, or change of it.

    Args:
        integrator: PySCF's; evaluates orbitals and densities.
        mol: The molecule.
        grids: Its integration grid, built.
        dms: One density matrix, or one per spin.
        convolved: Convolution of their sum.
        hermi: 1 if the matrices are symmetric.
        max_memory: MB, for the orbitals of a block.
    """

    def __init__(
        self,
        integrator: numint.NumInt,
        mol: gto.Mole,
        grids: Any,
        dms: Sequence[FloatArray],
        convolved: ConvolvedDensity,
        hermi: int,
        max_memory: float,
    ) -> None:
        self._integrator, self._mol, self._grids = integrator, mol, grids
        self._convolved, self._max_memory = convolved, max_memory
        self._density_of = density_evaluator(integrator, mol, grids, dms, hermi)
        width = min(
            int(max(0.0, max_memory) * 1e6 / (5 * mol.nao * 8)),
            convolved.block_points,
            1200 * numint.BLKSIZE,
        )
        self._width = max(4, width // numint.BLKSIZE) * numint.BLKSIZE
        # What PySCF's sparse kernels want to know.
        self._offsets = mol.ao_loc_nr()
        cutoff = grids.cutoff * 1e2
        self._bins = numint.NBINS * 2 - int(numint.NBINS * np.log(cutoff) / np.log(grids.cutoff))
        self._pairs = mol.get_overlap_cond() < -np.log(integrator.cutoff)
        self._half = np.zeros((len(dms), mol.nao, mol.nao))
        self._tau = np.zeros_like(self._half)
        self._buffer: Any = None

    def blocks(self) -> Iterator[DensityBlock]:
        """Yield the density in blocks that orbitals and convolution can both hold."""
        stop = 0
        for ao, mask, weights, _coords in self._integrator.block_loop(
            self._mol,
            self._grids,
            self._mol.nao,
            1,
            max_memory=self._max_memory,
            blksize=self._width,
        ):
            start, stop = stop, stop + weights.size
            points = slice(start, stop)
            rho = self._density_of(ao, mask)
            yield DensityBlock(points, ao, mask, weights, rho, self._convolved.values(points))

    def add(self, block: DensityBlock, local: FloatArray, nonlocal_: FloatArray) -> None:
        """Collect de/dx, of the shape of ``block.rho``, and de/dR, (n_points,), on a block."""
        self._convolved.collect(block.points, block.weights * nonlocal_)
        sparse = (self._bins, block.mask, self._pairs, self._offsets)
        for channel, part in enumerate(weighted_derivatives(block.weights, local)):
            self._buffer = numint._scale_ao_sparse(
                block.ao[:4], part[:4], block.mask, self._offsets, out=self._buffer
            )
            numint._dot_ao_ao_sparse(
                block.ao[0], self._buffer, None, *sparse, hermi=0, out=self._half[channel]
            )
            numint._tau_dot_sparse(block.ao, block.ao, part[4], *sparse, out=self._tau[channel])

    def potential(self) -> FloatArray:
        """Return the matrices of what was collected, (n_spin, n_ao, n_ao)."""
        local = self._half + self._half.transpose(0, 2, 1) + self._tau
        return local + self._convolved.potential()


def density_evaluator(
    integrator: numint.NumInt, mol: gto.Mole, grids: Any, dms: Sequence[FloatArray], hermi: int
) -> Callable[[Any, Any], FloatArray]:
    """Return what makes x, (5, n_points) or (2, 5, n_points), from orbitals and mask of a block."""
    channels = [integrator._gen_rho_evaluator(mol, dm, hermi, False, grids)[0] for dm in dms]

    def density(ao: Any, mask: Any) -> FloatArray:
        rho = np.stack([make_rho(0, ao, mask, "MGGA") for make_rho in channels])
        return rho if len(channels) == 2 else rho[0]

    return density


def weighted_derivatives(weights: FloatArray, local: FloatArray) -> FloatArray:
    """Return w de/dx, (n_spin, 5, n_points), as the matrix of a potential takes it."""
    weighted: FloatArray = weights * local.reshape(-1, 5, weights.size)
    weighted[:, 0] *= 0.5  # the matrix and its transpose are added at the end
    weighted[:, 4] *= 0.5  # of tau = 1/2 sum |grad phi|^2
    return weighted
