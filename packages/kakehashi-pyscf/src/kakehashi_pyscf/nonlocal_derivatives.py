"""Derivatives of a non-local functional e(x, R), with x as PySCF's density components (per spin)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pyscf.dft import xc_deriv

from kakehashi_core.contracts import XCFunctional
from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_pyscf.density_variables import density_variables
from kakehashi_pyscf.derivatives import xc_derivatives

FloatArray = npt.NDArray[np.float64]


def first_derivatives(
    functional: XCFunctional, rho: FloatArray, convolved: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Evaluate a non-local functional and its first derivatives.

    Args:
        functional: Of family NONLOCAL.
        rho: x, (5, n_points), or (2, 5, n_points) for two spins.
        convolved: R, (n_points,).

    Returns:
        Energy per particle (n_points,), de/dx of the shape of ``rho``, de/dR (n_points,).
    """
    rows, n_var = _rows(functional, rho, convolved, 1)
    return rows[0], _transformed(rho, rows[:n_var], 1), rows[n_var]


def second_derivatives(
    functional: XCFunctional, rho: FloatArray, convolved: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return de/dx, d2e/dx dx, d2e/dx dR, d2e/dR dR; arguments as for ``first_derivatives``."""
    rows, n_var = _rows(functional, rho, convolved, 2)
    left, right = np.triu_indices(n_var)
    second = rows[1 + n_var :]
    without_convolved = np.concatenate([rows[:n_var], second[right < n_var - 1]])
    # d/dR of the energy density is again a function of the local variables.
    mixed = second[(right == n_var - 1) & (left < n_var - 1)]
    as_energy = np.concatenate([np.zeros_like(mixed[:1]), mixed])
    return (
        _transformed(rho, without_convolved, 1),
        _transformed(rho, without_convolved, 2),
        _transformed(rho, as_energy, 1),
        second[-1],
    )


@dataclass(frozen=True)
class NonlocalKernel:
    """Second derivatives on the grid.

    Attributes:
        local: d2e/dx dx, (5, 5, n_points) or (2, 5, 2, 5, n_points).
        mixed: d2e/dx dR, (5, n_points) or (2, 5, n_points).
        convolved: d2e/dR dR, (n_points,).
    """

    local: FloatArray
    mixed: FloatArray
    convolved: FloatArray

    def __mul__(self, factor: float) -> NonlocalKernel:
        return NonlocalKernel(self.local * factor, self.mixed * factor, self.convolved * factor)

    def __getitem__(self, _index: object) -> Any:
        raise UnsupportedError(
            "this method of PySCF takes the exchange-correlation kernel apart itself and would lose its "
            "non-local part; for a non-local functional only newton(), stability(), TDA and TDDFT by "
            "iterative diagonalization are complete"
        )

    def contract(
        self, points: slice, rho: FloatArray, convolved: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return changes of de/dx and de/dR for changes of x and R on a block of points."""
        n_rows = rho.size // convolved.size
        rows = rho.reshape(n_rows, -1)
        local = self.local.reshape(n_rows, n_rows, -1)[..., points]
        mixed = self.mixed.reshape(n_rows, -1)[:, points]
        local_part = np.einsum("xyg,yg->xg", local, rows) + mixed * convolved
        nonlocal_part = (mixed * rows).sum(axis=0) + self.convolved[points] * convolved
        return local_part.reshape(rho.shape), nonlocal_part

    def of_closed_shell(self, singlet: bool) -> NonlocalKernel:
        """Return the kernel that acts on changes of one spin channel, the other +/- the same.

        R sees both channels, hence the factors 2; it does not change in a triplet.
        """
        same, other = self.local[0, :, 0], self.local[0, :, 1]
        if singlet:
            return NonlocalKernel(same + other, 2.0 * self.mixed[0], 2.0 * self.convolved)
        return NonlocalKernel(
            same - other, np.zeros_like(self.mixed[0]), np.zeros_like(self.convolved)
        )


def expected(kernel: object) -> NonlocalKernel:
    """Return what a caller handed in as kernel, if it is one of a non-local functional."""
    if not isinstance(kernel, NonlocalKernel):
        raise InvalidInputError(
            f"the kernel of a non-local functional comes from cache_xc_kernel, got {type(kernel).__name__}"
        )
    return kernel


def _spin(rho: FloatArray) -> Literal[0, 1]:
    return 1 if rho.ndim == 3 else 0


def _rows(
    functional: XCFunctional, rho: FloatArray, convolved: FloatArray, deriv: int
) -> tuple[FloatArray, int]:
    """Return the rows of ``xc_derivatives`` and the number of variables, R being the last of them."""
    variables = np.concatenate([density_variables(rho, "MGGA", _spin(rho)), convolved[None]])
    return xc_derivatives(functional, variables, _spin(rho), deriv), variables.shape[0]


def _transformed(rho: FloatArray, rows: FloatArray, order: int) -> FloatArray:
    return np.asarray(xc_deriv.transform_xc(rho, rows, "MGGA", _spin(rho), order))
