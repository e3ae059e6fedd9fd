"""From PySCF's density arrays to the variables that functionals read."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError

N_VARIABLES: dict[tuple[str, int], int] = {
    ("LDA", 0): 1,
    ("LDA", 1): 2,
    ("GGA", 0): 2,
    ("GGA", 1): 5,
    ("MGGA", 0): 3,
    ("MGGA", 1): 7,
    ("NONLOCAL", 0): 4,
    ("NONLOCAL", 1): 8,
}
"""Number of rows of ``variables`` for each family and spin."""


def density_variables(rho: npt.ArrayLike, family: str, spin: int) -> npt.NDArray[np.float64]:
    """Contract a PySCF density array to (rho, sigma, tau) or their spin-resolved form.

    Args:
        rho: (n_rows, n_points) for ``spin=0`` or (2, n_rows, n_points) for ``spin=1``, rows rho, d/dx,
            d/dy, d/dz, tau (atomic units; the old six-row form with the Laplacian at index 4 is
            reduced). For LDA the row axis may be missing.
        family: "LDA", "GGA" or "MGGA": which rows the functional reads.
        spin: 0 or 1.

    Returns:
        (n_var, n_points), rows as in ``kakehashi_core.contracts.XCFunctional``. Densities, sigma_ss and
        tau are clamped at zero: rounding and fitted densities make them slightly negative.

    Raises:
        InvalidInputError: If the density contains NaN or infinity.
    """
    array = np.asarray(rho, dtype=np.float64)
    n_points = array.shape[-1]
    array = array.reshape(spin + 1, -1, n_points)
    if family == "MGGA" and array.shape[1] == 6:
        array = array[:, [0, 1, 2, 3, 5]]
    n_rows = {"LDA": 1, "GGA": 4, "MGGA": 5}[family]
    if array.shape[1] < n_rows:
        raise InvalidInputError(
            f"a {family} functional needs {n_rows} density rows, got {array.shape[1]}"
        )
    if not np.isfinite(array[:, :n_rows]).all():
        point = int(np.argwhere(~np.isfinite(array[:, :n_rows]))[0][-1])
        raise InvalidInputError(
            f"the density is not finite at grid point {point}; check the coordinates, the basis set "
            "and the density matrix that this calculation started from"
        )
    out = [np.maximum(array[:, 0], 0.0)]
    if family != "LDA":
        gradient = array[:, 1:4]
        pairs = [(0, 0)] if spin == 0 else [(0, 0), (0, 1), (1, 1)]
        out.append(np.stack([np.einsum("xp,xp->p", gradient[a], gradient[b]) for a, b in pairs]))
    if family == "MGGA":
        out.append(np.maximum(array[:, 4], 0.0))
    return np.concatenate(out)


def rho_from_variables(
    variables: npt.NDArray[np.float64], spin: Literal[0, 1]
) -> npt.NDArray[np.float64]:
    """Build a PySCF density array that has the given meta-GGA variables.

    The inverse of ``density_variables`` up to a rotation of the gradients, which no functional can see.

    Args:
        variables: (3, n_points) or (7, n_points), see ``density_variables``.
        spin: 0 or 1.

    Returns:
        (5, n_points) or (2, 5, n_points).
    """
    n_points = variables.shape[1]
    if spin == 0:
        rho = np.zeros((5, n_points))
        rho[0], rho[1], rho[4] = variables[0], np.sqrt(variables[1]), variables[2]
        return rho
    rho = np.zeros((2, 5, n_points))
    rho[:, 0], rho[:, 4] = variables[:2], variables[5:7]
    rho[0, 1] = np.sqrt(variables[2])
    along = np.divide(variables[3], rho[0, 1], out=np.zeros(n_points), where=rho[0, 1] > 0)
    rho[1, 1] = along
    rho[1, 2] = np.sqrt(np.maximum(variables[4] - along**2, 0.0))
    return rho
