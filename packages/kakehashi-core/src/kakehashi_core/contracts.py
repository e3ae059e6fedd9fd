"""What a plugin's factory must return, as typed protocols.

Hosts are never named in these signatures: a bridge translates between them and its host.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from kakehashi_core.results import ConvergenceReport, Estimate

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from kakehashi_core.gaussian_kernels import GaussianKernel


XCFamily = Literal["LDA", "GGA", "MGGA", "NONLOCAL"]


@runtime_checkable
class XCFunctional(Protocol):
    """An exchange-correlation functional of the density at a point.

    ``energy_density`` is the only thing to write: the bridge differentiates it. A functional that has a
    faster route to derivatives may also define ``exc_vxc`` with the signature of ``FirstDerivatives``, and
    ``exc_vxc_fxc`` with that of ``SecondDerivatives``. One that shall be evaluated on a GPU has an attribute
    ``device`` ("cuda", "cuda:1"): the bridge moves ``variables`` there and the results back.

    Attributes:
        family: Which rows of ``variables`` are read (see ``energy_density``).
        hybrid: Fraction of exact exchange.
        max_deriv: Highest derivative order of the energy density that may be requested.
    """

    family: XCFamily
    hybrid: float
    max_deriv: int

    def energy_density(self, variables: torch.Tensor, spin: Literal[0, 1]) -> torch.Tensor:
        """Return the exchange-correlation energy per volume.

        Args:
            variables: float64, shape (n_var, n_points). With ``spin=0`` the rows are rho (bohr^-3),
                sigma = |grad rho|^2 (bohr^-8) and tau = 1/2 sum |grad phi|^2 (hartree bohr^-3), of the
                total density. With ``spin=1`` they are rho_a, rho_b, s_aa, s_ab, s_bb, tau_a, tau_b.
                LDA stops after the densities, GGA after the gradients; NONLOCAL appends the convolved
                total density as last row (see ``NonlocalXCFunctional``).
            spin: 0 for a closed shell, 1 for spin-resolved variables.

        Returns:
            Shape (n_points,), hartree bohr^-3. Points are independent of each other.
        """
        ...


@runtime_checkable
class NonlocalXCFunctional(XCFunctional, Protocol):
    """An ``XCFunctional`` of family NONLOCAL: it reads the density averaged around each point.

    The last row of its ``variables`` is R(r) = integral of n(r') k(|r - r'|) dr', n the total density and
    k the kernel, in bohr^-3 times the unit of the kernel's integral. A fitted density makes R slightly
    negative in tails, and hosts do not clip it: the functional applies its own smooth floor.

    Attributes:
        convolution: The kernel k.
    """

    convolution: GaussianKernel


@runtime_checkable
class FirstDerivatives(Protocol):
    """Optional fast path of an ``XCFunctional``: value and first derivatives in one call."""

    def exc_vxc(
        self, variables: torch.Tensor, spin: Literal[0, 1]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the energy density (n_points,) and its derivative (n_var, n_points)."""
        ...


@runtime_checkable
class SecondDerivatives(Protocol):
    """Optional fast path of an ``XCFunctional``: value, first and second derivatives in one call."""

    def exc_vxc_fxc(
        self, variables: torch.Tensor, spin: Literal[0, 1]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the energy density (n_points,) and its derivatives.

        The first ones have shape (n_var, n_points), the second ones (n_var, n_var, n_points) with both
        triangles filled.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class GuessRequest:
    """Everything a Hamiltonian predictor may look at; filled by the bridge, no host object inside.

    Attributes:
        numbers: (n_atoms,) atomic numbers.
        positions: (n_atoms, 3), bohr.
        charge: Total charge, elementary charges.
        spin: Number of unpaired electrons.
        shells: (atom, angular momentum, number of contracted functions) per shell in the host's order.
        overlap: (n_ao, n_ao), dimensionless.
        start_hamiltonians: Name to (n_ao, n_ao) array, hartree, of what the host gives for free.
        fingerprint: Basis, functional and grid, as the host names them.
        inside_only: Whether the host has no use for predictions of what is unlike the training set: the
            predictor then raises ``UnsupportedError`` instead of spending time on it.
    """

    numbers: npt.NDArray[np.int64]
    positions: npt.NDArray[np.float64]
    charge: int
    spin: int
    shells: Sequence[tuple[int, int, int]]
    overlap: npt.NDArray[np.float64]
    start_hamiltonians: Mapping[str, npt.NDArray[np.float64]]
    fingerprint: Mapping[str, str]
    inside_only: bool = False


@dataclass(frozen=True, kw_only=True)
class GuessResult:
    """A predicted Hamiltonian with its density matrix, (n_ao, n_ao) or (2, n_ao, n_ao).

    Attributes:
        hamiltonian: Hartree.
        density_matrix: Of both spins together, or of each.
        report: How it was found; with warnings if the host had better not rely on it.
        rejection_threshold: Estimated energy error, hartree, above which a conventional guess is the better
            start of an iteration.
    """

    hamiltonian: npt.NDArray[np.float64]
    density_matrix: npt.NDArray[np.float64]
    report: ConvergenceReport
    rejection_threshold: float = math.inf


@runtime_checkable
class InitialGuess(Protocol):
    """A predictor of the self-consistent Hamiltonian."""

    def __call__(self, request: GuessRequest) -> GuessResult:
        """Predict for one molecule."""
        ...


@runtime_checkable
class Sampler(Protocol):
    """A source of states with honest error bars."""

    def sample(self, n: int) -> npt.NDArray[Any]:
        """Draw ``n`` states."""
        ...

    def expt_value(self, operator: Any) -> Estimate:
        """Average an operator, written as the host writes it."""
        ...

    def diagnostics(self) -> Mapping[str, float]:
        """Return acceptance, tau_int, ESS and R-hat."""
        ...

    def state_dict(self) -> Mapping[str, Any]:
        """Return what is needed to continue bit-exactly."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        ...
