"""PySCF's numerical integrator, extended to functionals of the convolved density.

Local functionals go to PySCF unchanged. For a non-local one the energy is E = sum_i w_i e(x_i, R_i), with x
the density, its gradient and tau at a point and R the convolved total density. Two passes give the
potential: R from the density matrix, then a loop over the grid which collects the local potentials and
d = dE/dR weighted with the convolved functions, and one contraction for the non-local part at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import numpy as np
import numpy.typing as npt
from pyscf import gto, lib
from pyscf.dft import numint, xc_deriv

from kakehashi_core.contracts import XCFunctional
from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_core.gaussian_kernels import GaussianKernel
from kakehashi_pyscf.convolved_density import (
    AUXBASIS,
    FittedConvolution,
    point_block,
    total_density_matrix,
)
from kakehashi_pyscf.density_variables import density_variables
from kakehashi_pyscf.derivatives import xc_derivatives
from kakehashi_pyscf.functional_library import FunctionalLibrary, convolution_of
from kakehashi_pyscf.quadrature_convolution import QuadratureConvolution

FloatArray = npt.NDArray[np.float64]
ConvolutionMode = Literal["density-fit", "grid"]
CONVOLUTION_MODES: tuple[ConvolutionMode, ...] = ("density-fit", "grid")

_INTEGRAL_SHARE = 0.3
_BASIS_SHARE = 0.4


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
        self._basis: _ConvolvedBasisOnGrid | None = None
        self._quadrature: QuadratureConvolution | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what to pickle: everything but the caches."""
        return {**self.__dict__, "_fitted": None, "_basis": None, "_quadrature": None}

    def nonlocal_functional(self, xc_code: Any) -> XCFunctional | None:
        """Return the functional behind a name if it is non-local, else None."""
        functional = self.libxc.find(xc_code)
        return functional if functional is not None and functional.family == "NONLOCAL" else None

    def _xc_type(self, xc_code: Any) -> str:
        # Which rows of the density PySCF has to prepare; whoever then evaluates the functional without its
        # convolved density is stopped by the library.
        if self.nonlocal_functional(xc_code) is not None:
            return "MGGA"
        return cast(str, super()._xc_type(xc_code))

    # What the caches hold ---------------------------------------------------------------------------

    def fitted_convolution(
        self, mol: gto.Mole, kernel: GaussianKernel, max_memory: float
    ) -> FittedConvolution:
        """Return the density fit of a molecule, made at the first request for its geometry."""
        symbols = tuple(atom[0] for atom in mol._atom)
        arrays = tuple(np.asarray(a).tobytes() for a in (mol._atm, mol._bas, mol._env))
        key = (symbols, arrays, mol.cart, kernel, str(self.auxbasis))
        if self._fitted is None or self._fitted[0] != key:
            fitted = FittedConvolution(
                mol,
                kernel,
                auxbasis=self.auxbasis,
                cache_bytes=_INTEGRAL_SHARE * 1e6 * max(0.0, max_memory),
            )
            self._fitted = (key, fitted)
            self._basis = None
        return self._fitted[1]

    def _start(
        self, mol: gto.Mole, grids: Any, kernel: GaussianKernel, dm: FloatArray, max_memory: float
    ) -> _Convolution:
        if self.convolution == "grid":
            if self._quadrature is None or not self._quadrature.is_for(grids.coords, kernel):
                self._quadrature = QuadratureConvolution(grids.coords, kernel)
            return _QuadratureConvolution(self, mol, grids, self._quadrature, dm, max_memory)
        fitted = self.fitted_convolution(mol, kernel, max_memory)
        if self._basis is None or not self._basis.is_for(fitted, grids.coords):
            self._basis = _ConvolvedBasisOnGrid(fitted, grids.coords, max_memory)
        return _FittedConvolution(self._basis, dm)

    def convolved_density(
        self, mol: gto.Mole, grids: Any, xc_code: Any, dm: npt.ArrayLike, max_memory: float = 2000
    ) -> FloatArray:
        """Return R at every point of a grid, (n_points,), as the functional ``xc_code`` sees it."""
        functional = self._nonlocal(xc_code)
        density = total_density_matrix(dm, mol.nao)
        kernel = convolution_of(functional, xc_code)
        if grids.coords is None:
            grids.build(with_non0tab=True)
        convolution = self._start(mol, grids, kernel, density, max_memory)
        n_points = grids.coords.shape[0]
        width = convolution.block_points(n_points)
        blocks = (slice(p, min(p + width, n_points)) for p in range(0, n_points, width))
        return np.concatenate([convolution.values(block) for block in blocks])

    def _nonlocal(self, xc_code: Any) -> XCFunctional:
        functional = self.nonlocal_functional(xc_code)
        if functional is None:
            raise InvalidInputError(f"{xc_code!r} is not a non-local functional")
        if self.omega:
            raise UnsupportedError(
                f"{xc_code!r} is not range-separated; omega={self.omega} has no meaning"
            )
        return functional

    # Energy and potential ---------------------------------------------------------------------------

    def nr_rks(
        self,
        mol: gto.Mole,
        grids: Any,
        xc_code: Any,
        dms: Any,
        relativity: int = 0,
        hermi: int = 1,
        max_memory: float = 2000,
        verbose: Any = None,
    ) -> tuple[Any, Any, Any]:
        """Return number of electrons, energy and potential matrix of closed shells."""
        if self.nonlocal_functional(xc_code) is None:
            return cast(
                "tuple[Any, Any, Any]",
                super().nr_rks(mol, grids, xc_code, dms, relativity, hermi, max_memory, verbose),
            )
        if np.ndim(dms) == 2:
            n_electrons, energy, potential = self._integrate(
                mol, grids, xc_code, [dms], hermi, max_memory
            )
            return n_electrons[0], energy, potential[0]
        results = [self._integrate(mol, grids, xc_code, [dm], hermi, max_memory) for dm in dms]
        return (
            np.array([result[0][0] for result in results]),
            np.array([result[1] for result in results]),
            np.array([result[2][0] for result in results]),
        )

    def nr_uks(
        self,
        mol: gto.Mole,
        grids: Any,
        xc_code: Any,
        dms: Any,
        relativity: int = 0,
        hermi: int = 1,
        max_memory: float = 2000,
        verbose: Any = None,
    ) -> tuple[Any, Any, Any]:
        """Return numbers of electrons, energy and potential matrices of the two spins."""
        if self.nonlocal_functional(xc_code) is None:
            return cast(
                "tuple[Any, Any, Any]",
                super().nr_uks(mol, grids, xc_code, dms, relativity, hermi, max_memory, verbose),
            )
        channel_a, channel_b = numint._format_uks_dm(dms)
        if np.ndim(channel_a) == 2:
            return self._integrate(mol, grids, xc_code, [channel_a, channel_b], hermi, max_memory)
        results = [
            self._integrate(mol, grids, xc_code, [a, b], hermi, max_memory)
            for a, b in zip(channel_a, channel_b, strict=True)
        ]
        return (
            np.stack([result[0] for result in results], axis=1),
            np.array([result[1] for result in results]),
            np.stack([result[2] for result in results], axis=1),
        )

    def _integrate(
        self,
        mol: gto.Mole,
        grids: Any,
        xc_code: Any,
        dms: Sequence[Any],
        hermi: int,
        max_memory: float,
    ) -> tuple[FloatArray, float, FloatArray]:
        """Return electrons (n_spin,), energy, potential (n_spin, n_ao, n_ao) for one density."""
        functional = self._nonlocal(xc_code)
        spin: Literal[0, 1] = 1 if len(dms) == 2 else 0
        if grids.coords is None:
            grids.build(with_non0tab=True)
        kernel = convolution_of(functional, xc_code)
        density = np.sum([np.asarray(dm) for dm in dms], axis=0)
        convolution = self._start(mol, grids, kernel, density, max_memory)
        evaluators = [self._gen_rho_evaluator(mol, dm, hermi, False, grids)[0] for dm in dms]
        local = _LocalPotential(self, mol, grids, len(dms))
        n_electrons, energy = np.zeros(len(dms)), 0.0
        for block, ao, mask, weight in self._blocks(mol, grids, convolution, max_memory):
            channels = [make_rho(0, ao, mask, "MGGA") for make_rho in evaluators]
            rho = np.stack(channels) if spin else channels[0]
            particle_energy, local_part, nonlocal_part = first_derivatives(
                functional, rho, convolution.values(block), spin
            )
            electrons = np.stack([channel[0] for channel in channels]) * weight
            n_electrons += electrons.sum(axis=1)
            energy += float(electrons.sum(axis=0) @ particle_energy)
            local.add(ao, mask, weight * local_part.reshape(len(dms), 5, -1))
            convolution.collect(block, weight * nonlocal_part)
        return n_electrons, energy, local.matrices() + convolution.potential()

    def _blocks(
        self, mol: gto.Mole, grids: Any, convolution: _Convolution, max_memory: float
    ) -> Iterator[tuple[slice, Any, Any, FloatArray]]:
        """Yield (points, AO values and gradients, mask, weights) in blocks that both sides can hold."""
        n_points = grids.coords.shape[0]
        by_memory = int(max(0.0, max_memory) * 1e6 / (5 * mol.nao * 8))
        width = min(by_memory, convolution.block_points(n_points), 1200 * numint.BLKSIZE)
        width = max(4, width // numint.BLKSIZE) * numint.BLKSIZE
        stop = 0
        for ao, mask, weight, _coords in self.block_loop(
            mol, grids, mol.nao, 1, max_memory=max_memory, blksize=width
        ):
            start, stop = stop, stop + weight.size
            yield slice(start, stop), ao, mask, weight

    # Linear response --------------------------------------------------------------------------------

    def cache_xc_kernel(
        self,
        mol: gto.Mole,
        grids: Any,
        xc_code: Any,
        mo_coeff: Any,
        mo_occ: Any,
        spin: int = 0,
        max_memory: float = 2000,
    ) -> tuple[Any, Any, Any]:
        """Return density, first and second derivatives for orbitals; see ``cache_xc_kernel1``."""
        if self.nonlocal_functional(xc_code) is None:
            return cast(
                "tuple[Any, Any, Any]",
                super().cache_xc_kernel(mol, grids, xc_code, mo_coeff, mo_occ, spin, max_memory),
            )
        if np.ndim(mo_coeff[0]) == 1:
            dm = (mo_coeff * mo_occ) @ mo_coeff.T
        else:
            dm = np.stack([(c * occ) @ c.T for c, occ in zip(mo_coeff, mo_occ, strict=True)])
        return self.cache_xc_kernel1(mol, grids, xc_code, dm, spin, max_memory)

    def cache_xc_kernel1(
        self,
        mol: gto.Mole,
        grids: Any,
        xc_code: Any,
        dm: Any,
        spin: int = 0,
        max_memory: float = 2000,
    ) -> tuple[Any, Any, Any]:
        """Return density, first derivatives and the kernel, a ``NonlocalKernel``, on the whole grid."""
        functional = self.nonlocal_functional(xc_code)
        if functional is None:
            return cast(
                "tuple[Any, Any, Any]",
                super().cache_xc_kernel1(mol, grids, xc_code, dm, spin, max_memory),
            )
        self.libxc.test_deriv_order(xc_code, 2, raise_error=True)
        if grids.coords is None:
            grids.build(with_non0tab=True)
        channels = [dm] if np.ndim(dm) == 2 else list(dm)
        if spin and len(channels) == 1:  # singlet and triplet kernels of a closed shell
            channels = [np.asarray(dm) * 0.5] * 2
        kernel = convolution_of(functional, xc_code)
        convolution = self._start(mol, grids, kernel, np.sum(channels, axis=0), max_memory)
        evaluators = [self._gen_rho_evaluator(mol, c, 1, False, grids)[0] for c in channels]
        parts: list[tuple[FloatArray, ...]] = []
        for block, ao, mask, _weight in self._blocks(mol, grids, convolution, max_memory):
            rows = [make_rho(0, ao, mask, "MGGA") for make_rho in evaluators]
            rho = np.stack(rows) if spin else rows[0]
            parts.append(
                (rho, *_second_derivatives(functional, rho, convolution.values(block), spin))
            )
        rho, first, local, mixed, convolved = (
            np.concatenate(column, axis=-1) for column in zip(*parts, strict=True)
        )
        return rho, first, NonlocalKernel(local, mixed, convolved)

    def nr_rks_fxc(
        self,
        mol: gto.Mole,
        grids: Any,
        xc_code: Any,
        dm0: Any,
        dms: Any,
        relativity: int = 0,
        hermi: int = 0,
        rho0: Any = None,
        vxc: Any = None,
        fxc: Any = None,
        max_memory: float = 2000,
        verbose: Any = None,
    ) -> Any:
        """Return the change of the potential for changes of a closed-shell density."""
        if self.nonlocal_functional(xc_code) is None:
            return super().nr_rks_fxc(
                mol,
                grids,
                xc_code,
                dm0,
                dms,
                relativity,
                hermi,
                rho0,
                vxc,
                fxc,
                max_memory,
                verbose,
            )
        if fxc is None:
            fxc = self.cache_xc_kernel1(mol, grids, xc_code, dm0, 0, max_memory)[2]
        changes = np.asarray(dms)
        responses = [
            self._respond(mol, grids, xc_code, [dm], _expected(fxc), hermi, max_memory)[0]
            for dm in changes.reshape(-1, *changes.shape[-2:])
        ]
        return np.reshape(responses, changes.shape)

    def nr_rks_fxc_st(
        self,
        mol: gto.Mole,
        grids: Any,
        xc_code: Any,
        dm0: Any,
        dms_alpha: Any,
        hermi: int = 0,
        singlet: bool = True,
        rho0: Any = None,
        vxc: Any = None,
        fxc: Any = None,
        max_memory: float = 2000,
        verbose: Any = None,
    ) -> Any:
        """Return the response of a closed shell to singlet or triplet changes of one spin channel."""
        if self.nonlocal_functional(xc_code) is None:
            return super().nr_rks_fxc_st(
                mol,
                grids,
                xc_code,
                dm0,
                dms_alpha,
                hermi,
                singlet,
                rho0,
                vxc,
                fxc,
                max_memory,
                verbose,
            )
        if fxc is None:
            fxc = self.cache_xc_kernel1(mol, grids, xc_code, dm0, 1, max_memory)[2]
        kernel = _expected(fxc).of_closed_shell(singlet)
        return self.nr_rks_fxc(
            mol, grids, xc_code, dm0, dms_alpha, hermi=hermi, fxc=kernel, max_memory=max_memory
        )

    def nr_uks_fxc(
        self,
        mol: gto.Mole,
        grids: Any,
        xc_code: Any,
        dm0: Any,
        dms: Any,
        relativity: int = 0,
        hermi: int = 0,
        rho0: Any = None,
        vxc: Any = None,
        fxc: Any = None,
        max_memory: float = 2000,
        verbose: Any = None,
    ) -> Any:
        """Return the change of both potentials for changes of the two spin densities."""
        if self.nonlocal_functional(xc_code) is None:
            return super().nr_uks_fxc(
                mol,
                grids,
                xc_code,
                dm0,
                dms,
                relativity,
                hermi,
                rho0,
                vxc,
                fxc,
                max_memory,
                verbose,
            )
        if fxc is None:
            fxc = self.cache_xc_kernel1(mol, grids, xc_code, dm0, 1, max_memory)[2]
        channel_a, channel_b = (np.asarray(c) for c in numint._format_uks_dm(dms))
        n_ao = channel_a.shape[-1]
        pairs = zip(
            channel_a.reshape(-1, n_ao, n_ao), channel_b.reshape(-1, n_ao, n_ao), strict=True
        )
        responses = [
            self._respond(mol, grids, xc_code, list(pair), _expected(fxc), hermi, max_memory)
            for pair in pairs
        ]
        return np.stack(responses, axis=1).reshape(2, *channel_a.shape)

    def _respond(
        self,
        mol: gto.Mole,
        grids: Any,
        xc_code: Any,
        changes: Sequence[FloatArray],
        kernel: NonlocalKernel,
        hermi: int,
        max_memory: float,
    ) -> FloatArray:
        """Return the change of the potential (n_spin, n_ao, n_ao) for one change of the density."""
        functional = self._nonlocal(xc_code)
        spin = len(changes) - 1
        convolution = self._start(
            mol,
            grids,
            convolution_of(functional, xc_code),
            np.sum(changes, axis=0),
            max_memory,
        )
        evaluators = [self._gen_rho_evaluator(mol, dm, hermi, False, grids)[0] for dm in changes]
        local = _LocalPotential(self, mol, grids, len(changes))
        for block, ao, mask, weight in self._blocks(mol, grids, convolution, max_memory):
            rows = [make_rho(0, ao, mask, "MGGA") for make_rho in evaluators]
            rho = np.stack(rows) if spin else rows[0]
            convolved = convolution.values(block)
            local_part, nonlocal_part = kernel.contract(block, rho, convolved)
            local.add(ao, mask, weight * local_part.reshape(len(changes), 5, -1))
            convolution.collect(block, weight * nonlocal_part)
        return local.matrices() + convolution.potential()

    def to_gpu(self) -> Any:
        """Refuse: gpu4pyscf has an integrator of its own, which knows no convolved density."""
        raise UnsupportedError("to_gpu() does not exist for non-local functionals; run on the CPU")


@dataclass(frozen=True)
class NonlocalKernel:
    """Second derivatives on the grid, in PySCF's density components x (rho, gradient, tau; per spin).

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
        self, block: slice, rho: FloatArray, convolved: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return changes of de/dx and de/dR for changes of x and R on a block of points."""
        mixed = self.mixed[..., block]
        if rho.ndim == 2:
            local_part = np.einsum("xyg,yg->xg", self.local[..., block], rho)
        else:
            local_part = np.einsum("axbyg,byg->axg", self.local[..., block], rho)
        axes = tuple(range(rho.ndim - 1))
        nonlocal_part = (mixed * rho).sum(axis=axes) + self.convolved[block] * convolved
        return local_part + mixed * convolved, nonlocal_part

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


def _expected(kernel: Any) -> NonlocalKernel:
    if not isinstance(kernel, NonlocalKernel):
        raise InvalidInputError(
            f"the kernel of a non-local functional comes from cache_xc_kernel, got {type(kernel).__name__}"
        )
    return kernel


def first_derivatives(
    functional: XCFunctional, rho: FloatArray, convolved: FloatArray, spin: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Evaluate a non-local functional and its first derivatives.

    Args:
        functional: Of family NONLOCAL.
        rho: (5, n_points), or (2, 5, n_points) for ``spin=1``.
        convolved: (n_points,).
        spin: 0 or 1.

    Returns:
        Energy per particle (n_points,), de/dx of the shape of ``rho``, de/dR (n_points,).
    """
    rows, n_var = _rows(functional, rho, convolved, spin, 1)
    local = xc_deriv.transform_xc(rho, rows[:n_var], "MGGA", spin, 1)
    return rows[0], local, rows[n_var]


def _second_derivatives(
    functional: XCFunctional, rho: FloatArray, convolved: FloatArray, spin: int
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return de/dx, d2e/dx dx, d2e/dx dR, d2e/dR dR."""
    rows, n_var = _rows(functional, rho, convolved, spin, 2)
    left, right = np.triu_indices(n_var)
    second = rows[1 + n_var :]
    without_convolved = np.concatenate([rows[:n_var], second[right < n_var - 1]])
    # d/dR of the energy density is again a function of the local variables.
    mixed = second[(right == n_var - 1) & (left < n_var - 1)]
    as_energy = np.concatenate([np.zeros_like(mixed[:1]), mixed])
    return (
        xc_deriv.transform_xc(rho, without_convolved, "MGGA", spin, 1),
        xc_deriv.transform_xc(rho, without_convolved, "MGGA", spin, 2),
        xc_deriv.transform_xc(rho, as_energy, "MGGA", spin, 1),
        second[-1],
    )


def _rows(
    functional: XCFunctional, rho: FloatArray, convolved: FloatArray, spin: int, deriv: int
) -> tuple[FloatArray, int]:
    polarized: Literal[0, 1] = 1 if spin else 0
    variables = np.concatenate([density_variables(rho, "MGGA", spin), convolved[None]])
    return xc_derivatives(functional, variables, polarized, deriv), variables.shape[0]


class _LocalPotential:
    """Adds up the matrix of a local potential block by block, with PySCF's sparse kernels."""

    def __init__(self, integrator: NonlocalNumInt, mol: gto.Mole, grids: Any, n_spin: int) -> None:
        self._offsets = mol.ao_loc_nr()
        cutoff = grids.cutoff * 1e2
        self._bins = numint.NBINS * 2 - int(numint.NBINS * np.log(cutoff) / np.log(grids.cutoff))
        self._pairs = mol.get_overlap_cond() < -np.log(integrator.cutoff)
        self._density = np.zeros((n_spin, mol.nao, mol.nao))
        self._tau = np.zeros_like(self._density)
        self._buffer: Any = None

    def add(self, ao: Any, mask: Any, potential: FloatArray) -> None:
        """Add weighted de/dx, (n_spin, 5, n_points), overwriting it."""
        potential[:, 0] *= 0.5  # the matrix and its transpose are added at the end
        potential[:, 4] *= 0.5  # of tau = 1/2 sum |grad phi|^2
        for channel, part in enumerate(potential):
            self._buffer = numint._scale_ao_sparse(
                ao[:4], part[:4], mask, self._offsets, out=self._buffer
            )
            numint._dot_ao_ao_sparse(
                ao[0],
                self._buffer,
                None,
                self._bins,
                mask,
                self._pairs,
                self._offsets,
                hermi=0,
                out=self._density[channel],
            )
            numint._tau_dot_sparse(
                ao,
                ao,
                part[4],
                self._bins,
                mask,
                self._pairs,
                self._offsets,
                out=self._tau[channel],
            )

    def matrices(self) -> FloatArray:
        """Return (n_spin, n_ao, n_ao)."""
        return self._density + self._density.transpose(0, 2, 1) + self._tau


# Two ways to convolve -------------------------------------------------------------------------------


class _Convolution(Protocol):
    """The convolution of one density (or change of it), and the adjoint of that map."""

    def block_points(self, n_points: int) -> int:
        """Return how many points a block may have."""
        ...

    def values(self, block: slice) -> FloatArray:
        """Return R on a block of the grid."""
        ...

    def collect(self, block: slice, gradient: FloatArray) -> None:
        """Take w_i de/dR_i on a block of the grid."""
        ...

    def potential(self) -> FloatArray:
        """Return the matrix of dE/dD through R, (n_ao, n_ao), after everything was collected."""
        ...


class _ConvolvedBasisOnGrid:
    """Values of the convolved basis on one grid, kept if memory allows, else computed again."""

    def __init__(self, fitted: FittedConvolution, coords: FloatArray, max_memory: float) -> None:
        self.fitted = fitted
        self.coords = coords.copy()
        size = 8.0 * fitted.n_functions * coords.shape[0]
        self.kept: FloatArray | None = None
        if size <= _BASIS_SHARE * 1e6 * max_memory:
            self.kept = np.empty((fitted.n_functions, coords.shape[0]))
            width = point_block(fitted.n_functions)
            for start in range(0, coords.shape[0], width):
                block = slice(start, start + width)
                self.kept[:, block] = fitted.evaluate(coords[block]).T
        self._last: tuple[slice, FloatArray] | None = None

    def is_for(self, fitted: FittedConvolution, coords: FloatArray) -> bool:
        return self.fitted is fitted and np.array_equal(self.coords, coords)

    def block(self, block: slice) -> FloatArray:
        """Return (n_functions, n_points)."""
        if self.kept is not None:
            return self.kept[:, block]
        if self._last is None or self._last[0] != block:
            self._last = (block, self.fitted.evaluate(self.coords[block]).T)
        return self._last[1]


class _FittedConvolution:
    """Convolution by density fitting."""

    def __init__(self, basis: _ConvolvedBasisOnGrid, dm: FloatArray) -> None:
        self._basis = basis
        fitted = basis.fitted
        self._coefficients = fitted.spread(fitted.fit(dm))
        self._gradient = np.zeros(fitted.n_functions)

    def block_points(self, n_points: int) -> int:
        return n_points if self._basis.kept is not None else point_block(self._gradient.size)

    def values(self, block: slice) -> FloatArray:
        return self._coefficients @ self._basis.block(block)

    def collect(self, block: slice, gradient: FloatArray) -> None:
        self._gradient += self._basis.block(block) @ gradient

    def potential(self) -> FloatArray:
        fitted = self._basis.fitted
        return fitted.potential(fitted.adjoint(fitted.gather(self._gradient)))


class _QuadratureConvolution:
    """Convolution by quadrature on the whole grid: R_i = sum_j w_j n_j K_ij."""

    def __init__(
        self,
        integrator: NonlocalNumInt,
        mol: gto.Mole,
        grids: Any,
        quadrature: QuadratureConvolution,
        dm: FloatArray,
        max_memory: float,
    ) -> None:
        self._integrator, self._mol, self._grids = integrator, mol, grids
        self._quadrature, self._max_memory = quadrature, max_memory
        symmetric = (dm + dm.T) * 0.5
        density = integrator.get_rho(mol, symmetric, grids, max_memory)
        self._values = quadrature.apply(grids.weights * density)
        self._gradient = np.zeros_like(self._values)

    def block_points(self, n_points: int) -> int:
        return n_points

    def values(self, block: slice) -> FloatArray:
        return self._values[block]

    def collect(self, block: slice, gradient: FloatArray) -> None:
        self._gradient[block] = gradient

    def potential(self) -> FloatArray:
        mol, grids = self._mol, self._grids
        potential = grids.weights * self._quadrature.apply(self._gradient)
        out = np.zeros((mol.nao, mol.nao))
        stop = 0
        for ao, mask, weight, _coords in self._integrator.block_loop(
            mol, grids, mol.nao, 0, max_memory=self._max_memory
        ):
            start, stop = stop, stop + weight.size
            scaled = numint._scale_ao(ao, potential[start:stop])
            shells = (0, mol.nbas)
            out += numint._dot_ao_ao(mol, ao, scaled, mask, shells, mol.ao_loc_nr())
        return cast(FloatArray, lib.hermi_sum(out) * 0.5)
