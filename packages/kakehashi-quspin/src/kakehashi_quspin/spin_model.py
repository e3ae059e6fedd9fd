"""Spin models, read once from what a user of QuSpin already has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import comb
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_quspin.operator_lists import pauli_sum
from kakehashi_quspin.pauli_strings import PauliString, is_hermitian, multiplied

_TRIVIAL_BLOCKS = {"a", "Nup", "m", "pauli", "L", "N", "count_particles"}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SpinModel:
    """A Hamiltonian of spins 1/2 as a sum of Pauli strings.

    Attributes:
        n_sites: Number of spins.
        terms: Coefficient of each string, real; the identity is left out.
        constant: Coefficient of the identity.
        pauli: Convention in which the user writes operators, see ``letter_terms``.
        n_up: Spins up, where the basis fixes them; None for all states.
    """

    n_sites: int
    terms: Mapping[PauliString, float] = field(repr=False)
    constant: float = 0.0
    pauli: int = 1
    n_up: int | None = None

    @classmethod
    def from_quspin(cls, operators: Any, basis: Any, *, pauli: int | None = None) -> Self:
        """Read a model.

        Args:
            operators: Static operator list; or a ``quantum_LinearOperator``, or a ``hamiltonian`` that still
                knows its list.
            basis: ``spin_basis_1d`` or ``spin_basis_general`` of spins 1/2 without symmetry blocks; or the
                number of spins.
            pauli: Convention of the letters; None for that of the basis, 1 for a number of spins.

        Raises:
            InvalidInputError: If the list is not Hermitian, or not what QuSpin writes, or lost.
            UnsupportedError: If the basis has symmetry blocks, or spins that are not 1/2.
        """
        n_sites, own, n_up = _matching_basis(operators, basis)
        convention = own if pauli is None else int(pauli)
        real = hermitian_terms(operators, n_sites, pauli=convention)
        constant = real.pop((), 0.0)
        model = cls(n_sites=n_sites, terms=real, constant=constant, pauli=convention, n_up=n_up)
        if n_up is not None and not model.conserves_magnetization:
            raise InvalidInputError(
                f"the basis fixes {n_up} spins up, but the Hamiltonian changes their number; leave Nup out"
            )
        return model

    @property
    def conserves_magnetization(self) -> bool:
        """Whether the number of spins up is conserved."""
        commutator: dict[PauliString, complex] = {}
        for string, coefficient in self.terms.items():
            for site, letter in string:
                if letter == "z":
                    continue
                # [sigma^z_site, string] is twice their product, where they do not commute.
                phase, product = multiplied([(site, "z"), *string])
                commutator[product] = commutator.get(product, 0.0) + 2.0 * phase * coefficient
        largest = max((abs(c) for c in self.terms.values()), default=0.0)
        return all(abs(c) <= 1e-12 * largest for c in commutator.values())

    def matrix(self) -> npt.NDArray[np.complex128]:
        """Return the dense matrix in QuSpin's order of all states, (2^n, 2^n); for small systems."""
        size = 1 << self.n_sites
        found = self.constant * np.eye(size, dtype=np.complex128)
        for string, coefficient in self.terms.items():
            letters = dict(string)
            product: npt.NDArray[np.complex128] = np.ones((1, 1), dtype=np.complex128)
            for site in range(self.n_sites):
                product = np.asarray(np.kron(product, _MATRICES[letters.get(site, "I")]))
            found += coefficient * product
        return found


def hermitian_terms(operators: Any, n_sites: int, *, pauli: int) -> dict[PauliString, float]:
    """Return an operator as real coefficients of Pauli strings.

    Args:
        operators: Static operator list, or an object of QuSpin that still knows its list.
        n_sites: Number of spins.
        pauli: Convention of the letters.

    Raises:
        InvalidInputError: If it is no such list, or not Hermitian; the message names the term.
    """
    sums = pauli_sum(_listed(operators), n_sites, pauli=pauli)
    if not is_hermitian(sums):
        worst = max(sums, key=lambda s: abs(complex(sums[s]).imag))
        raise InvalidInputError(
            f"the operator is not Hermitian: {_name(worst)} has the coefficient {sums[worst]:.6g} in Pauli "
            "matrices. Add the conjugate terms."
        )
    return {s: float(complex(c).real) for s, c in sums.items()}


_MATRICES = {
    "I": np.eye(2, dtype=np.complex128),
    "x": np.array([[0, 1], [1, 0]], dtype=np.complex128),
    "y": np.array([[0, -1j], [1j, 0]], dtype=np.complex128),
    "z": np.array([[1, 0], [0, -1]], dtype=np.complex128),
}


def _name(string: PauliString) -> str:
    if not string:
        return "the identity"
    return " ".join(f"{letter}_{site}" for site, letter in string)


