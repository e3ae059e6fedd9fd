"""What a calculator hands out: shapes, sums, cache, ownership, batches. eV, Å and their combinations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kakehashi_testing.calculator_samples import (
    bare,
    counted_calculations,
    displaced,
    fresh,
    has_volume,
    largest,
    offered,
    outcome,
    property_of,
    require_forces,
)
from kakehashi_testing.errors import ConformanceError, require
from kakehashi_testing.tolerances import tolerance

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from kakehashi_core.specs import CalculatorSpec

_PER_ATOM = {"energies": (), "forces": (3,), "stresses": (6,), "charges": (), "magmoms": ()}
_WHOLE = {"energy": (), "free_energy": (), "stress": (6,), "dipole": (3,), "magmom": ()}


def check_results(calculator: Calculator, atoms: Atoms) -> None:
    """Check shape, type and finiteness of every property, the free energy, and sums over atoms."""
    calculator = fresh(calculator)
    atoms = bare(atoms)
    names = calculator.implemented_properties
    if "energy" in names:
        require(
            "free_energy" in names,
            "free_energy is not implemented; optimizers, filters and numerical stresses ask for it",
        )
    for name in offered(calculator, atoms):
        value = np.asarray(calculator.get_property(name, atoms))
        shape = _WHOLE.get(name, value.shape)
        if name in _PER_ATOM:
            shape = (len(atoms), *_PER_ATOM[name])
        require(
            value.shape == shape,
            f"{name} has shape {value.shape}; ASE expects {shape}"
            + (" in Voigt order" if name == "stress" else ""),
        )
        indices = name not in {*_WHOLE, *_PER_ATOM} and value.dtype == np.int64
        require(
            value.dtype == np.float64 or indices, f"{name} is {value.dtype}; float64 is expected"
        )
        require(np.isfinite(value).all(), f"{name} is not finite")
    energy = property_of(calculator, "energy", atoms)
    for part in ("energies",):
        if part in names:
            excess = float(property_of(calculator, part, atoms).sum() - energy)
            require(
                abs(excess) <= tolerance("energy_sum") * max(1.0, len(atoms)),
                f"{part} sum to {excess:.1e} eV more than energy",
            )
    _check_missing_volume(calculator, atoms)


def _check_missing_volume(calculator: Calculator, atoms: Atoms) -> None:
    from ase.calculators.calculator import PropertyNotImplementedError

    if has_volume(atoms) and "stress" in calculator.implemented_properties:
        atoms = bare(atoms)
        atoms.pbc = False
    try:
        stress = calculator.get_property("stress", atoms)
    except PropertyNotImplementedError:
        return
    except Exception as error:
        if getattr(calculator, "inapplicable_checks", {}).get("free-space"):
            return
        raise ConformanceError(
            f"a stress that is not defined raises {type(error).__name__} ({error}); ASE expects "
            "PropertyNotImplementedError"
        ) from error
    raise ConformanceError(
        f"without a volume, or without offering it, the stress is {stress!r}; raise "
        "PropertyNotImplementedError"
    )


def check_caching(calculator: Calculator, atoms: Atoms, *, scf: bool = False) -> None:
    """Check that nothing is calculated twice, and nothing that has changed is answered from memory.

    Changed are, one after the other: a position, the cell, an element, and every watched key of ``info``
    and array. Each time the answer must be that of a copy which remembers nothing; if that refuses the
    structure, so must the calculator.
    """
    calculator = fresh(calculator)
    atoms = displaced(atoms)
    names = offered(calculator, atoms)
    with counted_calculations(calculator) as calls:
        for name in names:
            calculator.get_property(name, atoms)
        first = len(calls)
        for name in names:
            calculator.get_property(name, atoms)
        require(
            len(calls) == first,
            f"asking again for the same structure calculates again ({len(calls) - first} times for "
            f"{', '.join(names)})",
        )
        atoms.positions[0, 0] += 0.01
        calculator.get_property("energy", atoms)
        require(len(calls) > first, "a moved atom is answered from the cache: the energy is stale")
    for what, changed in _changes(calculator, atoms):
        remembered = outcome(lambda c=changed: calculator.get_property("energy", c))
        expected = outcome(lambda c=changed: fresh(calculator).get_property("energy", c))
        allowed = tolerance("scf_calculator_energy" if scf else "batched_single")
        require(
            remembered[0] == expected[0] and abs(remembered[1] - expected[1]) <= allowed,
            f"after a change of {what} the calculator says {_words(remembered)}, a copy without memory "
            f"{_words(expected)}: something stale is used",
        )
        # Back to where it was, so that the next change is a change from there.
        calculator.get_property("energy", atoms)


def _changes(calculator: Calculator, atoms: Atoms) -> list[tuple[str, Atoms]]:
    moved = bare(atoms)
    moved.positions[-1] += 0.02
    found = [("a position", moved)]
    if atoms.pbc.any():
        strained = bare(atoms)
        strained.set_cell(atoms.cell.array * 1.01)
        found.append(("the cell", strained))
    numbers = sorted(set(atoms.numbers))
    if len(numbers) > 1:
        swapped = bare(atoms)
        k = int(np.flatnonzero(atoms.numbers == numbers[0])[0])
        swapped.numbers[k] = numbers[-1]
        found.append(("an element", swapped))
    for key in getattr(calculator, "watched_info", ()):
        other = bare(atoms)
        other.info[key] = _another(other.info.get(key))
        found.append((f"atoms.info[{key!r}]", other))
    for key in getattr(calculator, "watched_arrays", ()):
        other = bare(atoms)
        old = other.arrays.get(key)
        new = np.arange(len(atoms)) % 2 if old is None else old[::-1].copy()
        other.set_array(key, new)
        found.append((f"atoms.arrays[{key!r}]", other))
    return found


def _another(value: Any) -> Any:
    if value is None:
        return 1
    array = np.asarray(value)
    return array + 1 if array.dtype.kind in "bif" else None


def _words(result: tuple[str, float]) -> str:
    return result[0] or f"{result[1]:.12g} eV"


def check_results_owned(calculator: Calculator, atoms: Atoms) -> None:
    """Check that writing into returned arrays changes nothing, and that nobody else writes into them."""
    calculator = fresh(calculator)
    atoms = displaced(atoms)
    forces = np.array(calculator.get_property("forces", atoms))
    require_forces(forces)
    calculator.get_property("forces", atoms)[:] = 0.0
    require(
        largest(calculator.get_property("forces", atoms) - forces) == 0.0,
        "writing into forces that get_property returned changes the stored forces; return copies",
    )
    kept = calculator.results["forces"]
    moved = displaced(atoms, seed=11)
    calculator.get_property("forces", moved)
    require(
        largest(kept - forces) == 0.0,
        "results of one structure are overwritten by the next evaluation; hand out fresh arrays, no "
        "buffer of the model",
    )
    calculator.results["forces"][:] = 0.0
    again = displaced(atoms, seed=11)
    calculator.reset()
    other = calculator.get_property("forces", again)
    require_forces(
        np.asarray(other), "after writing zeros into results the forces of a new evaluation"
    )


def check_atoms_untouched(calculator: Calculator, atoms: Atoms) -> None:
    """Check that an evaluation changes nothing about the structure that it is given."""
    calculator = fresh(calculator)
    given = displaced(atoms)
    before = bare(given)
    for name in offered(calculator, given):
        calculator.get_property(name, given)
    changed = [
        name
        for name in {*before.arrays, *given.arrays}
        if not np.array_equal(before.arrays.get(name, ()), given.arrays.get(name, ()))
    ]
    if not np.array_equal(before.cell.array, given.cell.array) or (before.pbc != given.pbc).any():
        changed.append("cell")
    if repr(before.info) != repr(given.info):
        changed.append("info")
    require(not changed, f"an evaluation changes {', '.join(changed)} of the user's structure")


def check_batch(
    calculator: Calculator,
    samples: Sequence[Atoms],
    *,
    scf: bool = False,
    dtype: str = "float64",
) -> None:
    """Check ``compute`` of many structures against each alone; one-atom structures are added."""
    require(
        hasattr(calculator, "compute"), f"{type(calculator).__name__} has no compute(structures)"
    )
    structures = [displaced(atoms, seed=k) for k, atoms in enumerate(samples)]
    for atoms in samples:
        alone = bare(atoms)[:1]
        if not outcome(lambda a=alone: _all_of(fresh(calculator), a))[0]:
            structures.insert(1, alone)
            break
    structures.append(displaced(samples[0], seed=23))
    names = [
        n
        for n in offered(calculator, samples[0])
        if all(n in offered(calculator, a) for a in structures)
    ]
    batched: Any = fresh(calculator)
    together = batched.compute(structures, names)
    require(
        len(together) == len(structures),
        f"compute returned {len(together)} results for {len(structures)} structures",
    )
    allowed = tolerance("batched_single", dtype)
    for k, (atoms, results) in enumerate(zip(structures, together, strict=True)):
        single = fresh(calculator)
        for name in names:
            require(name in results, f"compute left {name} out of the results of structure {k}")
            error = largest(results[name] - property_of(single, name, atoms))
            bound = allowed
            if scf:
                energy = name in ("energy", "free_energy")
                bound = tolerance("scf_calculator_energy" if energy else "scf_calculator_forces")
            require(
                error <= bound,
                f"{name} of structure {k} ({len(atoms)} atoms) differs by {error:.1e} between compute and "
                f"alone, allowed {bound:.0e}",
            )


def _all_of(calculator: Calculator, atoms: Atoms) -> list[object]:
    return [calculator.get_property(name, atoms) for name in offered(calculator, atoms)]


def check_matches_spec(calculator: Calculator, spec: CalculatorSpec) -> None:
    """Check that the calculator offers what its spec announces, in units that fit together."""
    announced, found = set(spec.implemented_properties), set(calculator.implemented_properties)
    require(
        announced == found,
        f"{spec.name}: the spec announces {sorted(announced)}, the calculator offers {sorted(found)}",
    )
    missing = sorted(announced - set(spec.units) - {"free_energy"})
    require(not missing, f"{spec.name}: units says nothing about {', '.join(missing)}")
    units = {name: _plain_unit(unit) for name, unit in spec.units.items()}
    energy = units["energy"]
    for name in ("free_energy", "energies"):
        require(
            units.get(name, energy) == energy,
            f"{spec.name}: {name} is in {units.get(name)}, energy in {energy}",
        )
    length = units.get("forces", f"{energy}/Å").removeprefix(f"{energy}/")
    require(
        "/" not in length,
        f"{spec.name}: forces are in {units.get('forces')}, which is not {energy} over a length",
    )
    if "stress" in announced:
        require(
            units["stress"] == f"{energy}/{length}^3",
            f"{spec.name}: stress is in {units['stress']}; with energy in {energy} and forces in "
            f"{energy}/{length} it must be in {energy}/{length}^3 (or ³)",
        )


def _plain_unit(unit: str) -> str:
    """Drop a remark in parentheses and spaces, and write powers in one way."""
    return unit.partition("(")[0].strip().replace("³", "^3").replace(" ", "")
