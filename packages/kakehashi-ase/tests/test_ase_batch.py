"""Many structures at once: the same results, checks and cache as one by one."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Mapping, Sequence
from typing import Unpack

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

from kakehashi_ase import (
    Calculator,
    CalculatorInputError,
    CalculatorOptions,
    NonFiniteResultError,
    UnsupportedElementError,
)


class Springs(Calculator):
    """Springs of every atom to the origin, shifted by a field; counts structures and calls."""

    implemented_properties = ("energy", "energies", "forces", "stress")
    supported_elements = ("H", "He")
    watched_info = ("field",)

    def __init__(self, *, k: float = 1.0, **common: Unpack[CalculatorOptions]) -> None:
        self.evaluated: list[int] = []
        super().__init__({"k": k}, **common)

    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        self.evaluated.append(len(atoms))
        k, field = self.parameters["k"], atoms.info.get("field", 0.0)
        energies = 0.5 * k * (atoms.positions**2).sum(axis=1) + field
        results = {"energy": energies.sum(), "energies": energies, "colors": np.arange(len(atoms))}
        if "forces" in properties:
            results["forces"] = -k * atoms.positions
        if "stress" in properties:
            results["stress"] = np.arange(6.0)
        atoms.positions[:] = np.nan
        return results


class Batched(Springs):
    """All structures in one go."""

    def evaluate_batch(
        self, structures: Sequence[Atoms], properties: Collection[str]
    ) -> Sequence[Mapping[str, object]]:
        self.sizes = [len(atoms) for atoms in structures]
        positions = np.concatenate([atoms.positions for atoms in structures])
        energies = 0.5 * self.parameters["k"] * (positions**2).sum(axis=1)
        parts = np.split(energies, np.cumsum(self.sizes)[:-1])
        fields = [a.info.get("field", 0.0) for a in structures]
        return [
            {
                "energy": (part + f).sum(),
                "energies": part + f,
                "forces": -self.parameters["k"] * a.positions,
            }
            for part, f, a in zip(parts, fields, structures, strict=True)
        ]


@pytest.fixture
def structures() -> list[Atoms]:
    rng = np.random.default_rng(1)
    return [Atoms(f"He{n}", positions=rng.uniform(0.5, 2.0, (n, 3))) for n in (3, 1, 2)]


@pytest.mark.parametrize("cls", [Springs, Batched])
def test_batch_equals_single(cls: type[Springs], structures: list[Atoms]) -> None:
    """Oracle: each structure alone."""
    structures[1].info["field"] = 3.0
    together = cls(k=2.0).compute(structures, ["energy", "forces"])
    for atoms, results in zip(structures, together, strict=True):
        atoms.calc = Springs(k=2.0)
        assert results["energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-12)
        assert results["free_energy"] == results["energy"]
        assert results["forces"] == pytest.approx(atoms.get_forces(), abs=0)
        assert np.abs(results["forces"]).max() > 1.0
        assert results["energies"].sum() == pytest.approx(results["energy"], abs=1e-12)


def test_no_structure_and_default_property() -> None:
    calc = Springs()
    assert calc.compute([]) == []
    (results,) = calc.compute([Atoms("H", positions=[[1.0, 0, 0]])])
    assert results["energy"] == 0.5
    assert "forces" not in results


def test_structures_and_results_belong_to_the_caller(structures: list[Atoms]) -> None:
    """Springs spoils the atoms that it is given; the caller spoils the results."""
    calc, before = Springs(), [atoms.copy() for atoms in structures]
    results = calc.compute(structures, ["forces"])
    assert all(a == b for a, b in zip(structures, before, strict=True))
    results[0]["forces"][:] = 0.0
    results[0].clear()
    again = calc.compute(structures, ["forces"])
    assert np.abs(again[0]["forces"]).max() > 0.1
    assert len(calc.evaluated) == 3


def test_only_what_changed_is_evaluated_again(structures: list[Atoms]) -> None:
    calc = Batched()
    calc.compute(structures)
    assert calc.sizes == [3, 1, 2]
    structures[1].positions += 0.1
    structures[2].info["field"] = 1.0
    structures[0].info["comment"] = "not read by the model"
    first = calc.compute(structures)
    assert calc.sizes == [1, 2]
    assert first[2]["energy"] == Springs().compute(structures)[2]["energy"]
    structures[2].info["field"] = 2.0
    second = calc.compute(structures)
    assert calc.sizes == [2]
    assert second[2]["energy"] - first[2]["energy"] == pytest.approx(2.0, abs=1e-12)


def test_a_missing_property_is_evaluated_and_joined(structures: list[Atoms]) -> None:
    calc = Springs()
    calc.compute(structures, ["energy"])
    results = calc.compute(structures, ["forces"])
    assert len(calc.evaluated) == 6
    assert all({"energy", "forces"} <= set(one) for one in results)
    calc.compute(structures, ["energy", "forces"])
    assert len(calc.evaluated) == 6


def test_the_stored_single_result_is_used_and_kept(structures: list[Atoms]) -> None:
    calc = Springs()
    structures[2].calc = calc
    energy = structures[2].get_potential_energy()
    results = calc.compute(structures)
    assert calc.evaluated == [2, 3, 1]
    assert results[2]["energy"] == energy
    assert structures[2].get_potential_energy() == energy
    assert calc.evaluated == [2, 3, 1]


def test_an_option_discards_the_batch(structures: list[Atoms]) -> None:
    """Oracle: energies are proportional to k."""
    calc = Springs()
    before = calc.compute(structures)
    calc.set(k=2.0)
    after = calc.compute(structures)
    assert after[0]["energy"] == pytest.approx(2 * before[0]["energy"], rel=1e-12)
    twin = pickle.loads(pickle.dumps(calc))
    assert twin.compute(structures)[0]["energy"] == after[0]["energy"]


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (
            lambda a: a.positions.__setitem__((1, 2), np.nan),
            CalculatorInputError,
            "atom 1.*z = nan",
        ),
        (lambda a: a.numbers.__setitem__(0, 6), UnsupportedElementError, "does not support C"),
        (lambda a: a.__delitem__(slice(None)), CalculatorInputError, "has no atoms"),
    ],
)
def test_a_bad_structure_is_named_before_the_model_runs(
    structures: list[Atoms], spoil: object, error: type[Exception], message: str
) -> None:
    spoil(structures[2])  # type: ignore[operator]
    calc = Springs()
    with pytest.raises(error, match=f"structure 2 of the batch: .*{message}"):
        calc.compute(structures)
    assert calc.evaluated == []


def test_a_stress_needs_a_volume_in_every_structure(structures: list[Atoms]) -> None:
    for atoms in structures[:2]:
        atoms.set_cell([5, 5, 5])
        atoms.pbc = True
    calc = Springs()
    assert len(calc.compute(structures[:2], ["stress"])[0]["stress"]) == 6
    with pytest.raises(PropertyNotImplementedError, match="structure 2 of the batch: stress"):
        calc.compute(structures, ["stress"])
    with pytest.raises(PropertyNotImplementedError, match=r"structure 0 of the batch: .*'dipole'"):
        calc.compute(structures, ["dipole"])


def test_errors_of_the_model_carry_the_index(structures: list[Atoms]) -> None:
    class Failing(Springs):
        def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
            if len(atoms) == 1:
                raise RuntimeError("no convergence")
            return {"energy": np.nan if len(atoms) == 2 else 0.0}

    with pytest.raises(RuntimeError, match="no convergence") as failed:
        Failing().compute(structures)
    assert failed.value.__notes__ == ["structure 1 of the batch"]
    with pytest.raises(NonFiniteResultError, match="energy = nan") as nonfinite:
        Failing().compute([structures[0], structures[2]])
    assert nonfinite.value.__notes__ == ["structure 1 of the batch"]


def test_a_wrong_number_of_results_is_the_authors_mistake(structures: list[Atoms]) -> None:
    class Short(Springs):
        def evaluate_batch(
            self, structures: Sequence[Atoms], properties: Collection[str]
        ) -> Sequence[Mapping[str, object]]:
            return super().evaluate_batch(structures[1:], properties)

    with pytest.raises(TypeError, match="returned 2 results for 3 structures"):
        Short().compute(structures)
