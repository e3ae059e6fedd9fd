"""An effective model for strong coupling: electrons that keep to the low-energy spin state of each site.

A matrix of half the size acts on one spinor chi_i per site, that of the lower (upper) level of the coupling
(J / 2) S_i . sigma, with what the other level adds in second order:

    h_ij = a <chi_i| K |chi_j> -+ b sum_k <chi_i| K |xi_k> <xi_k| K |chi_j> / J,   xi_k the other level,
    log W_eff = c_0 + sum_n log(1 + exp(-(e_n - nu) / T)) + sum_n c_n F_n

a = b = 1 and nu = mu - (+-J / 2) are the limit of large J; a, b, nu and the c_n are fitted.

Source:
    P. W. Anderson, H. Hasegawa, Phys. Rev. 100, 675 (1955), for the hopping of spinors; second-order
    degenerate perturbation theory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from kakehashi_core.errors import InvalidInputError
from kakehashi_slmc.distance_shells import DistanceShells
from kakehashi_slmc.linear_model import LinearModel, shell_features
from kakehashi_slmc.spin_fermion import SpinFermion
from kakehashi_slmc.spinors import spinors

FloatArray = npt.NDArray[np.float64]
ComplexArray = npt.NDArray[np.complex128]

N_HAMILTONIAN = 3
"""Fitted numbers of the matrix: a, b and nu."""
MOST_STEPS = 20
"""Of the fit; where coupling is weak it would wander."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StrongCouplingModel:
    """The model; call it with spins, (n_chains, n_sites, 3), for log W_eff.

    Attributes:
        exact: Model of which this is the limit.
        hamiltonian: a, b and nu, (3,).
        linear: c_0 and c_n.
    """

    exact: SpinFermion
    hamiltonian: FloatArray
    linear: LinearModel

    @classmethod
    def fit(
        cls,
        exact: SpinFermion,
        shells: DistanceShells,
        spins: FloatArray,
        log_weights: FloatArray,
    ) -> Self:
        """Return the least-squares fit; the linear part is solved for at every step.

        Args:
            exact: Model of which this is the limit; its couplings are equal.
            shells: Classes of pairs.
            spins: (n_samples, n_sites, 3).
            log_weights: (n_samples,).

        Raises:
            InvalidInputError: If couplings differ, vanish, or hopping depends on spin; or of too few samples.
        """
        _check(exact)
        design = np.column_stack([np.ones(len(spins)), shell_features(shells, spins)])
        if len(design) <= design.shape[1] + N_HAMILTONIAN:
            raise InvalidInputError(
                f"{len(design)} samples cannot fix {design.shape[1] + N_HAMILTONIAN} parameters; give more"
            )
        basis, _ = np.linalg.qr(design)
        first, second = _matrices(exact, spins)
        targets = np.asarray(log_weights, dtype=float)

        def residual(numbers: FloatArray) -> FloatArray:
            left = targets - _one_band(exact, first, second, numbers)
            return np.asarray(left - basis @ (basis.T @ left))

        start = np.array([1.0, 1.0, exact.chemical_potential - _level(exact)])
        found = least_squares(residual, start, diff_step=1e-4, max_nfev=MOST_STEPS).x
        left = targets - _one_band(exact, first, second, found)
        linear = LinearModel.fit(shells, spins, left)
        return cls(exact=exact, hamiltonian=found, linear=linear)

    def __call__(self, spins: FloatArray) -> FloatArray:
        """Return log W_eff of each chain, (n_chains,)."""
        found = _one_band(self.exact, *_matrices(self.exact, spins), self.hamiltonian)
        return np.asarray(found + self.linear(spins))


def suits_strong_coupling(exact: SpinFermion) -> bool:
    """Return whether levels of a site are further apart than hopping mixes them, and one is partly filled."""
    n = exact.n_sites
    j = exact.coupling
    if exact.hopping.shape != (n, n) or np.ptp(j) > 1e-12 * abs(j[0]):
        return False
    width = float(np.abs(np.linalg.eigvalsh(exact.hopping)).max())
    off_level = abs(exact.chemical_potential - _level(exact))
    return bool(0.5 * abs(j[0]) >= width * 0.9 and off_level < 1.2 * width)


def _check(exact: SpinFermion) -> None:
    n = exact.n_sites
    if exact.hopping.shape != (n, n):
        raise InvalidInputError(
            "the strong-coupling model needs hopping that is the same for both spins"
        )
    j = exact.coupling
    if np.abs(j - j[0]).max() > 1e-12 * abs(j[0]) or j[0] == 0.0:
        raise InvalidInputError(
            f"the strong-coupling model needs one J on all sites, not zero; got {j.min()!r} to {j.max()!r}"
        )


def _level(exact: SpinFermion) -> float:
    """Return the energy of the level that is partly filled, +-|J| / 2, whichever is nearer to mu."""
    size = 0.5 * abs(float(exact.coupling[0]))
    return size if exact.chemical_potential > 0.0 else -size


def _matrices(exact: SpinFermion, spins: FloatArray) -> tuple[ComplexArray, ComplexArray]:
    """Return the hopping between spinors, and what the other level adds in second order, (n, N, N) each."""
    sign = np.sign(_level(exact)) * np.sign(exact.coupling[0])
    near, far = spinors(sign * spins), spinors(-sign * spins)
    overlap = near.conj() @ np.swapaxes(near, 1, 2)
    across = exact.hopping * (near.conj() @ np.swapaxes(far, 1, 2))
    second = across @ np.swapaxes(across.conj(), 1, 2)
    return exact.hopping * overlap, second * (np.sign(_level(exact)) / abs(exact.coupling[0]))


def _one_band(
    exact: SpinFermion, first: ComplexArray, second: ComplexArray, numbers: FloatArray
) -> FloatArray:
    a, b, nu = numbers
    energies = np.linalg.eigvalsh(a * first + b * second)
    found = np.logaddexp(0.0, -(energies - nu) / exact.temperature).sum(axis=-1)
    if _level(exact) > 0.0:
        # The lower level is full; its trace is that of the upper one, with the other sign.
        found = found + b * np.einsum("bii->b", second).real / exact.temperature
    return np.asarray(found)
