"""Nuclear gradients of non-local functionals, complete: grid, convolved basis and density fit all respond.

With E = sum_i w_i e(x_i, R_i), R_i = sum_P B_iP c_P, V c = b, g = w de/dR, d = B^T g and V lambda = d, the
derivative at fixed density matrix is the usual local one plus

    sum_i g_i (dB_i c) + lambda^T db - lambda^T dV c

where dB has two parts, the motion of each auxiliary function with its atom and that of each grid point with
the atom it belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from pyscf import gto, lib
from pyscf.df import incore
from pyscf.dft import gen_grid
from pyscf.grad import rks as rks_grad

from kakehashi_core.contracts import XCFunctional
from kakehashi_core.errors import UnsupportedError
from kakehashi_pyscf.auxiliary_bases import function_atoms, shell_blocks
from kakehashi_pyscf.convolved_density import FittedConvolution, point_block
from kakehashi_pyscf.density_pass import density_evaluator, weighted_derivatives
from kakehashi_pyscf.functional_library import convolution_of
from kakehashi_pyscf.nonlocal_derivatives import first_derivatives
from kakehashi_pyscf.nonlocal_integration import NonlocalNumInt

FloatArray = npt.NDArray[np.float64]

_BLOCK_BYTES = 64e6


class NonlocalGradientsMixin:
    """What replaces the exchange-correlation part of a PySCF gradient object."""

    __name_mixin__ = "KakehashiNonlocal"

    def get_veff(self, mol: gto.Mole | None = None, dm: Any = None) -> Any:
        """Return derivatives of the effective potential, tagged with the contributions per atom.

        Raises:
            UnsupportedError: Without grid response, or for the convolution by quadrature.
        """
        gradients = cast(Any, self)
        mf = gradients.base
        integrator: NonlocalNumInt = mf._numint
        functional = integrator.nonlocal_functional(mf.xc)
        if functional is None:
            return super().get_veff(mol, dm)  # type: ignore[misc]
        refuse_incomplete(integrator, mf.xc, gradients.grid_response)
        mol = gradients.mol if mol is None else mol
        dm = mf.make_rdm1() if dm is None else dm
        # PySCF's own code for everything but exchange-correlation: Coulomb, exact exchange, density fit.
        rest = gradients.copy()
        rest.base = mf.copy()
        rest.base.xc = f"{functional.hybrid}*hf"
        rest.grid_response = False
        veff = super(NonlocalGradientsMixin, rest).get_veff(mol, dm)  # type: ignore[misc]
        grids = mf.grids if gradients.grids is None else gradients.grids
        max_memory = max(2000.0, gradients.max_memory * 0.9 - lib.current_memory()[0])
        channels = [dm] if np.ndim(dm) == 2 else [dm[0], dm[1]]
        per_atom, matrices = xc_gradient(
            integrator, mol, grids, functional, mf.xc, channels, max_memory
        )
        tags = {**veff.__dict__, "exc1_grid": per_atom}
        return lib.tag_array(np.asarray(veff) + matrices.reshape(np.shape(veff)), **tags)


def refuse_incomplete(integrator: NonlocalNumInt, name: str, grid_response: bool = True) -> None:
    """Raise where only a part of the gradient exists.

    Raises:
        UnsupportedError: For the convolution by quadrature, or without grid response.
    """
    if integrator.convolution != "density-fit":
        raise UnsupportedError(
            f"nuclear gradients of {name!r} exist for convolution='density-fit' only, this object has "
            f"{integrator.convolution!r}; use attach(mf, convolution='density-fit')"
        )
    if not grid_response:
        raise UnsupportedError(
            f"nuclear gradients of {name!r} exist with the response of the grid only; leave "
            "grid_response = True, as attach() sets it"
        )


def xc_gradient(
    integrator: NonlocalNumInt,
    mol: gto.Mole,
    grids: Any,
    functional: XCFunctional,
    name: str,
    dms: Sequence[FloatArray],
    max_memory: float,
) -> tuple[FloatArray, FloatArray]:
    """Differentiate the energy of a non-local functional with respect to the nuclei.

    Args:
        integrator: Supplies the density fit and evaluates densities.
        mol: The molecule.
        grids: Its integration grid.
        functional: Of family NONLOCAL.
        name: What error messages call it.
        dms: One density matrix, or one per spin.
        max_memory: MB.

    Returns:
        (n_atoms, 3) all contributions but those of local variables through the orbitals, hartree/bohr;
        and these as matrices (n_spin, 3, n_ao, n_ao) in the form of ``pyscf.grad.rks.get_vxc``.
    """
    fitted = integrator.fitted_convolution(mol, convolution_of(functional, name), max_memory)
    density = np.sum([np.asarray(dm) for dm in dms], axis=0)
    fit = fitted.fit(density)
    coefficients = fitted.spread(fit)
    owners = fitted.function_atoms()
    offsets = mol.ao_loc_nr()
    density_of = density_evaluator(integrator, mol, grids, dms, 1)
    per_atom = np.zeros((mol.natm, 3))
    matrices = np.zeros((len(dms), 3, mol.nao, mol.nao))
    collected = np.zeros(fitted.n_functions)
    width = min(point_block(4 * fitted.n_functions), point_block(14 * mol.nao))
    for atom, (points, weights, weight_derivatives) in enumerate(rks_grad.grids_response_cc(grids)):
        of_atom = np.zeros_like(matrices)
        for start in range(0, weights.size, width):
            block = slice(start, start + width)
            coords, weight = np.ascontiguousarray(points[block]), weights[block]
            mask = gen_grid.make_mask(mol, coords)
            ao = integrator.eval_ao(mol, coords, deriv=2, non0tab=mask, cutoff=grids.cutoff)
            rho = density_of(ao[:10], mask)
            basis = fitted.evaluate_gradient(coords)
            particle_energy, local_part, nonlocal_part = first_derivatives(
                functional, rho, basis[0] @ coefficients
            )
            weighted = weighted_derivatives(weight, local_part)
            for matrix, part in zip(of_atom, weighted, strict=True):
                rks_grad._gga_grad_sum_(matrix, mol, ao, part, mask, offsets)
                rks_grad._tau_grad_dot_(matrix, mol, ao, part[4], mask, offsets, True)
            electrons = rho.reshape(len(dms), 5, -1)[:, 0].sum(axis=0)
            per_atom += weight_derivatives[..., block] @ (electrons * particle_energy)
            gradient = weight * nonlocal_part
            collected += gradient @ basis[0]
            slopes = (gradient @ basis[1:]) * coefficients
            per_atom[atom] += slopes.sum(axis=1)
            np.subtract.at(per_atom, owners, slopes.T)
        per_atom[atom] += 2.0 * np.einsum("sxij,sji->x", of_atom, np.asarray(dms))
        matrices += of_atom
    multipliers = fitted.adjoint(fitted.gather(collected))
    per_atom += _fit_gradient(mol, fitted, density, fit, multipliers)
    return per_atom, -matrices


def _fit_gradient(
    mol: gto.Mole,
    fitted: FittedConvolution,
    density: FloatArray,
    fit: FloatArray,
    multipliers: FloatArray,
) -> FloatArray:
    """Return lambda^T db - lambda^T dV c per atom, (n_atoms, 3)."""
    auxmol = fitted.integral_auxmol
    fit = fitted.to_integral_order(fit)
    multipliers = fitted.to_integral_order(multipliers)
    out = np.zeros((mol.natm, 3))
    orbital_atoms, auxiliary_atoms = function_atoms(mol), function_atoms(auxmol)
    n_shells, n_ao = mol.nbas, mol.nao
    orbitals = np.zeros((3, n_ao))
    auxiliaries = np.zeros((3, auxmol.nao))
    width = max(1, int(_BLOCK_BYTES / (3 * 8.0 * n_ao**2)))
    for first, last, start, stop in shell_blocks(auxmol, width):
        shells = (0, n_shells, 0, n_shells, first, last)
        bra = incore.aux_e2(mol, auxmol, "int3c2e_ip1", aosym="s1", comp=3, shls_slice=shells)
        potential = bra @ multipliers[start:stop]
        orbitals -= 2.0 * np.einsum("xmn,mn->xm", potential, density)
        del bra
        ket = incore.aux_e2(mol, auxmol, "int3c2e_ip2", aosym="s1", comp=3, shls_slice=shells)
        auxiliaries[:, start:stop] -= np.einsum("xmnq,mn->xq", ket, density)
    auxiliaries *= multipliers
    metric = auxmol.intor("int2c2e_ip1", comp=3)
    auxiliaries += multipliers * (metric @ fit) + fit * (metric @ multipliers)
    np.add.at(out, orbital_atoms, orbitals.T)
    np.add.at(out, auxiliary_atoms, auxiliaries.T)
    return out
