"""Convolution by quadrature on the integration grid itself: the form in which NN-NRA was published.

Kept as a reference. It depends on the grid, truncates the kernel sharply, and costs far more than the
density fit of ``convolved_density``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from pyscf import gto, lib
from pyscf.dft import numint
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from kakehashi_core.errors import InvalidInputError
from kakehashi_core.gaussian_kernels import GaussianKernel

FloatArray = npt.NDArray[np.float64]

TRUNCATION = 1e-3
"""The kernel is dropped where it is below this fraction of its value at the origin."""

_CELLS_PER_CUTOFF = 3
_PAIRS_AT_ONCE = 4_000_000


class QuadratureConvolution:
    """The matrix K_ij = k(|r_i - r_j|) of a grid, applied without ever being stored.

    A kernel that stands for exp(-r/length) is used as that exponential, any other one as its sum of
    Gaussians. Distances at or beyond ``truncation_radius(kernel)`` count as zero.

    Args:
        coords: (n_points, 3), bohr.
        kernel: The kernel k.
    """

    def __init__(self, coords: FloatArray, kernel: GaussianKernel) -> None:
        self._coords = np.array(coords)
        self._kernel = kernel
        self._cutoff = truncation_radius(kernel)
        self._tree = cKDTree(self._coords)
        self._cells = _cells(self._coords, self._cutoff / _CELLS_PER_CUTOFF)

    def is_for(self, coords: FloatArray, kernel: GaussianKernel) -> bool:
        """Return whether this object belongs to these points and this kernel."""
        return kernel == self._kernel and np.array_equal(coords, self._coords)

    def apply(self, values: FloatArray) -> FloatArray:
        """Return K values, (n_points,): for values w_j n_j the convolved density. K is symmetric."""
        out = np.empty(self._coords.shape[0])
        for targets in self._cells:
            points = self._coords[targets]
            center = (points.min(axis=0) + points.max(axis=0)) / 2
            reach = self._cutoff + float(np.linalg.norm(points - center, axis=1).max())
            sources = np.array(self._tree.query_ball_point(center, reach), dtype=np.intp)
            sources.sort()
            source_points, source_values = self._coords[sources], values[sources]
            width = max(1, _PAIRS_AT_ONCE // sources.size)
            for start in range(0, targets.size, width):
                part = targets[start : start + width]
                distances = cdist(self._coords[part], source_points)
                out[part] = self._values(distances) @ source_values
        return out

    def _values(self, distances: FloatArray) -> FloatArray:
        if self._kernel.length is not None:
            kernel = np.exp(distances * (-1.0 / self._kernel.length))
        else:
            kernel = self._kernel(distances)
        kernel[distances >= self._cutoff] = 0.0
        return kernel


class QuadratureDensity:
    """The convolution R_i = sum_j w_j n_j K_ij of one density, see ``ConvolvedDensity``."""

    def __init__(
        self,
        quadrature: QuadratureConvolution,
        integrator: numint.NumInt,
        mol: gto.Mole,
        grids: Any,
        dm: FloatArray,
        max_memory: float,
    ) -> None:
        self._quadrature, self._integrator = quadrature, integrator
        self._mol, self._grids, self._max_memory = mol, grids, max_memory
        density = integrator.get_rho(mol, (dm + dm.T) * 0.5, grids, max_memory)
        self._values = quadrature.apply(grids.weights * density)
        self._gradient = np.zeros_like(self._values)
        self.block_points = self._values.size

    def everywhere(self) -> FloatArray:
        """Return R at all points."""
        return self._values

    def values(self, points: slice) -> FloatArray:
        """Return R on a block."""
        return self._values[points]

    def collect(self, points: slice, gradient: FloatArray) -> None:
        """Take the derivative of an energy with respect to R on a block."""
        self._gradient[points] = gradient

    def potential(self) -> FloatArray:
        """Return the derivative of that energy with respect to the density matrix."""
        mol, grids = self._mol, self._grids
        potential = grids.weights * self._quadrature.apply(self._gradient)
        shells, offsets = (0, mol.nbas), mol.ao_loc_nr()
        out = np.zeros((mol.nao, mol.nao))
        stop = 0
        for ao, mask, weights, _coords in self._integrator.block_loop(
            mol, grids, mol.nao, 0, max_memory=self._max_memory
        ):
            start, stop = stop, stop + weights.size
            scaled = numint._scale_ao(ao, potential[start:stop])
            out += numint._dot_ao_ao(mol, ao, scaled, mask, shells, offsets)
        return np.asarray(lib.hermi_sum(out) * 0.5)


def truncation_radius(kernel: GaussianKernel) -> float:
    """Return the distance, bohr, at which the quadrature drops a kernel.

    For exp(-r/length) this is length ln 1000, the published cutoff.
    """
    if kernel.length is not None:
        return kernel.length * math.log(1.0 / TRUNCATION)
    distances = np.linspace(0.0, 1.0, 4001) * math.sqrt(60.0 / min(kernel.exponents))
    values = np.abs(kernel(distances))
    above = np.flatnonzero(values > TRUNCATION * values[0])
    if above.size == 0:
        raise InvalidInputError(
            "a kernel whose coefficients add up to zero cannot be truncated; use the density fit"
        )
    return float(distances[above[-1] + 1])


def _cells(coords: FloatArray, size: float) -> list[npt.NDArray[np.intp]]:
    """Group points into cubes of edge ``size``; only cubes that hold points are listed."""
    boxes = np.floor(coords / size).astype(np.int64)
    _, box_of_point = np.unique(boxes, axis=0, return_inverse=True)
    order = np.argsort(box_of_point.ravel(), kind="stable")
    borders = np.flatnonzero(np.diff(box_of_point.ravel()[order])) + 1
    return [np.asarray(cell, dtype=np.intp) for cell in np.split(order, borders)]
