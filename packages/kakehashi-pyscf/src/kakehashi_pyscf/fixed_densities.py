"""A converged density as plain arrays: what training a functional on fixed densities needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError
from kakehashi_core.gaussian_kernels import GaussianKernel
from kakehashi_pyscf.convolved_density import convolved_density
from kakehashi_pyscf.density_pass import density_evaluator
from kakehashi_pyscf.density_variables import density_variables
from kakehashi_pyscf.derivatives import xc_derivatives
from kakehashi_pyscf.functional_library import FunctionalLibrary, convolution_of

if TYPE_CHECKING:
    from pyscf.dft import Grids
    from pyscf.dft.rks import KohnShamDFT
    from pyscf.gto import Mole


@dataclass(frozen=True, kw_only=True)
class FixedDensity:
    """Density variables on a grid, and the part of the energy that does not depend on the functional.

    Attributes:
        variables: (n_var, n_points), rows as in ``kakehashi_core.contracts.XCFunctional``, float64. With a
            kernel, the convolved total density is the last row.
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
    mf: KohnShamDFT,
    *,
    grid_level: int | None = None,
    rotation: npt.ArrayLike | None = None,
    density_floor: float = 1e-8,
    kernel: GaussianKernel | None = None,
) -> FixedDensity:
    """Collect the density of a converged molecular RKS or UKS calculation on a grid.

    Args:
        mf: Converged calculation with a functional that has no exact exchange.
        grid_level: PySCF grid level for the stored points; None keeps the grid of ``mf``. The energy
            without exchange-correlation always comes from the grid-free terms of ``mf``.
        rotation: (3, 3) rotation matrix; the grid is then the one that PySCF builds for the molecule turned
            by it, turned back. How much an energy changes is the noise of the grid.
        density_floor: Points with a smaller total density (bohr^-3) are left out.
        kernel: Append the total density convolved with this kernel as last row, whatever the functional of
            ``mf``. None appends it for a functional of family NONLOCAL only, with its own kernel.

    Returns:
        The arrays, always with meta-GGA variables.

    Raises:
        InvalidInputError: If ``mf`` is not converged, or ``rotation`` is not orthogonal.
    """
    from pyscf import dft
    from pyscf.dft import numint

    if not mf.converged:
        raise InvalidInputError("the calculation is not converged; run converge(mf) first")
    dm = mf.make_rdm1()
    grids = mf.grids
    level = grids.level if grid_level is None else grid_level
    if rotation is not None:
        grids = _turned_grids(mf.mol, level, np.asarray(rotation, dtype=np.float64))
    elif level != grids.level:
        grids = dft.Grids(mf.mol)
        grids.level = level
        grids.build()
    integrator = mf._numint
    unrestricted = np.ndim(dm) == 3
    spin: Literal[0, 1] = 1 if unrestricted else 0
    channels = numint._format_uks_dm(dm) if unrestricted else [dm]
    density_of = density_evaluator(integrator, mf.mol, grids, channels, 1)
    blocks = integrator.block_loop(mf.mol, grids, mf.mol.nao, deriv=1)
    rho = np.concatenate([density_of(ao, mask) for ao, mask, _weight, _coords in blocks], axis=-1)
    density = rho[0] if not unrestricted else rho[0, 0] + rho[1, 0]
    variables = density_variables(rho, "MGGA", spin)
    library = integrator.libxc
    functional = library.find(mf.xc) if isinstance(library, FunctionalLibrary) else None
    if functional is not None and functional.family == "NONLOCAL":
        own_kernel = convolution_of(functional, mf.xc)
        convolved = integrator.convolved_density(mf.mol, grids, mf.xc, dm)
        with_own = np.concatenate([variables, convolved[None]])
        exc = xc_derivatives(functional, with_own, spin, 0)[0]
        if kernel is None or kernel == own_kernel:
            variables, kernel = with_own, None
    else:
        exc = integrator.eval_xc1(mf.xc, _for_family(rho, integrator._xc_type(mf.xc)), spin, 0)[0]
    if kernel is not None:
        convolved = convolved_density(mf.mol, dm, kernel, grids.coords)
        variables = np.concatenate([variables, convolved[None]])
    keep = density > density_floor
    return FixedDensity(
        variables=np.ascontiguousarray(variables[:, keep]),
        weights=grids.weights[keep],
        spin=spin,
        energy_rest=float(mf.e_tot - mf.scf_summary["exc"]),
        xc_energy=float(np.dot(grids.weights * density, exc)),
    )


def _turned_grids(mol: Mole, level: int, rotation: npt.NDArray[np.float64]) -> Grids:
    from pyscf import dft

    if rotation.shape != (3, 3) or not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-10):
        raise InvalidInputError(
            f"rotation must be an orthogonal (3, 3) matrix, got shape {rotation.shape}"
        )
    turned = dft.Grids(mol.set_geom_(mol.atom_coords() @ rotation.T, unit="Bohr", inplace=False))
    turned.level = level
    turned.build()
    grids = dft.Grids(mol)
    grids.level = level
    grids.coords = np.ascontiguousarray(turned.coords @ rotation)
    grids.weights = turned.weights
    return grids


def _for_family(rho: npt.NDArray[np.float64], family: str) -> npt.NDArray[np.float64]:
    n_rows = {"LDA": 1, "GGA": 4, "MGGA": 5}[family]
    rows = rho[..., :n_rows, :]
    return np.ascontiguousarray(rows[..., 0, :] if family == "LDA" else rows)
