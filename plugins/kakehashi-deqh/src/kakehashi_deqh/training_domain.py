"""What a model was trained on, and whether a molecule is like that; no Fock matrix is needed to tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from kakehashi_core.contracts import GuessRequest
from kakehashi_core.errors import CheckpointError
from kakehashi_deqh.atomic_units import BOHR

FloatArray = npt.NDArray[np.float64]

SYMBOLS = (
    "X",
    "H",
    "He",
    "Li",
    "Be",
    "B",
    "C",
    "N",
    "O",
    "F",
    "Ne",
    "Na",
    "Mg",
    "Al",
    "Si",
    "P",
    "S",
    "Cl",
    "Ar",
)
SHORTEST = 0.3 / BOHR
"""Distance, bohr, below which coordinates are in the wrong unit or atoms lie on each other."""
MARGIN = 0.02
"""Share by which distances may be outside what was seen."""
REACH = 4.5
"""Distances up to this, bohr, are compared with those of a training set of many molecules: bonds, and pairs
at one atom. Larger molecules have longer ones; parts further apart than this are not one molecule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingDomain:
    """What was seen in training.

    Attributes:
        fingerprint: Functional and basis sets, see ``kakehashi_pyscf``; empty for no restriction.
        distances: Shortest and longest distance that was seen, within ``reach``, of each pair of elements,
            "H-O" for instance, bohr.
        formulas: Composition to the estimated energy error of PySCF's first density there, hartree.
        largest: Number of atoms of the largest molecule.
        same_compositions: Whether only these compositions are inside: models of one molecule.
    """

    fingerprint: Mapping[str, str] = field(default_factory=dict)
    distances: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    formulas: Mapping[str, float] = field(default_factory=dict)
    largest: int = 0
    same_compositions: bool = False

    @property
    def reach(self) -> float:
        """Distances up to this, bohr, are compared."""
        return np.inf if self.same_compositions else REACH

    def outside(self, request: GuessRequest) -> tuple[str, ...]:
        """Return in which ways a molecule is not like the training set; empty if it is."""
        remarks = list(self.refusals(request))
        if remarks:
            return tuple(remarks)
        name = formula(request.numbers)
        if self.same_compositions and name not in self.formulas:
            remarks.append(f"{name} was not trained on; it knows {', '.join(self.formulas)}")
        n_parts = _n_parts(request.positions, self.reach)
        if n_parts > 1:
            remarks.append(
                f"{n_parts} parts are more than {self.reach * BOHR:.1f} Å apart; only single molecules were "
                "trained on"
            )
        extremes = _extremes(request.numbers, request.positions, self.reach)
        for pair, (shortest, longest) in extremes.items():
            if pair not in self.distances:
                remarks.append(f"no distance {pair} like {shortest * BOHR:.2f} Å was trained on")
                continue
            low, high = self.distances[pair]
            found = [d for d in (shortest,) if d < low * (1.0 - MARGIN)]
            found += [d for d in (longest,) if d > min(high * (1.0 + MARGIN), self.reach)]
            if found:
                told = " and ".join(f"{d * BOHR:.2f}" for d in found)
                remarks.append(
                    f"a distance {pair} is {told} Å; trained on {low * BOHR:.2f} to {high * BOHR:.2f}"
                )
        return tuple(remarks)

    def refusals(self, request: GuessRequest) -> tuple[str, ...]:
        """Return why nothing can be predicted at all; empty if it can."""
        remarks = []
        if request.charge or request.spin:
            remarks.append(
                f"charge {request.charge} and {request.spin} unpaired electrons; only neutral closed shells "
                "are predicted"
            )
        known = {k.removeprefix("basis ") for k in self.fingerprint if k.startswith("basis ")}
        present = {symbol(z) for z in request.numbers}
        if known and present - known:
            remarks.append(
                f"elements {', '.join(sorted(present - known))} were not trained on; it knows "
                f"{', '.join(sorted(known))}"
            )
        for key, value in self.fingerprint.items():
            if key == "grid" or key not in request.fingerprint:
                continue
            if request.fingerprint[key] != value:
                what = "functional" if key == "xc" else key.replace("basis ", "basis set for ")
                remarks.append(f"another {what} than in training")
        if len(request.numbers) > 1:
            distances = cdist(request.positions, request.positions)
            shortest = float(distances[~np.eye(len(distances), dtype=bool)].min())
            if shortest < SHORTEST:
                remarks.append(
                    f"two atoms are {shortest * BOHR:.3f} Å apart; is the geometry in another unit?"
                )
        return tuple(remarks)

    def reference_error(self, numbers: npt.NDArray[np.int64]) -> float:
        """Return the estimated energy error of PySCF's first density, hartree."""
        name = formula(numbers)
        if name in self.formulas:
            return self.formulas[name]
        if not self.formulas:
            return float("inf")
        return float(np.median(list(self.formulas.values())))

    @classmethod
    def of(
        cls,
        requests: Sequence[GuessRequest],
        reference_errors: Iterable[float],
        *,
        same_compositions: bool,
    ) -> Self:
        """Return the domain of a training set.

        Args:
            requests: What was known about each molecule.
            reference_errors: Estimated energy error of PySCF's first density of each, hartree.
            same_compositions: See the class.
        """
        reach = np.inf if same_compositions else REACH
        distances: dict[str, tuple[float, float]] = {}
        errors: dict[str, list[float]] = {}
        fingerprint: dict[str, str] = {}
        for request, error in zip(requests, reference_errors, strict=True):
            fingerprint.update(request.fingerprint)
            errors.setdefault(formula(request.numbers), []).append(float(error))
            for pair, (low, high) in _extremes(request.numbers, request.positions, reach).items():
                before = distances.get(pair, (low, high))
                distances[pair] = (min(low, before[0]), max(high, before[1]))
        return cls(
            fingerprint=fingerprint,
            distances=distances,
            formulas={k: float(np.median(v)) for k, v in sorted(errors.items())},
            largest=max(len(r.numbers) for r in requests),
            same_compositions=same_compositions,
        )

    def merged(self, other: Self) -> Self:
        """Return the domain of both training sets together."""
        distances = dict(self.distances)
        for pair, (low, high) in other.distances.items():
            before = distances.get(pair, (low, high))
            distances[pair] = (min(low, before[0]), max(high, before[1]))
        return type(self)(
            fingerprint={**self.fingerprint, **other.fingerprint},
            distances=distances,
            formulas={**self.formulas, **other.formulas},
            largest=max(self.largest, other.largest),
            same_compositions=self.same_compositions and other.same_compositions,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "fingerprint": dict(self.fingerprint),
            "distances": {k: list(v) for k, v in self.distances.items()},
            "formulas": dict(self.formulas),
            "largest": self.largest,
            "same_compositions": self.same_compositions,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return what ``to_json`` wrote.

        Raises:
            CheckpointError: If a field is missing.
        """
        try:
            return cls(
                fingerprint=dict(data["fingerprint"]),
                distances={k: (float(a), float(b)) for k, (a, b) in data["distances"].items()},
                formulas={k: float(v) for k, v in data["formulas"].items()},
                largest=int(data["largest"]),
                same_compositions=bool(data["same_compositions"]),
            )
        except KeyError as error:
            raise CheckpointError(f"the training domain has no field {error}") from error


def formula(numbers: Iterable[int]) -> str:
    """Return a composition, "C2H6O"."""
    counts = Counter(symbol(int(z)) for z in numbers)
    return "".join(f"{s}{n if n > 1 else ''}" for s, n in sorted(counts.items()))


def symbol(number: int) -> str:
    """Return the symbol of an element; "Z26" for those that no model knows."""
    return SYMBOLS[number] if 0 < number < len(SYMBOLS) else f"Z{number}"


def _extremes(
    numbers: npt.NDArray[np.int64], positions: FloatArray, reach: float
) -> dict[str, tuple[float, float]]:
    """Return the shortest and longest distance within reach of each pair of elements."""
    distances = cdist(positions, positions)
    found: dict[str, tuple[float, float]] = {}
    for i in range(len(numbers)):
        for j in range(i):
            d = float(distances[i, j])
            if d < reach:
                pair = "-".join(sorted((symbol(int(numbers[i])), symbol(int(numbers[j])))))
                low, high = found.get(pair, (d, d))
                found[pair] = (min(low, d), max(high, d))
    return found


def _n_parts(positions: FloatArray, reach: float) -> int:
    """Return how many parts are further than that from each other."""
    return int(connected_components(cdist(positions, positions) < reach, directed=False)[0])
