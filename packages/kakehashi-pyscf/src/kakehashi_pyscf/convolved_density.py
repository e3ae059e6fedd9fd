"""The density averaged around each point, R(r) = integral of n(r') k(|r - r'|) dr', by density fitting.

The total density is fitted in the Coulomb metric, n = sum_P c_P chi_P, and every auxiliary function is
convolved with the kernel exactly: a solid-harmonic Gaussian times a Gaussian kernel is the same harmonic
with another exponent. So R is as smooth as the basis, costs as much as a density on the grid, and does not
know the grid at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg
from pyscf import gto, lib
from pyscf.df import addons, incore
from pyscf.dft import gen_grid

from kakehashi_core.errors import InvalidInputError
from kakehashi_core.gaussian_kernels import GaussianKernel
from kakehashi_pyscf.auxiliary_bases import (
    AUXBASIS,
    AuxiliaryBasis,
    auxiliary_basis,
    convolved_basis,
    function_atoms,
    shell_blocks,
    spherical,
)

FloatArray = npt.NDArray[np.float64]

_LINEAR_DEPENDENCE = 1e-10
_BLOCK_BYTES = 64e6
_NEGLIGIBLE = 1e-15  # values of convolved functions that may be dropped


class FittedConvolution:
    """Fit of the density of one molecule, with the auxiliary basis convolved with a kernel.

    Args:
        mol: The molecule; later changes of it are not seen.
        kernel: What the density is convolved with.
        auxbasis: Any auxiliary basis that PySCF knows.
        cache_bytes: Keep the three-centre integrals if they need no more than this; otherwise they are
            computed again for every fit.

    Attributes:
        auxmol: The auxiliary basis, spherical: coefficients c and lambda refer to it.
        integral_auxmol: The same in the form of the orbital basis, spherical or Cartesian.
        n_functions: Number of functions of the convolved basis as it is evaluated on a grid; shells with
            many primitives count several times.
    """

    def __init__(
        self,
        mol: gto.Mole,
        kernel: GaussianKernel,
        *,
        auxbasis: AuxiliaryBasis = AUXBASIS,
        cache_bytes: float = 0.0,
    ) -> None:
        self._mol = mol.copy(deep=False)
        self._mol._env = mol._env.copy()
        self._mol._env[gto.PTR_RANGE_OMEGA] = (
            0.0  # a range-separated hybrid may be at work around us
        )
        self.integral_auxmol = addons.make_auxmol(self._mol, auxiliary_basis(mol, auxbasis))
        self.auxmol = spherical(self.integral_auxmol)
        self._metric = _Metric(self.auxmol.intor("int2c2e"))
        self._convolved, self._source = convolved_basis(self.auxmol, kernel)
        self.n_functions = int(self._source.size)
        n_ao = mol.nao
        size = 8.0 * (n_ao * (n_ao + 1) // 2) * self.integral_auxmol.nao
        self._keep_integrals = size <= cache_bytes
        self._integrals: FloatArray | None = None

    # Fit and its adjoint ----------------------------------------------------------------------------

    def fit(self, dm: FloatArray) -> FloatArray:
        """Return the coefficients c (n_aux,) of the density behind ``dm`` (n_ao, n_ao)."""
        symmetric = dm + dm.T
        packed = lib.pack_tril(symmetric)
        diagonal = np.arange(dm.shape[0])
        packed[diagonal * (diagonal + 3) // 2] *= 0.5
        projections = np.empty(self.integral_auxmol.nao)
        for start, stop, block in self._three_center_blocks():
            projections[start:stop] = packed @ block
        return self._metric.solve(self.to_spherical(projections))

    def adjoint(self, gradient: FloatArray) -> FloatArray:
        """Return lambda = V^-1 d (n_aux,) for the derivative d of an energy with respect to c."""
        return self._metric.solve(gradient)

    def potential(self, multipliers: FloatArray) -> FloatArray:
        """Return the matrix sum_P (mn|P) lambda_P (n_ao, n_ao), the same for both spins."""
        weights = self.to_integral_order(multipliers)
        n_ao = self._mol.nao
        packed = np.zeros(n_ao * (n_ao + 1) // 2)
        for start, stop, block in self._three_center_blocks():
            packed += block @ weights[start:stop]
        return _array(lib.unpack_tril(packed))

    def to_spherical(self, projections: FloatArray) -> FloatArray:
        """Turn projections on the functions of the integral code into those on spherical ones."""
        if not self.integral_auxmol.cart:
            return projections
        return _array(self.integral_auxmol.cart2sph_coeff(normalized="sp").T @ projections)

    def to_integral_order(self, coefficients: FloatArray) -> FloatArray:
        """Turn coefficients of spherical functions into those of the functions of the integral code."""
        if not self.integral_auxmol.cart:
            return coefficients
        return _array(self.integral_auxmol.cart2sph_coeff(normalized="sp") @ coefficients)

    def _three_center_blocks(self) -> Iterator[tuple[int, int, FloatArray]]:
        """Yield (start, stop, integrals (n_ao_pair, stop - start)) over the auxiliary functions."""
        n_aux = self.integral_auxmol.nao
        if self._integrals is not None:
            yield 0, n_aux, self._integrals
            return
        if self._keep_integrals:
            self._integrals = self._three_center(0, self.integral_auxmol.nbas)
            yield 0, n_aux, self._integrals
            return
        n_ao = self._mol.nao
        width = max(1, int(_BLOCK_BYTES / (4.0 * n_ao * (n_ao + 1))))
        for first, last, start, stop in shell_blocks(self.integral_auxmol, width):
            yield start, stop, self._three_center(first, last)

    def _three_center(self, first: int, last: int) -> FloatArray:
        n_shells = self._mol.nbas
        return _array(
            incore.aux_e2(
                self._mol,
                self.integral_auxmol,
                "int3c2e",
                aosym="s2ij",
                shls_slice=(0, n_shells, 0, n_shells, first, last),
            )
        )

    # The convolved basis on points ------------------------------------------------------------------

    def evaluate(self, coords: FloatArray) -> FloatArray:
        """Return the convolved functions at points, (n_points, n_functions)."""
        return self._evaluate("GTOval_sph", coords)

    def evaluate_gradient(self, coords: FloatArray) -> FloatArray:
        """Return value and gradient at points, (4, n_points, n_functions)."""
        return self._evaluate("GTOval_sph_deriv1", coords)

    def _evaluate(self, name: str, coords: FloatArray) -> FloatArray:
        coords = np.asarray(coords, order="C")
        mask = gen_grid.make_mask(self._convolved, coords, cutoff=_NEGLIGIBLE)
        return _array(self._convolved.eval_gto(name, coords, non0tab=mask, cutoff=_NEGLIGIBLE))

    def spread(self, coefficients: FloatArray) -> FloatArray:
        """Return one coefficient per evaluated function from one per auxiliary function."""
        return coefficients[self._source]

    def gather(self, values: FloatArray) -> FloatArray:
        """Return one number per auxiliary function from one per evaluated function: sum of the parts."""
        return _array(np.bincount(self._source, values, minlength=self.auxmol.nao))

    def function_atoms(self) -> npt.NDArray[np.intp]:
        """Return the atom that each evaluated function is centred on, (n_functions,)."""
        return function_atoms(self.auxmol)[self._source]


class ConvolvedBasisOnGrid:
    """Values of the convolved basis at points, kept if memory allows, else computed again.

    Args:
        fitted: Has the basis.
        coords: (n_points, 3), bohr.
        cache_bytes: Keep the values if they need no more than this.

    Attributes:
        fitted: As given.
        n_points: Number of points.
        block_points: How many points to ask for at once.
        kept: (n_functions, n_points) or None.
    """

    def __init__(
        self, fitted: FittedConvolution, coords: FloatArray, cache_bytes: float = 0.0
    ) -> None:
        self.fitted = fitted
        self.n_points = coords.shape[0]
        self.block_points = point_block(fitted.n_functions)
        self.kept: FloatArray | None = None
        self._coords = coords.copy()
        self._last: tuple[slice, FloatArray] | None = None
        if 8.0 * fitted.n_functions * self.n_points <= cache_bytes:
            kept = np.empty((fitted.n_functions, self.n_points))
            for start, stop in lib.prange(0, self.n_points, self.block_points):
                kept[:, start:stop] = fitted.evaluate(coords[start:stop]).T
            self.kept, self.block_points = kept, self.n_points

    def is_for(self, fitted: FittedConvolution, coords: FloatArray) -> bool:
        """Return whether this object belongs to this fit and these points."""
        return self.fitted is fitted and np.array_equal(self._coords, coords)

    def block(self, points: slice) -> FloatArray:
        """Return (n_functions, n_points) on a block."""
        if self.kept is not None:
            return self.kept[:, points]
        if self._last is None or self._last[0] != points:
            self._last = (points, self.fitted.evaluate(self._coords[points]).T)
        return self._last[1]


class FittedDensity:
    """The convolution of one density, see ``kakehashi_pyscf.density_pass.ConvolvedDensity``."""

    def __init__(self, basis: ConvolvedBasisOnGrid, dm: FloatArray) -> None:
        self._basis = basis
        self.block_points = basis.block_points
        self._coefficients = basis.fitted.spread(basis.fitted.fit(dm))
        self._gradient = np.zeros(basis.fitted.n_functions)

    def everywhere(self) -> FloatArray:
        """Return R at all points."""
        out = np.empty(self._basis.n_points)
        for start, stop in lib.prange(0, out.size, self.block_points):
            out[start:stop] = self.values(slice(start, stop))
        return out

    def values(self, points: slice) -> FloatArray:
        """Return R on a block."""
        return self._coefficients @ self._basis.block(points)

    def collect(self, points: slice, gradient: FloatArray) -> None:
        """Take the derivative of an energy with respect to R on a block."""
        self._gradient += self._basis.block(points) @ gradient

    def potential(self) -> FloatArray:
        """Return the derivative of that energy with respect to the density matrix."""
        fitted = self._basis.fitted
        return fitted.potential(fitted.adjoint(fitted.gather(self._gradient)))


class _Metric:
    """The Coulomb metric V; solves V x = b, without the null space if there is one."""

    def __init__(self, metric: FloatArray) -> None:
        self._inverse: FloatArray | None = None
        try:
            self._factor = scipy.linalg.cho_factor(metric, lower=True)
        except scipy.linalg.LinAlgError:
            values, vectors = scipy.linalg.eigh(metric)
            keep = values > _LINEAR_DEPENDENCE * values[-1]
            self._inverse = (vectors[:, keep] / values[keep]) @ vectors[:, keep].T

    def solve(self, right_hand_side: FloatArray) -> FloatArray:
        if self._inverse is not None:
            return self._inverse @ right_hand_side
        return np.asarray(scipy.linalg.cho_solve(self._factor, right_hand_side))


def convolved_density(
    mol: gto.Mole,
    dm: npt.ArrayLike,
    kernel: GaussianKernel,
    coords: npt.ArrayLike,
    *,
    auxbasis: AuxiliaryBasis = AUXBASIS,
) -> FloatArray:
    """Return R(r) = integral of n(r') k(|r - r'|) dr' of the total density at points.

    Args:
        mol: The molecule.
        dm: Density matrix (n_ao, n_ao), or (2, n_ao, n_ao) for the two spins.
        kernel: For instance ``GaussianKernel.exponential(0.2)``.
        coords: (n_points, 3), bohr.
        auxbasis: Auxiliary basis of the density fit.

    Returns:
        (n_points,), bohr^-3 times the unit of the kernel's integral. Not clipped: far from the nuclei the
        fit makes it slightly negative.

    Raises:
        InvalidInputError: If a shape does not fit, or if the auxiliary basis does not cover an element.
    """
    density = total_density_matrix(dm, mol.nao)
    points = np.asarray(coords, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise InvalidInputError(f"coords must have the shape (n_points, 3), got {points.shape}")
    fitted = FittedConvolution(mol, kernel, auxbasis=auxbasis)
    return FittedDensity(ConvolvedBasisOnGrid(fitted, points), density).everywhere()


def total_density_matrix(dm: npt.ArrayLike, n_ao: int) -> FloatArray:
    """Add up the spins of a density matrix, and check its shape."""
    density = np.asarray(dm, dtype=np.float64)
    if density.shape == (2, n_ao, n_ao):
        density = density[0] + density[1]
    if density.shape != (n_ao, n_ao):
        raise InvalidInputError(
            f"the density matrix has the shape {density.shape}; the molecule has {n_ao} orbitals, so "
            f"({n_ao}, {n_ao}) or (2, {n_ao}, {n_ao}) is needed"
        )
    return density


def point_block(n_functions: int) -> int:
    """Return how many points to evaluate at once to stay within a fixed memory."""
    return max(64, int(_BLOCK_BYTES / (8.0 * max(1, n_functions))))


def _array(value: Any) -> FloatArray:
    """Tell the type checker what PySCF returns."""
    return np.asarray(value, dtype=np.float64)
