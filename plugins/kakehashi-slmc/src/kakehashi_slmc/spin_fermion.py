"""Electrons on a lattice that feel classical spins: the exact weight of a spin configuration.

    H = sum_ij,s K_ij c+_is c_js + sum_i (J_i / 2) S_i . (c+_i sigma c_i) - mu N_el

The electrons are traced out: W(S) = prod_n (1 + exp(-(E_n - mu) / T)) with the eigenvalues E_n of the
one-body matrix h(S). Orbital s N + i is spin s (0 up, 1 down) on site i. k_B = 1; energies have the unit
of K.

Source:
    S. Yunoki et al., Phys. Rev. Lett. 80, 845 (1998), for the model; textbook trace over free fermions.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.sparse.csgraph import connected_components

from kakehashi_core.errors import InvalidInputError
from kakehashi_slmc.unit_vectors import checked_spins

FloatArray = npt.NDArray[np.float64]
ComplexArray = npt.NDArray[np.complex128]

HERMITICITY = 1e-10
"""Largest difference of a hopping matrix from its adjoint, over its largest element."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SpinFermion:
    """The model; call it with spins, (n_chains, n_sites, 3), for the logarithms of their weights.

    Attributes:
        hopping: K, (n_sites, n_sites) for hopping that is the same for both spins, or (2 n_sites, 2 n_sites);
            Hermitian, real or complex.
        coupling: J of each site, (n_sites,).
        temperature: T.
        chemical_potential: mu.

    Raises:
        InvalidInputError: If K is not Hermitian, J does not fit it, or a number makes no sense.
    """

    hopping: npt.NDArray[np.complexfloating | np.floating] = field(repr=False)
    coupling: FloatArray = field(repr=False)
    temperature: float
    chemical_potential: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no model."""
        matrix, couplings = _numbers("the hopping matrix", self.hopping), np.asarray(self.coupling)
        if couplings.ndim != 1 or couplings.dtype.kind not in "biuf":
            raise InvalidInputError(
                f"J is an array of shape {couplings.shape} and type {couplings.dtype}; one real number for "
                "each site, (n_sites,), is needed. SpinFermion.from_matrix takes a single one."
            )
        _n_sites(matrix, couplings, len(couplings))
        if not np.isfinite(matrix).all() or not np.isfinite(couplings).all():
            raise InvalidInputError(
                "the hopping matrix or the coupling has an element that is not finite"
            )
        _check_hermitian(matrix)
        for name, value in (("T", self.temperature), ("mu", self.chemical_potential)):
            if not np.isfinite(value) or (name == "T" and value <= 0.0):
                raise InvalidInputError(
                    f"{name} is {value!r}; "
                    + ("a temperature is positive" if name == "T" else "it must be finite")
                )
        object.__setattr__(self, "hopping", matrix)
        object.__setattr__(self, "coupling", np.asarray(couplings, dtype=np.float64))

    @classmethod
    def from_matrix(
        cls,
        hopping: npt.ArrayLike,
        coupling: npt.ArrayLike,
        *,
        temperature: float,
        chemical_potential: float = 0.0,
        n_sites: int | None = None,
    ) -> Self:
        """Check and make a model.

        Args:
            hopping: K, (n, n) or (2 n, 2 n); K_ij = -t on a bond.
            coupling: J, one number or one for each site.
            temperature: T, in the unit of K.
            chemical_potential: mu.
            n_sites: n. A single J does not say whether a matrix is that of both spins: without this it is
                taken for (n, n).

        Raises:
            InvalidInputError: If K is not Hermitian, the lattice falls apart, or a number makes no sense.
        """
        matrix = _numbers("the hopping matrix", hopping)
        couplings = np.asarray(coupling)
        if couplings.dtype.kind not in "biuf":
            raise InvalidInputError(f"J is of type {couplings.dtype}; real numbers are needed")
        n = _n_sites(matrix, couplings, n_sites)
        if not np.isfinite(matrix).all():
            raise InvalidInputError("the hopping matrix has an element that is not finite")
        _check_hermitian(matrix)
        _check_connected(matrix, n)
        return cls(
            hopping=matrix,
            coupling=np.broadcast_to(couplings, (n,)).astype(np.float64),
            temperature=float(temperature),
            chemical_potential=float(chemical_potential),
        )

    @property
    def n_sites(self) -> int:
        """Number of sites, and of spins."""
        return len(self.coupling)

    @property
    def inversion_symmetric(self) -> bool:
        """Whether S and -S have the same weight: time reversal, for real hopping without spin."""
        return self.hopping.shape == (self.n_sites, self.n_sites) and not np.iscomplexobj(
            self.hopping
        )

    def at(
        self, *, temperature: float | None = None, chemical_potential: float | None = None
    ) -> Self:
        """Return the same model elsewhere.

        Raises:
            InvalidInputError: If T is not positive, or a number not finite.
        """
        t = self.temperature if temperature is None else float(temperature)
        mu = self.chemical_potential if chemical_potential is None else float(chemical_potential)
        return replace(self, temperature=t, chemical_potential=mu)

    def __call__(self, spins: npt.ArrayLike) -> FloatArray:
        """Return log W of each chain, (n_chains,)."""
        return self.log_weight(self.spectrum(spins))

    def matrices(self, spins: npt.ArrayLike) -> ComplexArray:
        """Return h(S) without mu, (n_chains, 2 n_sites, 2 n_sites)."""
        s = checked_spins(spins, self.n_sites)
        n = self.n_sites
        h = np.zeros((len(s), 2 * n, 2 * n), dtype=np.complex128)
        if self.hopping.shape == (n, n):
            h[:, :n, :n] = self.hopping
            h[:, n:, n:] = self.hopping
        else:
            h[:] = self.hopping
        half = 0.5 * self.coupling
        along, across = half * s[:, :, 2], half * (s[:, :, 0] - 1j * s[:, :, 1])
        # Views of the diagonals of the four blocks.
        flat = h.reshape(len(s), -1)
        stride = 2 * n + 1
        flat[:, : 2 * n * n : stride] += along
        flat[:, 2 * n * n + n :: stride] -= along
        flat[:, n : 2 * n * n : stride] += across
        flat[:, 2 * n * n :: stride] += across.conj()
        return h

    def spectrum(self, spins: npt.ArrayLike) -> FloatArray:
        """Return the eigenvalues of h(S), growing, (n_chains, 2 n_sites)."""
        return np.asarray(np.linalg.eigvalsh(self.matrices(spins)))

    def log_weight(self, spectrum: FloatArray) -> FloatArray:
        """Return log W from eigenvalues, (n_chains,); one diagonalization serves every T and mu."""
        x = (spectrum - self.chemical_potential) / self.temperature
        return np.asarray(np.logaddexp(0.0, -x).sum(axis=-1))

    def occupations(self, spectrum: FloatArray) -> FloatArray:
        """Return the Fermi function of eigenvalues, the same shape."""
        x = (spectrum - self.chemical_potential) / self.temperature
        return np.asarray(0.5 * (1.0 - np.tanh(0.5 * x)))

    def value_and_gradient(self, spins: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return log W, (n_chains,), and its derivative by the components of S, (n_chains, n_sites, 3).

        The derivative is that of unconstrained vectors; on the sphere take its tangential part.
        """
        energies, vectors = np.linalg.eigh(self.matrices(spins))
        f = self.occupations(energies)
        n = self.n_sites
        up, down = vectors[:, :n], vectors[:, n:]
        mixed = np.einsum("bn,bin,bin->bi", f, up.conj(), down)
        difference = np.einsum("bn,bin->bi", f, np.abs(up) ** 2 - np.abs(down) ** 2)
        moments = np.stack([2.0 * mixed.real, 2.0 * mixed.imag, difference], axis=-1)
        factor = -0.5 * self.coupling / self.temperature
        return self.log_weight(energies), factor[:, None] * moments

    def electron_energy(self, spectrum: FloatArray) -> FloatArray:
        """Return <H + mu N_el> of each chain, (n_chains,)."""
        return np.asarray((self.occupations(spectrum) * spectrum).sum(axis=-1))

    def filling(self, spectrum: FloatArray) -> FloatArray:
        """Return electrons per site, between 0 and 2, (n_chains,)."""
        return np.asarray(self.occupations(spectrum).sum(axis=-1) / self.n_sites)


