"""Signs of matrix elements: which models have none, and which rotation removes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kakehashi_quspin.pauli_strings import PauliString
from kakehashi_quspin.spin_model import SpinModel

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Rotation:
    """Half a turn around z of some spins: x and y change their sign there.

    Attributes:
        sites: Which spins turn, (n_sites,).
    """

    sites: BoolArray

    def apply(self, terms: Mapping[PauliString, float]) -> dict[PauliString, float]:
        """Return terms in the rotated frame; applied again, they come back."""
        return {
            string: c * (-1.0) ** sum(a != "z" and bool(self.sites[i]) for i, a in string)
            for string, c in terms.items()
        }


def rotation_to_positive(model: SpinModel) -> Rotation | None:
    """Return a rotation after which no weight is negative, or None if there is none of this kind.

    Covers fields along x, and exchange on pairs of sites that flips both spins: -g x_i needs g > 0, and
    x_i x_j + y_i y_j the sign that antiferromagnets have on unlike sublattices. What remains must have no
    positive off-diagonal element; this is tested, not assumed.
    """
    n = model.n_sites
    # Graph of constraints: node n is a spin that does not turn.
    unlike: list[tuple[int, int, bool]] = []
    for string, c in model.terms.items():
        flips = [i for i, a in string if a != "z"]
        if len(flips) == 1 and string == ((flips[0], "x"),):
            unlike.append((flips[0], n, c > 0.0))
        elif len(flips) == 2 and [a for _, a in string] == ["x", "x"]:
            other = model.terms.get(((flips[0], "y"), (flips[1], "y")), 0.0)
            if c + abs(other) > 0.0 or c > 0.0:
                unlike.append((flips[0], flips[1], c > 0.0))
            elif c < 0.0:
                unlike.append((flips[0], flips[1], False))
    turned = _two_coloring(n + 1, unlike)
    if turned is None:
        return None
    rotation = Rotation(sites=(turned ^ turned[n])[:n])
    return rotation if is_stoquastic(rotation.apply(model.terms)) else None


def is_stoquastic(terms: Mapping[PauliString, float]) -> bool:
    """Return whether no off-diagonal element is positive or complex, exactly, for one- and two-spin terms.

    Elements that flip the same sites are sums over all strings with x or y there; letters z beside them
    change sign with the other spins, so that every sign of the sum is checked.
    """
    groups: dict[tuple[int, ...], list[tuple[PauliString, float]]] = {}
    for string, c in terms.items():
        flips = tuple(i for i, a in string if a != "z")
        if flips:
            groups.setdefault(flips, []).append((string, c))
    return all(_negative(flips, group) for flips, group in groups.items())


def _negative(flips: tuple[int, ...], group: list[tuple[PauliString, float]]) -> bool:
    sites = sorted({i for string, _ in group for i, _ in string})
    if len(sites) > 12:
        return False  # nobody writes such operators; better refused than slow
    for state in range(1 << len(sites)):
        spin = {s: 1 if state >> k & 1 else -1 for k, s in enumerate(sites)}
        element: complex = 0.0
        for string, c in group:
            factor: complex = c
            for i, a in string:
                # <s'| y |s> is i s, and <s'| x |s> is 1, for s' = -s.
                factor *= {"x": 1.0, "y": 1j * spin[i], "z": spin[i]}[a]
            element += factor
        if abs(complex(element).imag) > 1e-12 or complex(element).real > 1e-12:
            return False
    return len(flips) > 0


def _two_coloring(n: int, constraints: list[tuple[int, int, bool]]) -> BoolArray | None:
    """Return colors so that pairs differ where they must and agree where they must; None if impossible."""
    neighbors: list[list[tuple[int, bool]]] = [[] for _ in range(n)]
    for i, j, differ in constraints:
        neighbors[i].append((j, differ))
        neighbors[j].append((i, differ))
    color = np.full(n, -1)
    for start in range(n):
        if color[start] >= 0:
            continue
        color[start], reached = 0, [start]
        while reached:
            i = reached.pop()
            for j, differ in neighbors[i]:
                wanted = int(color[i]) ^ int(differ)
                if color[j] < 0:
                    color[j] = wanted
                    reached.append(j)
                elif color[j] != wanted:
                    return None
    return np.asarray(color == 1)
