"""Operators applied to a deep Boltzmann machine one after the other, each as a few more units.

The machine starts as the identity, Psi(s, s') = delta(s, s'). An operator that acts on the physical spins
makes new units for the spins after it; the units before become deep ones, or stay as ancillas.

Source:
    Y. Nomura, N. Yoshioka, F. Nori, Phys. Rev. Lett. 127, 060601 (2021); G. Carleo, Y. Nomura, M. Imada,
    Nat. Commun. 9, 5322 (2018). The forms here were derived anew.
"""

from __future__ import annotations

import cmath
import math
from typing import Literal

import numpy as np

from kakehashi_core.errors import InvalidInputError
from kakehashi_dbm.boltzmann_machine import BoltzmannMachine

ExchangeForm = Literal["two-deep", "one-deep"]


class MachineBuilder:
    """A machine that grows.

    Args:
        n_sites: Physical spins.
        ancillas_apart: Tie ancillas to the first units by Bell pairs, with complex weights, instead of using
            them as the first units. The one-deep form of exchange needs it.
    """

    def __init__(self, n_sites: int, *, ancillas_apart: bool = False) -> None:
        self._n_sites = n_sites
        self._n_units = n_sites
        self._hidden: list[dict[int, complex]] = []
        self._bias: dict[int, complex] = {}
        self._log_factor: complex = 0.0
        # Units that another form of a gate made superfluous.
        self._removed: set[int] = set()
        self._apart = ancillas_apart
        # Unit that is the spin of each site now; ancillas are the units 0 ... n_sites - 1.
        self._now = list(range(n_sites))
        self._places = [(site, 0) for site in range(n_sites)]
        if ancillas_apart:
            for site in range(n_sites):
                unit = self._new_unit(site)
                self._bell_pair(unit, site)
                self._now[site] = unit

    def pair(self, first: int, second: int, strength: float) -> None:
        """Multiply by exp(strength z z) of two sites."""
        self._pair_factor(self._now[first], self._now[second], strength)

    def field(self, site: int, strength: float) -> None:
        """Multiply by exp(strength z) of a site."""
        unit = self._now[site]
        self._bias[unit] = self._bias.get(unit, 0.0) + strength

    def transverse(self, site: int, strength: float) -> None:
        """Multiply by exp(strength x) of a site.

        Raises:
            InvalidInputError: If the strength is not positive; turn the spin around z first.
        """
        if strength <= 0.0:
            raise InvalidInputError(f"a transverse field must be positive, got {strength!r}")
        before, after = self._now[site], self._new_unit(site)
        self._pair_factor(after, before, transverse_coupling(strength))
        self._log_factor += 0.5 * (_log_sinh(strength) + _log_cosh(strength))
        self._now[site] = after

    def exchange(
        self,
        first: int,
        second: int,
        jz: float,
        jx: float,
        step: float,
        *,
        form: ExchangeForm = "two-deep",
    ) -> None:
        """Multiply by exp(-step h) with h = jz z z - jx (x x + y y) of two sites.

        Args:
            first: Site.
            second: Another site.
            jz: Of z z.
            jx: Of the rest, not zero; where it is positive, so are all amplitudes. Turn spins of one
                sublattice around z first.
            step: Imaginary time, positive.
            form: Units that are added: two deep and five hidden, or one deep and three hidden with couplings
                that reach further.

        Raises:
            InvalidInputError: If jx is zero, or the step not positive.
        """
        if jx == 0.0 or step <= 0.0:
            raise InvalidInputError(
                f"jx must not be zero and step must be positive, got {jx!r} and {step!r}"
            )
        kept = -0.5 * (2.0 * step * jz + _log_cosh(2.0 * step * jx))
        swapped: complex = transverse_coupling(2.0 * step * abs(jx))
        if jx < 0.0:
            # The weight of swapped spins is negative.
            swapped += 0.5j * math.pi
        d1, d2 = self._now[first], self._now[second]
        s1, s2 = self._new_unit(first), self._new_unit(second)
        self._now[first], self._now[second] = s1, s2
        self._pair_factor(s1, s2, kept)
        self._log_factor += -step * jz - kept - swapped
        if form == "two-deep":
            signs = {s1: 1.0, s2: 1.0, d1: -1.0, d2: -1.0}
            for angle in (math.pi / 4.0, math.pi / 8.0):
                self._hidden.append({u: 1j * angle * c for u, c in signs.items()})
            self._pair_factor(s1, d1, 0.5 * swapped)
            self._pair_factor(s2, d2, 0.5 * swapped)
            self._log_factor -= math.log(4.0)
            return
        if not self._apart:
            raise InvalidInputError("the one-deep form needs ancillas_apart=True")
        # What the earlier second spin coupled to now couples to s1 + s2 - d1, which it equals.
        for units in self._hidden:
            if d2 in units:
                w = units.pop(d2)
                for unit, sign in ((s1, 1.0), (s2, 1.0), (d1, -1.0)):
                    units[unit] = units.get(unit, 0.0) + sign * w
        bias = self._bias.pop(d2, 0.0)
        for unit, sign in ((s1, 1.0), (s2, 1.0), (d1, -1.0)):
            self._bias[unit] = self._bias.get(unit, 0.0) + sign * bias
        third = 1j * math.pi / 6.0
        self._hidden.append({s1: third, s2: third, d1: -third})
        self._pair_factor(s1, d1, swapped)
        self._log_factor -= 0.5 * math.log(3.0)
        self._removed.add(d2)

    def turn_to_z(self, site: int, letter: str) -> None:
        """Apply the rotation that turns a Pauli matrix into z: none for z, H for x, H S^-1 for y."""
        if letter == "y":
            self.phase(site, 0.25 * math.pi)
        if letter != "z":
            self.hadamard(site)

    def turn_from_z(self, site: int, letter: str) -> None:
        """Undo ``turn_to_z``."""
        if letter != "z":
            self.hadamard(site)
        if letter == "y":
            self.phase(site, -0.25 * math.pi)

    def phase(self, site: int, angle: float) -> None:
        """Multiply by exp(i angle z) of a site."""
        unit = self._now[site]
        self._bias[unit] = self._bias.get(unit, 0.0) + 1j * angle

    def hadamard(self, site: int) -> None:
        """Multiply by (x + z) / sqrt(2) of a site: elements exp(i pi (1 - s) (1 - d) / 4) / sqrt(2)."""
        before, after = self._now[site], self._new_unit(site)
        quarter = 0.25j * math.pi
        self._pair_factor(after, before, quarter)
        for unit in (before, after):
            self._bias[unit] = self._bias.get(unit, 0.0) - quarter
        self._log_factor += quarter - 0.5 * math.log(2.0)
        self._now[site] = after

    def machine(self) -> BoltzmannMachine:
        """Return what was built."""
        for site in range(self._n_sites):
            if self._now[site] == site:
                # Nothing ever flipped this spin: it stays equal to its ancilla.
                unit = self._new_unit(site)
                self._bell_pair(unit, site)
                self._now[site] = unit
        deep = [
            u
            for u in range(self._n_sites, self._n_units)
            if u not in self._now and u not in self._removed
        ]
        order = {u: k for k, u in enumerate([*self._now, *range(self._n_sites), *deep])}
        weights = np.zeros((len(order), len(self._hidden)), dtype=np.complex128)
        for j, units in enumerate(self._hidden):
            for unit, w in units.items():
                weights[order[unit], j] = w
        bias = np.zeros(len(order), dtype=np.complex128)
        for unit, value in self._bias.items():
            bias[order[unit]] = value
        return BoltzmannMachine(
            n_sites=self._n_sites,
            weights=weights,
            unit_bias=bias,
            hidden_bias=np.zeros(len(self._hidden), dtype=np.complex128),
            log_factor=self._log_factor,
            places=np.array([self._places[u] for u in order], dtype=np.int64).reshape(-1, 2),
        )

    def _new_unit(self, site: int) -> int:
        self._places.append((site, self._places[self._now[site]][1] + 1))
        self._n_units += 1
        return self._n_units - 1

    def _pair_factor(self, first: int, second: int, strength: complex) -> None:
        """Add a hidden unit for exp(strength x y): 2 cosh(w (x + y)) with cosh 2w = exp(2 strength)."""
        if strength == 0.0:
            return
        if isinstance(strength, complex):
            half = 0.5 * cmath.acosh(cmath.exp(2.0 * strength))
            self._hidden.append({first: half, second: half})
            self._log_factor -= math.log(2.0) + strength
            return
        # For real strengths weights are real: of unlike sign where the strength is negative.
        size = abs(strength)
        # arcosh(e^{2k}) = 2k + log(1 + sqrt(1 - e^{-4k})), without overflow.
        w = 0.5 * (2.0 * size + math.log1p(math.sqrt(-math.expm1(-4.0 * size))))
        self._hidden.append({first: w, second: math.copysign(w, strength)})
        self._log_factor -= math.log(2.0) + size

    def _bell_pair(self, first: int, second: int) -> None:
        quarter = 1j * math.pi / 4.0
        self._hidden.append({first: quarter, second: -quarter})
        self._log_factor -= math.log(2.0)


def transverse_coupling(strength: float) -> float:
    """Return K with <s| exp(g x) |d> proportional to exp(K s d): (1/2) ln coth g."""
    return -0.5 * math.log(math.tanh(strength))


def _log_sinh(x: float) -> float:
    return x + math.log(-math.expm1(-2.0 * x)) - math.log(2.0)


def _log_cosh(x: float) -> float:
    return abs(x) + math.log1p(math.exp(-2.0 * abs(x))) - math.log(2.0)
