"""Self-consistent densities of the species that train, how far they are from CCSD, and how they respond.

The response needs no derivative of the functional with respect to its weights: the first-order change of
<w, n> with the weights is the change of dE_xc[D + step Z]/dstep at fixed density matrices D and Z, where Z is
the response of D to the perturbation w. So an error of a density enters a fit as one more linear combination
of exchange-correlation energies of fixed densities.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kakehashi_core.contracts import XCFamily
from kakehashi_nnxc.four_layer_form import FourLayerFunctional
from kakehashi_nnxc.molecular_calculations import AUXILIARY_BASIS, BASIS, kohn_sham
from kakehashi_nnxc.reaction_sets.reactions import Molecule
from kakehashi_nnxc.training.distillation import TEACHERS
from kakehashi_nnxc.training.fixed_densities import CONVERGENCE, POINT_GRID_LEVEL
from kakehashi_nnxc.training.points import DensityPoints

FloatArray = npt.NDArray[np.float64]

LARGEST_DISPLACEMENT = 1e-3
"""Electrons moved by the step along Z; the error of the central difference is below 1e-6 of it."""

RESPONSE_TOLERANCE = 1e-4
DENSITY_FLOOR = 1e-8


@dataclass(frozen=True, kw_only=True)
class State:
    """One species at self-consistency.

    Attributes:
        total_energy: hartree.
        cycles: SCF cycles.
        density_error: sqrt(int (n - n_CCSD)^2 dr), bohr^(-3/2).
        density_matrix: (2, n_ao, n_ao), a start for the next calculation.
        points: The density.
        response: Z, (2, n_ao, n_ao).
        displaced: Densities of D + step Z and D - step Z, where Z lowers the density error to first order
            when its energy derivative is raised; empty for species without response.
        step: The step along Z.
    """

    total_energy: float
    cycles: int
    density_error: float
    density_matrix: FloatArray
    points: DensityPoints
    response: FloatArray | None = None
    displaced: tuple[DensityPoints, ...] = ()
    step: float = 0.0


def converged_state(
    molecule: Molecule,
    functional: str | FourLayerFunctional,
    reference: FloatArray,
    *,
    family: XCFamily,
    basis: str = BASIS,
    start: FloatArray | None = None,
    response: FloatArray | Literal["none", "solve"] = "none",
    robust: bool = True,
) -> State:
    """Converge one species and compare its density with CCSD.

    Args:
        molecule: The species.
        functional: Functional of the calculation.
        reference: (2, n_ao, n_ao) CCSD density matrix; the start density as well, so that open p and pi
            shells keep their orientation.
        family: Rung whose descriptors the points hold.
        basis: Orbital basis.
        start: Start density matrix (2, n_ao, n_ao); ``reference`` by default.
        response: "solve" for Z, or a Z that was found before, for a similar functional.
        robust: Whether to try other methods when plain DIIS fails.

    Raises:
        SCFConvergenceError: If the calculation does not converge.
    """
    import kakehashi_pyscf as kp
    from kakehashi_pyscf.scf_driver import LADDER

    mf = kohn_sham(molecule, functional, basis=basis)
    mf.conv_tol = CONVERGENCE
    first = reference if start is None else start
    report = kp.converge(
        mf, first if mf.mol.spin else first.sum(0), ladder=LADDER if robust else LADDER[:1]
    )
    density_matrix = spin_resolved(mf)
    norm, direction = _density_error(mf, density_matrix, reference)
    at_points = _Evaluator(mf.mol, family)
    state = State(
        total_energy=float(mf.e_tot),
        cycles=report.n_iterations,
        density_error=norm,
        density_matrix=density_matrix,
        points=at_points(density_matrix),
    )
    if not isinstance(response, str):
        z = response
    elif response == "solve":
        z = _linear_response(mf, direction, TEACHERS["MGGA" if family == "NONLOCAL" else family])
    else:
        return state
    step = LARGEST_DISPLACEMENT / max(_moved_electrons(z, mf.get_ovlp()), 1e-12)
    return replace(
        state,
        response=z,
        displaced=tuple(at_points(density_matrix + sign * step * z) for sign in (1, -1)),
        step=step,
    )


def spin_resolved(mf: Any) -> FloatArray:
    """Return the density matrix of RKS or UKS as (2, n_ao, n_ao)."""
    density_matrix = np.asarray(mf.make_rdm1())
    return density_matrix if density_matrix.ndim == 3 else np.stack([density_matrix / 2] * 2)


class _Evaluator:
    """Turns density matrices of one molecule into points, always on the same grid."""

    def __init__(self, mol: Any, family: XCFamily) -> None:
        from pyscf import dft

        grids = dft.Grids(mol)
        grids.level = POINT_GRID_LEVEL
        grids.build()
        self._mol, self._family, self._grids = mol, family, grids
        self._numint = dft.numint.NumInt()
        self._ao = self._numint.eval_ao(mol, grids.coords, deriv=1)

    def __call__(self, density_matrix: FloatArray) -> DensityPoints:
        from kakehashi_core.gaussian_kernels import GaussianKernel
        from kakehashi_nnxc.four_layer_form import CONVOLUTION_LENGTH
        from kakehashi_pyscf.convolved_density import convolved_density
        from kakehashi_pyscf.density_variables import density_variables

        rho = np.stack(
            [
                self._numint.eval_rho(
                    self._mol, self._ao, dm, xctype="MGGA", with_lapl=False, hermi=1
                )
                for dm in density_matrix
            ]
        )
        variables = density_variables(rho, "MGGA", 1)
        if self._family == "NONLOCAL":
            kernel = GaussianKernel.exponential(CONVOLUTION_LENGTH)
            around = convolved_density(self._mol, density_matrix, kernel, self._grids.coords)
            variables = np.concatenate([variables, around[None]])
        kept = variables[0] + variables[1] > DENSITY_FLOOR
        return DensityPoints.of(variables[:, kept], self._grids.weights[kept], 1, self._family)


def _density_error(
    mf: Any, density_matrix: FloatArray, reference: FloatArray
) -> tuple[float, FloatArray]:
    """Return the norm of n - n_CCSD, and the matrix of (n - n_CCSD)/norm in the basis."""
    difference = (density_matrix - reference).sum(0)
    ao = mf._numint.eval_ao(mf.mol, mf.grids.coords, deriv=0)
    on_grid = np.einsum("gi,gi->g", ao @ difference, ao)
    norm = float(np.sqrt(mf.grids.weights @ on_grid**2))
    weighted = ao * (mf.grids.weights * on_grid / max(norm, 1e-12))[:, None]
    return norm, ao.T @ weighted


def _linear_response(mf: Any, perturbation: FloatArray, teacher: str) -> FloatArray:
    """Return the first-order change (2, n_ao, n_ao) of the density matrix with a spin-free perturbation.

    The kernel is that of the teacher: it only has to point the right way, since the self-consistent density
    is computed again after every fit.
    """
    from pyscf import dft, lib

    if mf.mol.spin:
        orbitals, energies, occupations = mf.mo_coeff, mf.mo_energy, mf.mo_occ
    else:
        orbitals, energies = [mf.mo_coeff] * 2, [mf.mo_energy] * 2
        occupations = [mf.mo_occ / 2] * 2
    kernel_method = dft.UKS(mf.mol, xc=teacher).density_fit(AUXILIARY_BASIS)
    kernel_method.grids.level = POINT_GRID_LEVEL
    kernel_method.grids.build()
    potential = kernel_method.gen_response(np.asarray(orbitals), np.asarray(occupations), hermi=1)
    blocks = [
        (c[:, o == 0], c[:, o > 0], e[o == 0, None] - e[o > 0])
        for c, o, e in zip(orbitals, occupations, energies, strict=True)
    ]
    sizes = [gap.size for _, _, gap in blocks]

    def pack(matrices: Any) -> FloatArray:
        return np.concatenate(
            [(v.T @ m @ o / gap).ravel() for (v, o, gap), m in zip(blocks, matrices, strict=True)]
        )

    def unpack(rotation: FloatArray) -> FloatArray:
        parts = np.split(rotation, [sizes[0]])
        half = [
            v @ part.reshape(gap.shape) @ o.T
            for (v, o, gap), part in zip(blocks, parts, strict=True)
        ]
        return np.stack([m + m.T for m in half])

    def induced(rotations: FloatArray) -> FloatArray:
        vectors = np.asarray(rotations).reshape(-1, sum(sizes))
        found = [pack(potential(unpack(vector))) for vector in vectors]
        return np.stack(found).reshape(np.shape(rotations))

    solve: Callable[..., Any] = lib.krylov
    bare = -pack([perturbation, perturbation])
    rotation = np.asarray(solve(induced, bare, tol=RESPONSE_TOLERANCE, max_cycle=40)).ravel()
    return unpack(rotation)


def _moved_electrons(change: FloatArray, overlap: FloatArray) -> float:
    """Return half the absolute natural populations of a change of the density matrix."""
    from scipy.linalg import eigvals, sqrtm

    root = np.real(sqrtm(overlap))
    return float(sum(np.abs(eigvals(root @ c @ root)).sum() for c in change) / 2)
