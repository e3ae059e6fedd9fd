"""PySCF's numerical integrator, extended to functionals of the convolved density.

Local functionals go to PySCF unchanged. For a non-local one the energy is E = sum_i w_i e(x_i, R_i), with x
the density, its gradient and tau at a point and R the convolved total density. Two passes give the
potential: R from the density matrix, then a loop over the grid which collects the local potentials and
d = dE/dR weighted with the convolved functions, and one contraction for the non-local part at the end.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from pyscf import gto
from pyscf.dft import numint

from kakehashi_core.contracts import XCFunctional
from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_core.gaussian_kernels import GaussianKernel
from kakehashi_pyscf.auxiliary_bases import AUXBASIS
from kakehashi_pyscf.convolved_density import (
    ConvolvedBasisOnGrid,
    FittedConvolution,
    FittedDensity,
    total_density_matrix,
)
from kakehashi_pyscf.density_pass import ConvolvedDensity, DensityPass
from kakehashi_pyscf.functional_library import FunctionalLibrary, convolution_of
from kakehashi_pyscf.nonlocal_derivatives import (
    NonlocalKernel,
    expected,
    first_derivatives,
    second_derivatives,
)
from kakehashi_pyscf.quadrature_convolution import QuadratureConvolution, QuadratureDensity

FloatArray = npt.NDArray[np.float64]
ConvolutionMode = Literal["density-fit", "grid"]
CONVOLUTION_MODES: tuple[ConvolutionMode, ...] = ("density-fit", "grid")

# Shares of max_memory for what is kept from one call to the next.
_INTEGRAL_SHARE = 0.3
_BASIS_SHARE = 0.4


def _local_by_pyscf(method: Callable[..., Any]) -> Callable[..., Any]:
    """Leave functionals that are not non-local to PySCF's method of the same name.

    Calls are read by the signature of that method; ``method`` gets the arguments that it names.
    """
    name = method.__name__
    signature = inspect.signature(getattr(numint.NumInt, name))
    wanted = inspect.signature(method).parameters.keys() - {"self"}

    @wraps(method)
    def choose(self: NonlocalNumInt, *args: Any, **kwargs: Any) -> Any:
        call = signature.bind(self, *args, **kwargs)
        call.apply_defaults()
        if self.nonlocal_functional(call.arguments["xc_code"]) is None:
            return getattr(super(NonlocalNumInt, self), name)(*args, **kwargs)
        return method(self, **{key: call.arguments[key] for key in wanted})

    choose.__signature__ = signature  # type: ignore[attr-defined]
    return choose


class NonlocalNumInt(numint.NumInt):  # type: ignore[misc]  # PySCF has no annotations
    """Integrator of RKS, UKS and ROKS that also serves functionals of family NONLOCAL.

    Args:
        library: Answers for functional names.
        convolution: "density-fit", or "grid" for the published quadrature.

    Attributes:
        auxbasis: Auxiliary basis of the density fit.
    """

    def __init__(
        self, library: FunctionalLibrary, convolution: ConvolutionMode = "density-fit"
    ) -> None:
        super().__init__()
        if convolution not in CONVOLUTION_MODES:
            raise InvalidInputError(
                f"convolution={convolution!r} is unknown; it is one of {', '.join(CONVOLUTION_MODES)}"
            )
        self.libxc = library
        self.convolution = convolution
        self.auxbasis = AUXBASIS
        self._fitted: tuple[Any, FittedConvolution] | None = None
        self._basis: ConvolvedBasisOnGrid | None = None
        self._quadrature: QuadratureConvolution | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what to pickle: everything but the caches."""
        return {**self.__dict__, "_fitted": None, "_basis": None, "_quadrature": None}

    def nonlocal_functional(self, xc_code: Any) -> XCFunctional | None:
        """Return the functional behind a name if it is non-local, else None."""
        functional = self.libxc.find(xc_code)
        return functional if functional is not None and functional.family == "NONLOCAL" else None

    def _nonlocal(self, xc_code: Any) -> XCFunctional:
        functional = self.nonlocal_functional(xc_code)
        if functional is None:
            raise InvalidInputError(f"{xc_code!r} is not a non-local functional")
        if self.omega:
            raise UnsupportedError(
                f"{xc_code!r} is not range-separated; omega={self.omega} has no meaning"
            )
        return functional

    def _xc_type(self, xc_code: Any) -> str:
        # Which rows of the density PySCF has to prepare; whoever then evaluates the functional without its
        # convolved density is stopped by the library.
        if self.nonlocal_functional(xc_code) is not None:
            return "MGGA"
        return cast(str, super()._xc_type(xc_code))

    # The convolved density --------------------------------------------------------------------------

    def fitted_convolution(
        self, mol: gto.Mole, kernel: GaussianKernel, max_memory: float
    ) -> FittedConvolution:
        """Return the density fit of a molecule, made at the first request for its geometry."""
        symbols = tuple(atom[0] for atom in mol._atom)
        arrays = tuple(np.asarray(a).tobytes() for a in (mol._atm, mol._bas, mol._env))
        key = (symbols, arrays, mol.cart, kernel, str(self.auxbasis))
        if self._fitted is None or self._fitted[0] != key:
            cache_bytes = _INTEGRAL_SHARE * 1e6 * max(0.0, max_memory)
            fitted = FittedConvolution(mol, kernel, auxbasis=self.auxbasis, cache_bytes=cache_bytes)
            self._fitted, self._basis = (key, fitted), None
        return self._fitted[1]

    def convolved_density(
        self, mol: gto.Mole, grids: Any, xc_code: Any, dm: npt.ArrayLike, max_memory: float = 2000
    ) -> FloatArray:
        """Return R at every point of a grid, (n_points,), as the functional ``xc_code`` sees it."""
        self._nonlocal(xc_code)
        density = total_density_matrix(dm, mol.nao)
        return self._convolved(mol, grids, xc_code, density, max_memory).everywhere()

    def _convolved(
        self, mol: gto.Mole, grids: Any, xc_code: Any, density: FloatArray, max_memory: float
    ) -> ConvolvedDensity:
        kernel = convolution_of(self._nonlocal(xc_code), xc_code)
        if grids.coords is None:
            grids.build(with_non0tab=True)
        if self.convolution == "grid":
            if self._quadrature is None or not self._quadrature.is_for(grids.coords, kernel):
                self._quadrature = QuadratureConvolution(grids.coords, kernel)
            return QuadratureDensity(self._quadrature, self, mol, grids, density, max_memory)
        fitted = self.fitted_convolution(mol, kernel, max_memory)
        if self._basis is None or not self._basis.is_for(fitted, grids.coords):
            self._basis = ConvolvedBasisOnGrid(
                fitted, grids.coords, _BASIS_SHARE * 1e6 * max_memory
            )
        return FittedDensity(self._basis, density)

    def _pass(
        self,
        mol: gto.Mole,
        grids: Any,
        xc_code: Any,
        dms: Sequence[Any],
        hermi: int,
        max_memory: float,
    ) -> DensityPass:
        """Begin a pass over the grid with one density matrix, or one per spin."""
        density = np.sum([np.asarray(dm) for dm in dms], axis=0)
        convolved = self._convolved(mol, grids, xc_code, density, max_memory)
        return DensityPass(self, mol, grids, dms, convolved, hermi, max_memory)

    # Energy and potential ---------------------------------------------------------------------------

    @_local_by_pyscf
    def nr_rks(
        self, mol: gto.Mole, grids: Any, xc_code: Any, dms: Any, hermi: int, max_memory: float
    ) -> tuple[Any, Any, Any]:
        """Return number of electrons, energy and potential matrix of closed shells."""
        one = np.ndim(dms) == 2
        densities = [[dms]] if one else [[dm] for dm in dms]
        n, energies, matrices = self._integrate(mol, grids, xc_code, densities, hermi, max_memory)
        return (n[0, 0], energies[0], matrices[0, 0]) if one else (n[0], energies, matrices[0])

    @_local_by_pyscf
    def nr_uks(
        self, mol: gto.Mole, grids: Any, xc_code: Any, dms: Any, hermi: int, max_memory: float
    ) -> tuple[Any, Any, Any]:
        """Return numbers of electrons, energy and potential matrices of the two spins."""
        channels = numint._format_uks_dm(dms)
        one = np.ndim(channels[0]) == 2
        densities = [channels] if one else list(zip(*channels, strict=True))
        n, energies, matrices = self._integrate(mol, grids, xc_code, densities, hermi, max_memory)
        return (n[:, 0], energies[0], matrices[:, 0]) if one else (n, energies, matrices)

    def _integrate(
        self,
        mol: gto.Mole,
        grids: Any,
        xc_code: Any,
        densities: Sequence[Sequence[Any]],
        hermi: int,
        max_memory: float,
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Integrate each of several densities.

        Returns:
            Electrons (n_spin, n_densities), energies (n_densities,) and potentials
            (n_spin, n_densities, n_ao, n_ao).
        """
        functional = self._nonlocal(xc_code)
        n_spin = len(densities[0])
        n_electrons, energies = np.zeros((n_spin, len(densities))), np.zeros(len(densities))
        potentials = []
        for k, dms in enumerate(densities):
            density = self._pass(mol, grids, xc_code, dms, hermi, max_memory)
            for block in density.blocks():
                particle_energy, local, nonlocal_ = first_derivatives(
                    functional, block.rho, block.convolved
                )
                electrons = block.rho.reshape(n_spin, 5, -1)[:, 0] * block.weights
                n_electrons[:, k] += electrons.sum(axis=1)
                energies[k] += electrons.sum(axis=0) @ particle_energy
                density.add(block, local, nonlocal_)
            potentials.append(density.potential())
        return n_electrons, energies, np.stack(potentials, axis=1)

    # Linear response --------------------------------------------------------------------------------

    @_local_by_pyscf
    def cache_xc_kernel(
        self,
        mol: gto.Mole,
        grids: Any,
        xc_code: Any,
        mo_coeff: Any,
        mo_occ: Any,
        spin: int,
        max_memory: float,
    ) -> Any:
        """Return density, first and second derivatives for orbitals; see ``cache_xc_kernel1``."""
        if np.ndim(mo_coeff[0]) == 1:
            dm = (mo_coeff * mo_occ) @ mo_coeff.T
        else:
            dm = np.stack([(c * occ) @ c.T for c, occ in zip(mo_coeff, mo_occ, strict=True)])
        return self.cache_xc_kernel1(mol, grids, xc_code, dm, spin, max_memory)

    @_local_by_pyscf
    def cache_xc_kernel1(
        self, mol: gto.Mole, grids: Any, xc_code: Any, dm: Any, spin: int, max_memory: float
    ) -> tuple[Any, Any, Any]:
        """Return density, first derivatives and the kernel, a ``NonlocalKernel``, on the whole grid."""
        self.libxc.test_deriv_order(xc_code, 2, raise_error=True)
        functional = self._nonlocal(xc_code)
        channels = [dm] if np.ndim(dm) == 2 else list(dm)
        if spin and len(channels) == 1:  # singlet and triplet kernels of a closed shell
            channels = [np.asarray(dm) * 0.5] * 2
        parts = [
            (block.rho, *second_derivatives(functional, block.rho, block.convolved))
            for block in self._pass(mol, grids, xc_code, channels, 1, max_memory).blocks()
        ]
        rho, first, *kernel = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
        return rho, first, NonlocalKernel(*kernel)

    @_local_by_pyscf
    def nr_rks_fxc(
        self,
        mol: gto.Mole,
        grids: Any,
        xc_code: Any,
        dm0: Any,
        dms: Any,
        hermi: int,
        fxc: Any,
        max_memory: float,
    ) -> Any:
        """Return the change of the potential for changes of a closed-shell density."""
        if fxc is None:
            fxc = self.cache_xc_kernel1(mol, grids, xc_code, dm0, 0, max_memory)[2]
        changes = np.asarray(dms)[None]
        return self._respond(mol, grids, xc_code, changes, expected(fxc), hermi, max_memory)[0]

    @_local_by_pyscf
    def nr_rks_fxc_st(
        self,
        mol: gto.Mole,
        grids: Any,
        xc_code: Any,
        dm0: Any,
        dms_alpha: Any,
        hermi: int,
        singlet: bool,
        fxc: Any,
        max_memory: float,
    ) -> Any:
        """Return the response of a closed shell to singlet or triplet changes of one spin channel."""
        if fxc is None:
            fxc = self.cache_xc_kernel1(mol, grids, xc_code, dm0, 1, max_memory)[2]
        kernel = expected(fxc).of_closed_shell(singlet)
        changes = np.asarray(dms_alpha)[None]
        return self._respond(mol, grids, xc_code, changes, kernel, hermi, max_memory)[0]

    @_local_by_pyscf
    def nr_uks_fxc(
        self,
        mol: gto.Mole,
        grids: Any,
        xc_code: Any,
        dm0: Any,
        dms: Any,
        hermi: int,
        fxc: Any,
        max_memory: float,
    ) -> Any:
        """Return the change of both potentials for changes of the two spin densities."""
        if fxc is None:
            fxc = self.cache_xc_kernel1(mol, grids, xc_code, dm0, 1, max_memory)[2]
        changes = np.stack([np.asarray(channel) for channel in numint._format_uks_dm(dms)])
        return self._respond(mol, grids, xc_code, changes, expected(fxc), hermi, max_memory)

    def _respond(
        self,
        mol: gto.Mole,
        grids: Any,
        xc_code: Any,
        changes: FloatArray,
        kernel: NonlocalKernel,
        hermi: int,
        max_memory: float,
    ) -> FloatArray:
        """Return changes of the potential for changes of the density, both (n_spin, ..., n_ao, n_ao)."""
        n_spin, *_, n_ao, _ = changes.shape
        out = np.empty(changes.shape)
        several = out.reshape(n_spin, -1, n_ao, n_ao)
        for k, dms in enumerate(changes.reshape(several.shape).swapaxes(0, 1)):
            density = self._pass(mol, grids, xc_code, list(dms), hermi, max_memory)
            for block in density.blocks():
                density.add(block, *kernel.contract(block.points, block.rho, block.convolved))
            several[:, k] = density.potential()
        return out

    def to_gpu(self) -> Any:
        """Refuse: gpu4pyscf has an integrator of its own, which knows no convolved density."""
        raise UnsupportedError("to_gpu() does not exist for non-local functionals; run on the CPU")
