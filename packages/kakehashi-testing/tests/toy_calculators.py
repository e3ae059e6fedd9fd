"""A right calculator, and deliberately wrong ones; each mistake is one that real calculators have made."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Unpack

import numpy as np
from ase import Atoms
from ase.calculators.lj import LennardJones

from kakehashi_ase import Calculator, CalculatorOptions

CUTOFF = 5.0


class Good(Calculator):
    """Lennard-Jones by ASE with a smooth cutoff; an energy per atom from element, info and array."""

    implemented_properties = ("energy", "energies", "forces", "stress")
    registry_name = "suite-test"
    supported_elements = ("He", "Ne")
    watched_info = ("offset",)
    watched_arrays = ("weights",)
    cutoff_distances: Sequence[float] = (CUTOFF,)
    interaction_range = CUTOFF

    def __init__(
        self, *, depth: float = 0.2, length: float = 2.2, **common: Unpack[CalculatorOptions]
    ) -> None:
        super().__init__({"depth": depth, "length": length}, **common)

    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        results = self.lennard_jones(atoms, smooth=True)
        own = 0.3 * (atoms.numbers == 10) + atoms.info.get("offset", 0.0)
        own = own + 0.1 * np.asarray(atoms.arrays.get("weights", 0.0))
        energies = results["energies"] + own
        return {**results, "energies": energies, "energy": energies.sum()}

    def lennard_jones(self, atoms: Atoms, *, smooth: bool) -> dict[str, Any]:
        model = LennardJones(
            epsilon=self.parameters["depth"],
            sigma=self.parameters["length"],
            rc=CUTOFF,
            ro=0.7 * CUTOFF,
            smooth=smooth,
        )
        model.calculate(atoms)
        names = ["energies", "forces", *(["stress"] if "stress" in model.results else [])]
        return {name: np.array(model.results[name]) for name in names}


class WrongSign(Good):
    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        results = dict(super().evaluate(atoms, properties))
        return {**results, "forces": -results["forces"]}  # type: ignore[operator]


class SmallTermMissing(Good):
    """The energy has a term that the forces lack."""

    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        results = dict(super().evaluate(atoms, properties))
        distances = atoms.get_all_distances(mic=True)
        extra = 1e-3 * np.exp(-distances).sum()
        n = len(atoms)
        return {
            **results,
            "energy": results["energy"] + extra,  # type: ignore[operator]
            "energies": results["energies"] + extra / n,  # type: ignore[operator]
        }


class Friction(Good):
    """Forces with a part that is no gradient: it pumps energy in or out."""

    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        results = dict(super().evaluate(atoms, properties))
        center = atoms.positions - atoms.positions.mean(axis=0)
        return {**results, "forces": results["forces"] + 0.05 * np.cross([0, 0, 1], center)}  # type: ignore[operator]


class Leaking(Good):
    """Loses a little energy with every evaluation."""

    n_evaluations = 0

    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        self.n_evaluations += 1
        results = dict(super().evaluate(atoms, properties))
        return {**results, "energy": results["energy"] - 1e-6 * self.n_evaluations}  # type: ignore[operator]


class StressSign(Good):
    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        results = dict(super().evaluate(atoms, properties))
        return {**results, **({"stress": -results["stress"]} if "stress" in results else {})}  # type: ignore[operator]


class StressOrder(Good):
    """xx, yy, zz, xy, xz, yz: the order of other codes."""

    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        results = dict(super().evaluate(atoms, properties))
        if "stress" in results:
            results["stress"] = np.asarray(results["stress"])[[0, 1, 2, 5, 4, 3]]
        return results


class StressMatrix(Good):
    """A 3x3 stress, past the checks of the base class."""

    def calculate(self, *arguments: Any, **options: Any) -> None:
        super().calculate(*arguments, **options)
        if "stress" in self.results:
            s = self.results["stress"]
            self.results["stress"] = np.array(s)[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]]


class Single(Good):
    """float32 inside."""

    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        results = super().evaluate(atoms, properties)
        return {name: np.float32(value) for name, value in results.items()}


class Absolute(Good):
    """Coordinates matter, not distances."""

    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        results = dict(super().evaluate(atoms, properties))
        energies = results["energies"] + 0.01 * atoms.positions[:, 2]  # type: ignore[operator]
        return {
            **results,
            "energies": energies,
            "energy": energies.sum(),
            "forces": results["forces"] - np.array([0, 0, 0.01]),  # type: ignore[operator]
        }


class Chiral(Good):
    """A result per atom that tells left from right."""

    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        results = super().evaluate(atoms, properties)
        vectors = atoms.positions[:3] - atoms.positions.mean(axis=0)
        return {**results, "chirality": float(np.linalg.det(vectors))}


class FirstAtomSpecial(Good):
    """Depends on the order of the atoms."""

    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        results = dict(super().evaluate(atoms, properties))
        first = np.arange(len(atoms)) == 0
        energies = results["energies"] + 0.01 * first * atoms.numbers  # type: ignore[operator]
        return {**results, "energies": energies, "energy": energies.sum()}


class Averaged(Good):
    """An average where a sum belongs; forces fit."""

    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        results = super().evaluate(atoms, properties)
        return {name: np.asarray(value) / len(atoms) for name, value in results.items()}


class Everywhere(Good):
    """A result per atom that knows about all others."""

    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        results = super().evaluate(atoms, properties)
        spread = np.full(len(atoms), np.asarray(results["energies"]).std())
        return {**results, "mobility": spread}


class Truncated(Good):
    """The energy is shifted to zero at the cutoff, the forces jump."""

    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        return self.energy_of_pairs(atoms)

    def energy_of_pairs(self, atoms: Atoms) -> dict[str, object]:
        results = self.lennard_jones(atoms, smooth=False)
        return {**results, "energy": results["energies"].sum()}


class Unshifted(Truncated):
    """Energy and forces jump."""

    def energy_of_pairs(self, atoms: Atoms) -> dict[str, object]:
        results = super().energy_of_pairs(atoms)
        near = (atoms.get_all_distances(mic=True) < CUTOFF).sum() - len(atoms)
        edge = (self.parameters["length"] / CUTOFF) ** 6
        shift = 4.0 * self.parameters["depth"] * (edge**2 - edge)
        return {**results, "energy": results["energy"] + 0.5 * near * shift}  # type: ignore[operator]


class StalePositions(Good):
    """Notices moves only above 0.1 Å, as with a carelessly reused neighbor list."""

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        return super().check_state(atoms, tol=0.1)


class StaleInfo(Good):
    """Reads atoms.info but does not watch it in check_state."""

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        return [c for c in super().check_state(atoms, tol) if not c.startswith("info")]


class StaleArray(Good):
    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        return [c for c in super().check_state(atoms, tol) if not c.startswith("arrays")]


class NoCache(Good):
    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        return ["positions"]


class SharedBuffer(Good):
    """Hands out the buffer that it works in."""

    def calculate(self, *arguments: Any, **options: Any) -> None:
        super().calculate(*arguments, **options)
        buffer = self.__dict__.setdefault("buffer", np.zeros_like(self.results["forces"]))
        buffer[:] = self.results["forces"]
        self.results["forces"] = buffer


class NoCopies(Good):
    """get_property returns what is stored."""

    def get_property(self, name: str, atoms: Any = None, allow_calculation: bool = True) -> Any:
        super().get_property(name, atoms, allow_calculation)
        return self.results[name]


class MovesAtoms(Good):
    """Wraps the user's atoms."""

    def calculate(self, atoms: Any = None, *arguments: Any, **options: Any) -> None:
        super().calculate(atoms, *arguments, **options)
        atoms.positions += 1e-3
        self.atoms.positions += 1e-3


