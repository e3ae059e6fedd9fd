"""A converged density as plain arrays: what training a functional on fixed densities needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from kakehashi_pyscf.density_variables import density_variables

if TYPE_CHECKING:
    from pyscf.dft.rks import KohnShamDFT


@dataclass(frozen=True, kw_only=True)
class FixedDensity:
    """Density variables on a grid, and the part of the energy that does not depend on the functional.

    Attributes:
        variables: (n_var, n_points), rows as in ``kakehashi_core.contracts.XCFunctional``, float64.
        weights: (n_points,) quadrature weights, bohr^3.
        spin: 0 for a closed shell, 1 for spin-resolved variables.
        energy_rest: Total energy without exchange-correlation, hartree.
        xc_energy: Exchange-correlation energy of the functional behind the density on this grid, hartree.
    """

    variables: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]
    spin: Literal[0, 1]
    energy_rest: float
    xc_energy: float


def fixed_density(
    mf: KohnShamDFT, *, grid_level: int | None = None, density_floor: float = 1e-8
) -> FixedDensity:
    """Collect the density of a converged molecular RKS or UKS calculation on a grid.

    Args:
        mf: Converged calculation with a functional that has no exact exchange.
        grid_level: PySCF grid level for the stored points; None keeps the grid of ``mf``. The energy
            without exchange-correlation always comes from the grid-free terms of ``mf``.
        density_floor: Points with a smaller total density (bohr^-3) are left out.

    Returns:
        The arrays, always with meta-GGA variables.

    Raises:
        ValueError: If ``mf`` is not converged.
    """
    from pyscf import dft

    if not mf.converged:
        raise ValueError("the calculation is not converged; run converge(mf) first")
    dm = mf.make_rdm1()
    grids = mf.grids
    if grid_level is not None and grid_level != grids.level:
        grids = dft.Grids(mf.mol)
        grids.level = grid_level
        grids.build()
    numint = mf._numint
    unrestricted = np.ndim(dm) == 3
    rows: list[npt.NDArray[np.float64]] = []
    for ao, mask, _weight, _coords in numint.block_loop(mf.mol, grids, mf.mol.nao, deriv=1):
        rho: Any
        if unrestricted:
            rho = np.stack(
                [
                    numint.eval_rho(mf.mol, ao, channel, mask, xctype="MGGA", with_lapl=False)
                    for channel in dm
                ]
            )
        else:
            rho = numint.eval_rho(mf.mol, ao, dm, mask, xctype="MGGA", with_lapl=False)
        rows.append(rho)
    rho = np.concatenate(rows, axis=-1)
    exc = numint.eval_xc1(mf.xc, _for_family(rho, numint._xc_type(mf.xc)), int(unrestricted), 0)[0]
    density = rho[0] if not unrestricted else rho[0, 0] + rho[1, 0]
    xc_energy = float(np.dot(grids.weights * density, exc))
    keep = density > density_floor
    return FixedDensity(
        variables=density_variables(rho[..., keep], "MGGA", int(unrestricted)),
        weights=grids.weights[keep],
        spin=1 if unrestricted else 0,
        energy_rest=float(mf.e_tot - mf.scf_summary["exc"]),
        xc_energy=xc_energy,
    )


def _for_family(rho: npt.NDArray[np.float64], family: str) -> npt.NDArray[np.float64]:
    n_rows = {"LDA": 1, "GGA": 4, "MGGA": 5}[family]
    rows = rho[..., :n_rows, :]
    return np.ascontiguousarray(rows[..., 0, :] if family == "LDA" else rows)