def _listed(operators: Any) -> Any:
    """Return the operator list of an object of QuSpin, or the list itself."""
    if operators is None:
        raise InvalidInputError(
            "the operator is None; multiplying a quantum_LinearOperator by a number gives that in QuSpin. "
            "Pass the static list."
        )
    if isinstance(operators, list | tuple):
        return operators
    kind = type(operators).__name__
    if hasattr(operators, "static_list"):
        return operators.static_list
    listed = getattr(operators, "_static_opstr_list", None)
    if listed is not None:
        dynamic = getattr(operators, "dynamic", {})
        if dynamic:
            raise InvalidInputError(
                f"the {kind} depends on time; a thermal state needs a static Hamiltonian"
            )
        if not listed:
            raise InvalidInputError(
                f"this {kind} has forgotten its operator list, as QuSpin's do after arithmetic, copy or "
                "astype; pass the static list it was made from"
            )
        if not _is_of(operators, listed):
            raise InvalidInputError(
                f"the matrix of this {kind} is not that of its operator list any more, as after *= or +=; "
                "pass the static list of what you mean"
            )
        return listed
    raise InvalidInputError(
        f"a {kind} does not tell which operators it is made of; pass the static list it was made from"
    )


def _is_of(operator: Any, listed: Any) -> bool:
    """Return whether the matrix of a ``hamiltonian`` is that of its list."""
    quiet = {"check_herm": False, "check_symm": False, "check_pcon": False}
    again = type(operator)(
        listed, [], basis=operator.basis, dtype=np.dtype(operator.dtype).type, **quiet
    )
    difference = abs(operator.static - again.static)
    largest = float(abs(again.static).max()) if again.static.nnz else 0.0
    return not difference.nnz or float(difference.max()) <= 1e-10 * max(largest, 1.0)


def _matching_basis(operators: Any, basis: Any) -> tuple[int, int, int | None]:
    """Return what ``_basis`` does, of a basis that agrees with that of the operator where it has one."""
    own = getattr(operators, "basis", None)
    if own is None:
        return _basis(basis)
    mine = _basis(own)
    if isinstance(basis, int | np.integer) and not isinstance(basis, bool):
        if int(basis) != mine[0]:
            raise InvalidInputError(f"the operator has {mine[0]} sites, not {basis}")
        return mine
    given = _basis(basis)
    for what, a, b in zip(("sites", "convention (pauli)", "spins up"), given, mine, strict=True):
        if a != b:
            raise InvalidInputError(
                f"the {what} of the basis and of the {type(operators).__name__} differ, {a} and {b}; pass "
                "the basis that it was made with"
            )
    return mine


def _basis(basis: Any) -> tuple[int, int, int | None]:
    """Return number of spins, convention, and spins up of a basis of QuSpin."""
    if isinstance(basis, int | np.integer) and not isinstance(basis, bool):
        if basis < 1:
            raise InvalidInputError(f"the number of spins must be at least 1, got {basis}")
        return int(basis), 1, None
    kind = type(basis).__name__
    if not kind.startswith("spin_basis"):
        raise UnsupportedError(
            f"a {kind} is no basis of spins; pass spin_basis_1d, spin_basis_general or the number of spins"
        )
    if int(getattr(basis, "sps", 2)) != 2:
        raise UnsupportedError("only spins 1/2 are supported, this basis has more states per site")
    n_sites = int(basis.N)
    blocks = {k: v for k, v in dict(getattr(basis, "blocks", {})).items() if v is not None}
    symmetric = sorted(set(blocks) - _TRIVIAL_BLOCKS)
    if symmetric:
        raise UnsupportedError(
            f"the basis is a block of the symmetry {', '.join(symmetric)}; its trace is another ensemble "
            "than that of all states. Leave the blocks out."
        )
    convention = getattr(basis, "_pauli", None)
    if convention is None:
        raise InvalidInputError(
            f"this {kind} does not say which convention its letters have; pass pauli=1, 0 or -1"
        )
    return n_sites, int(convention), _spins_up(basis, n_sites)


def _spins_up(basis: Any, n_sites: int) -> int | None:
    found = getattr(basis, "_Np", None)
    if found is None:
        return None
    if isinstance(found, int | np.integer):
        number = int(found)
        # spin_basis_1d counts the states of one sector; a mismatch means another meaning of the attribute.
        if getattr(basis, "_made_basis", True) and basis.Ns not in (comb(n_sites, number),):
            raise UnsupportedError(
                f"the basis has {basis.Ns} states, but {n_sites} sites with {number} up have "
                f"{comb(n_sites, number)}"
            )
        return number
    listed = list(found)
    if len(listed) == 1:
        return int(listed[0])
    raise UnsupportedError(
        f"the basis joins several numbers of spins up, {listed}; take one, or all states"
    )