def _numbers(what: str, values: npt.ArrayLike) -> npt.NDArray[np.complexfloating | np.floating]:
    """Return float64 or complex128, as it is if it already is."""
    array = np.asarray(values)
    if array.dtype.kind not in "biufc":
        raise InvalidInputError(f"{what} is of type {array.dtype}; numbers are needed")
    kind = np.complex128 if np.iscomplexobj(array) else np.float64
    return array.astype(kind, copy=False)


def _n_sites(
    matrix: npt.NDArray[np.generic], couplings: npt.NDArray[np.generic], n_sites: int | None
) -> int:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise InvalidInputError(
            f"the hopping matrix has shape {matrix.shape}; (n, n) or (2 n, 2 n) is needed"
        )
    size = len(matrix)
    n = n_sites
    if n is None:
        n = size if couplings.ndim == 0 else len(couplings)
    if couplings.shape not in {(), (n,)} or (size not in {n, 2 * n}):
        asked = "" if n_sites is None or couplings.shape == (n,) else f", n_sites is {n_sites}"
        raise InvalidInputError(
            f"J has shape {couplings.shape} and the hopping matrix {matrix.shape}{asked}; one J, or one for "
            "each site, is needed, with a matrix (n, n), or (2 n, 2 n) of both spins. For the latter give J "
            "of every site, or n_sites."
        )
    return n


def _check_hermitian(matrix: npt.NDArray[np.complexfloating | np.floating]) -> None:
    difference = np.abs(matrix - matrix.conj().T)
    if difference.max() > HERMITICITY * max(float(np.abs(matrix).max()), 1e-300):
        i, j = (int(k) for k in np.unravel_index(int(difference.argmax()), difference.shape))
        raise InvalidInputError(
            f"the hopping matrix is not Hermitian: element ({i}, {j}) is {matrix[i, j]}, element ({j}, {i}) "
            f"is {matrix[j, i]}. Give both directions of every bond, one the conjugate of the other."
        )


def _check_connected(matrix: npt.NDArray[np.complexfloating | np.floating], n: int) -> None:
    bonds = np.abs(matrix) > 0.0
    if len(matrix) == 2 * n and n != len(matrix):
        bonds = bonds[:n, :n] | bonds[:n, n:] | bonds[n:, :n] | bonds[n:, n:]
    n_parts, labels = connected_components(bonds, directed=False)
    if n_parts > 1:
        alone = np.flatnonzero(labels != labels[0])
        raise InvalidInputError(
            f"the lattice falls apart into {n_parts} parts: no path leads from site 0 to site {alone[0]}. "
            "Check the bonds or the cutoff, or sample the parts one by one."
            + (
                f" If this is the matrix of both spins, give n_sites={n // 2}."
                if len(matrix) == n and n % 2 == 0
                else ""
            )
        )
