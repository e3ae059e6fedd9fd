"""The square of an exchange machine as world lines: a ring of two-spin gates in imaginary time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from numba import njit

from kakehashi_core.errors import InvalidInputError
from kakehashi_dbm.exchange_model import ExchangeModel

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Spins = npt.NDArray[np.int8]

PARALLEL, KEPT, SWAPPED = 0, 1, 2
"""What the two spins of a gate do; kept and swapped are antiparallel."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class WorldLines:
    """Gates in the order of imaginary time, and the pieces of world lines between them.

    Piece 2 g + k is the spin of site k of gate g after that gate, until the next gate on the site.

    Attributes:
        model: H.
        beta: Inverse temperature.
        bond_of: Bond of each gate, (n_gates,).
        lengths: Imaginary time of each gate, (n_gates,).
        before: Pieces that enter each gate, (n_gates, 2).
        boundaries: Pieces that are the spins between two symmetric steps, (n_steps, n_sites).
        fields: Longitudinal field times duration of each piece, (2 n_gates,).
    """

    model: ExchangeModel
    beta: float
    bond_of: IntArray = field(repr=False)
    lengths: FloatArray = field(repr=False)
    before: IntArray = field(repr=False)
    boundaries: IntArray = field(repr=False)
    fields: FloatArray = field(repr=False)

    @classmethod
    def thermal(cls, model: ExchangeModel, beta: float, n_steps: int) -> Self:
        """Return the lines of |Psi|^2: symmetric steps of beta / n_steps over all bonds, there and back.

        Args:
            model: H.
            beta: Inverse temperature, positive.
            n_steps: Even: half of them belong to Psi, half to its conjugate.

        Raises:
            InvalidInputError: If beta is not positive, n_steps is odd, or a spin has no bond.
        """
        if not (np.isfinite(beta) and beta > 0.0):
            raise InvalidInputError(f"beta is {beta!r}; it must be positive")
        if n_steps < 2 or n_steps % 2:
            raise InvalidInputError(f"the number of steps must be even, got {n_steps}")
        n_bonds = len(model.bonds)
        alone = set(range(model.n_sites)) - set(model.bonds.ravel().tolist())
        if alone:
            raise InvalidInputError(f"site {min(alone)} has no bond; treat it by itself")
        # Half a gate on each bond in order, then in reverse: the last bond's halves are one gate.
        once = [*range(n_bonds), *range(n_bonds - 2, -1, -1)]
        share = np.array([0.5] * (n_bonds - 1) + [1.0] + [0.5] * (n_bonds - 1))
        bond_of = np.tile(once, n_steps)
        lengths = np.tile(share, n_steps) * beta / n_steps
        n_gates = len(bond_of)
        last = np.full(model.n_sites, -1)
        before = np.zeros((n_gates, 2), dtype=np.int64)
        boundaries = np.zeros((n_steps, model.n_sites), dtype=np.int64)
        for _ in range(2):  # the second time around, every site has a last gate
            for gate, bond in enumerate(bond_of):
                if gate % len(once) == 0:
                    boundaries[gate // len(once)] = last
                before[gate] = last[model.bonds[bond]]
                last[model.bonds[bond]] = 2 * gate, 2 * gate + 1
        return cls(
            model=model,
            beta=float(beta),
            bond_of=bond_of,
            lengths=lengths,
            before=before,
            boundaries=boundaries,
            fields=_piece_fields(model, boundaries, beta / n_steps, 2 * n_gates),
        )

    @property
    def n_pieces(self) -> int:
        """Pieces of world lines."""
        return 2 * len(self.bond_of)

    def kinds(self, pieces: Spins) -> IntArray:
        """Return what each gate does, (n_chains, n_gates); -1 where spins are not conserved.

        Args:
            pieces: +1 and -1, (n_chains, n_pieces).
        """
        return np.asarray(_kinds(np.ascontiguousarray(pieces, dtype=np.int8), self.before))

    def gate_weights(self) -> FloatArray:
        """Return the weights of parallel, kept and swapped of each gate, (n_gates, 3)."""
        jz, jx = self.model.along[self.bond_of], self.model.across[self.bond_of]
        x = 2.0 * self.lengths * jx
        return np.stack(
            [
                np.exp(-self.lengths * jz),
                np.exp(self.lengths * jz) * np.cosh(x),
                np.exp(self.lengths * jz) * np.sinh(x),
            ],
            axis=1,
        )

    def log_weight(self, pieces: Spins) -> FloatArray:
        """Return the logarithm of the weight, (n_chains,); minus infinity where spins are not conserved."""
        logs = _chosen_sums(self.kinds(pieces), np.log(self.gate_weights()), self._gates, 1)
        return np.asarray(logs[:, 0] + pieces @ self.fields)

    def features(self, pieces: Spins) -> FloatArray:
        """Return which of its three kinds each gate is, and all pieces, (n_chains, 3 n_gates + n_pieces)."""
        kinds = self.kinds(pieces)[..., None] == np.arange(3)
        return np.concatenate([kinds.reshape(len(pieces), -1), pieces], axis=1).astype(float)

    def boundary_spins(self, pieces: Spins) -> Spins:
        """Return the spins between steps, (n_chains, n_steps, n_sites)."""
        return np.asarray(pieces[:, self.boundaries])

    def energies(self, pieces: Spins) -> FloatArray:
        """Return estimates of the energy, -d ln(weight) / d beta, (n_chains,).

        Its mean is that of the Trotter product, whose error falls as the square of a step.
        """
        fields = pieces @ (self.fields / self.beta)
        return np.asarray(self.model.constant + self.bond_energies(pieces).sum(axis=1) - fields)

    def bond_energies(self, pieces: Spins) -> FloatArray:
        """Return estimates of Jz z z - Jx (x x + y y) of each bond, (n_chains, n_bonds)."""
        jz, jx = self.model.along[self.bond_of], self.model.across[self.bond_of]
        x = 2.0 * self.lengths * jx
        slopes = np.stack([-jz, jz + 2.0 * jx * np.tanh(x), jz + 2.0 * jx / np.tanh(x)], axis=1)
        shares = slopes * (-self.lengths / self.beta)[:, None]
        n_bonds = len(self.model.bonds)
        return np.asarray(_chosen_sums(self.kinds(pieces), shares, self.bond_of, n_bonds))

    @property
    def _gates(self) -> IntArray:
        """Return one group for all gates."""
        return np.zeros(len(self.bond_of), dtype=np.int64)


def _compiled(function: Any) -> Any:
    return njit(cache=True)(function)


@_compiled
def _kinds(pieces: Spins, before: IntArray) -> IntArray:
    """Return what each gate does, (n_chains, n_gates); -1 where spins are not conserved."""
    n_chains, n_gates = len(pieces), len(before)
    found = np.empty((n_chains, n_gates), dtype=np.int64)
    for chain in range(n_chains):
        for g in range(n_gates):
            a, b = pieces[chain, 2 * g], pieces[chain, 2 * g + 1]
            c, d = pieces[chain, before[g, 0]], pieces[chain, before[g, 1]]
            if a == c and b == d:
                found[chain, g] = PARALLEL if a == b else KEPT
            else:
                found[chain, g] = SWAPPED if a == d and b == c else -1
    return found


@_compiled
def _chosen_sums(kinds: IntArray, table: FloatArray, group: IntArray, n_groups: int) -> FloatArray:
    """Return sums over gates of a group of what the table has for their kind, (n_chains, n_groups)."""
    n_chains, n_gates = kinds.shape
    found = np.zeros((n_chains, n_groups))
    for chain in range(n_chains):
        for g in range(n_gates):
            k = kinds[chain, g]
            found[chain, group[g]] += table[g, k] if k >= 0 else -np.inf
    return found


def _piece_fields(
    model: ExchangeModel, boundaries: IntArray, step: float, n_pieces: int
) -> FloatArray:
    """Return fields of pieces: exp(step h z) stands at every boundary between steps."""
    found = np.zeros(n_pieces)
    for pieces in boundaries:
        np.add.at(found, pieces, step * model.longitudinal)
    return found