class NoFreeEnergy(Good):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.implemented_properties.remove("free_energy")


class EnergiesDoNotSum(Good):
    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        results = dict(super().evaluate(atoms, properties))
        return {**results, "energies": 2.0 * np.asarray(results["energies"])}


class NotFinite(Good):
    check_finite = False

    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        results = dict(super().evaluate(atoms, properties))
        forces = np.array(results["forces"])
        forces[0, 0] = np.nan
        return {**results, "forces": forces}


class StressOfNothing(Good):
    """Returns zeros where no stress is defined."""

    def get_property(self, name: str, atoms: Any = None, allow_calculation: bool = True) -> Any:
        if name == "stress" and not atoms.pbc.any():
            return np.zeros(6)
        return super().get_property(name, atoms, allow_calculation)


class WrongBatch(Good):
    """Structures of a batch see each other."""

    def evaluate_batch(
        self, structures: Sequence[Atoms], properties: Collection[str]
    ) -> list[Mapping[str, object]]:
        results = [dict(self.evaluate(atoms, properties)) for atoms in structures]
        return (
            [results[0], *results[:-1]]
            if len({len(a) for a in structures}) == 1
            else [
                {**one, "energy": one["energy"] + 1e-3 * (k > 0)}  # type: ignore[operator]
                for k, one in enumerate(results)
            ]
        )


class Unchecked(Good):
    """Runs the model on anything."""

    def _check_input(self, atoms: Atoms) -> None:
        pass


class NotJson(Good):
    def todict(self, skip_default: bool = False) -> dict[str, Any]:
        return {"model": object()}


class Anonymous(Good):
    registry_name = ""


class TakesAnything(Good):
    def __init__(self, depth: float = 0.2, **options: Any) -> None:
        super().__init__(depth=depth)


class Exempt(Good):
    """Says why checks do not apply, and would fail them."""

    interaction_range = None
    cutoff_distances = ()
    inapplicable_checks = {  # noqa: RUF012  never changed
        "locality": "every atom sees every other one",
        "cutoff": "nothing is cut off",
        "rotation": "made for one orientation",
    }
