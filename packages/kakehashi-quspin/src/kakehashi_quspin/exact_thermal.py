"""Thermal averages without sampling of a network: full diagonalization, and finite-temperature Lanczos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_core.random_streams import spawn
from kakehashi_core.results import Estimate
from kakehashi_quspin.pauli_strings import PauliString
from kakehashi_quspin.spin_model import SpinModel

FloatArray = npt.NDArray[np.float64]

LARGEST_FULL = 4096
"""Dimension up to which the matrix is diagonalized."""
LARGEST_LANCZOS = 1 << 20
N_LANCZOS = 60
N_VECTORS = 40
_QUIET = {"check_herm": False, "check_symm": False, "check_pcon": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactThermal:
    """A thermal state.

    Attributes:
        beta: Inverse temperature.
        log_partition: ln Z.
        energy: <H>.
        specific_heat: beta^2 (<H^2> - <H>^2), of all sites together.
        method: "full" or "lanczos".
        dimension: Number of states.
    """

    beta: float
    log_partition: Estimate
    energy: Estimate
    specific_heat: Estimate
    method: str
    dimension: int

    @property
    def entropy(self) -> float:
        """S = ln Z + beta E."""
        return self.log_partition.mean + self.beta * self.energy.mean

    @property
    def free_energy(self) -> float:
        """F = -ln Z / beta; minus infinity at beta = 0."""
        return -self.log_partition.mean / self.beta if self.beta > 0.0 else -np.inf


def exact_thermal(
    operators: Any,
    basis: Any,
    *,
    beta: float,
    method: str = "auto",
    n_vectors: int = N_VECTORS,
    seed: int | None = None,
) -> ExactThermal:
    """Return the thermal state of a model by QuSpin.

    Args:
        operators: Static operator list, see ``SpinModel.from_quspin``.
        basis: Basis of QuSpin, or the number of spins.
        beta: Inverse temperature, at least 0.
        method: "full" diagonalization, "lanczos" with random vectors, or "auto" by size.
        n_vectors: Random vectors of Lanczos; the error falls as one over its root.
        seed: Of them; None draws one.

    Raises:
        InvalidInputError: If beta is negative, or the input is no model.
        UnsupportedError: If there are too many states.
    """
    model = SpinModel.from_quspin(operators, basis)
    if not (np.isfinite(beta) and beta >= 0.0):
        raise InvalidInputError(f"beta is {beta!r}; an inverse temperature is at least 0")
    if method not in {"auto", "full", "lanczos"}:
        raise InvalidInputError(f"method is {method!r}; 'auto', 'full' or 'lanczos' is needed")
    dimension = n_states(model)
    if method == "auto":
        method = "full" if dimension <= LARGEST_FULL else "lanczos"
    limit = LARGEST_FULL if method == "full" else LARGEST_LANCZOS
    if dimension > limit:
        raise UnsupportedError(
            f"{dimension} states are too many for {method!r}, which goes up to {limit}; sample instead: "
            "kakehashi_quspin.sampler"
        )
    if method == "full":
        energies = np.linalg.eigvalsh(quspin_hamiltonian(model).toarray())
        return thermal_of_spectrum(energies, beta)
    return _lanczos(model, beta, n_vectors, seed, dimension)


def n_states(model: SpinModel) -> int:
    """Return the number of basis states."""
    from math import comb

    return 1 << model.n_sites if model.n_up is None else comb(model.n_sites, model.n_up)


def quspin_hamiltonian(model: SpinModel) -> Any:
    """Return the model as a ``hamiltonian`` of QuSpin, in its own order of states."""
    from quspin.basis import spin_basis_general
    from quspin.operators import hamiltonian

    terms: dict[PauliString, float] = {**model.terms}
    static = [
        ["".join(a for _, a in string), [[c, *(i for i, _ in string)]]]
        for string, c in terms.items()
    ]
    if model.constant:
        static.append(["I", [[model.constant, 0]]])
    basis = spin_basis_general(model.n_sites, Nup=model.n_up, pauli=1)
    odd = any(sum(a == "y" for _, a in string) % 2 for string in terms)
    dtype = np.complex128 if odd else np.float64
    if model.n_up is not None:
        # Strings that conserve magnetization only together are written with ladder operators.
        static, _ = basis.expanded_form(static, [])
    return hamiltonian(static, [], basis=basis, dtype=dtype, **_QUIET)


def thermal_of_spectrum(energies: FloatArray, beta: float) -> ExactThermal:
    """Return the thermal state at beta of all eigenvalues, (n_states,)."""
    log_weights = -beta * energies
    log_z = float(np.logaddexp.reduce(log_weights))
    p = np.exp(log_weights - log_z)
    mean = float(p @ energies)
    variance = float(p @ (energies - mean) ** 2)
    return ExactThermal(
        beta=float(beta),
        log_partition=Estimate(mean=log_z, stderr=0.0),
        energy=Estimate(mean=mean, stderr=0.0),
        specific_heat=Estimate(mean=beta**2 * variance, stderr=0.0),
        method="full",
        dimension=len(energies),
    )


def _lanczos(
    model: SpinModel, beta: float, n_vectors: int, seed: int | None, dimension: int
) -> ExactThermal:
    """Average Krylov spectra of random vectors.

    Source:
        J. Jaklic, P. Prelovsek, Phys. Rev. B 49, 5065 (1994).
    """
    from quspin.tools.lanczos import lanczos_full

    if n_vectors < 2:
        raise InvalidInputError(f"n_vectors must be at least 2, got {n_vectors}")
    matrix = quspin_hamiltonian(model)
    generators, _ = spawn(seed, n_vectors)
    spectra, weights = [], []
    for rng in generators:
        vector = rng.normal(size=dimension)
        vector /= np.linalg.norm(vector)
        values, vectors, _ = lanczos_full(matrix, vector, min(N_LANCZOS, dimension - 1))
        spectra.append(values)
        weights.append(np.abs(vectors[0]) ** 2)
    shift = min(float(s.min()) for s in spectra)
    moments = np.array(
        [
            [float(w @ (np.exp(-beta * (s - shift)) * (s - shift) ** k)) for k in range(3)]
            for s, w in zip(spectra, weights, strict=True)
        ]
    )
    found = _from_moments(moments.mean(axis=0), beta, shift, dimension)
    # Jackknife over the vectors: ratios of averages.
    n = len(moments)
    without = (moments.sum(axis=0) - moments) / (n - 1)
    samples = np.array([_from_moments(m, beta, shift, dimension) for m in without])
    errors = np.sqrt((n - 1) * samples.var(axis=0))
    estimates = [
        Estimate(mean=float(m), stderr=float(e)) for m, e in zip(found, errors, strict=True)
    ]
    return ExactThermal(
        beta=float(beta),
        log_partition=estimates[0],
        energy=estimates[1],
        specific_heat=estimates[2],
        method="lanczos",
        dimension=dimension,
    )


def _from_moments(
    moments: Sequence[float] | FloatArray, beta: float, shift: float, dimension: int
) -> tuple[float, float, float]:
    z, first, second = (float(m) for m in moments)
    mean = first / z
    log_z = np.log(dimension * z) - beta * shift
    return float(log_z), shift + mean, float(beta**2 * (second / z - mean**2))
