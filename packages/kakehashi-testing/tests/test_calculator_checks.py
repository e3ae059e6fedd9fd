"""Every check passes for a right calculator and fails for the mistake it is there for."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("kakehashi_ase", reason="checks of calculators need kakehashi-ase")

from ase import Atoms
from ase.build import bulk

from kakehashi_core.specs import CalculatorSpec
from kakehashi_testing import conformance as checks
from kakehashi_testing.conformance import ConformanceError

SOURCE = Path(__file__).with_name("toy_calculators.py")


def _load() -> ModuleType:
    name = "toy_calculators"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, SOURCE)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


toys = _load()


def cluster() -> Atoms:
    positions = [[0, 0, 0], [2.5, 0, 0], [0.3, 2.4, 0], [0.2, 0.5, 2.6], [2.4, 2.2, 0.9]]
    return Atoms("He3Ne2", positions=positions)


def crystal() -> Atoms:
    atoms = bulk("Ne", cubic=True, a=3.7)
    atoms.symbols[1] = "He"
    atoms.set_cell(
        atoms.cell.array @ [[1.03, 0.1, 0], [0, 0.98, 0.05], [0, 0, 1]], scale_atoms=True
    )
    atoms.rattle(0.1, seed=4)
    return atoms


SPEC = CalculatorSpec(
    name="suite-test",
    api_version=1,
    factory="toy_calculators:Good",
    summary="a calculator for testing the suite",
    units={"energy": "eV", "energies": "eV", "forces": "eV/Å", "stress": "eV/Å³"},
    implemented_properties=("energy", "free_energy", "energies", "forces", "stress"),
)

Check = Callable[[Any, Atoms], None]
STRUCTURES: dict[str, Callable[[], Atoms]] = {"cluster": cluster, "crystal": crystal}
CHECKS: dict[str, Check] = {
    "forces": checks.check_forces,
    "translation": checks.check_translation,
    "rotation": checks.check_rotation,
    "inversion": checks.check_inversion,
    "permutation": checks.check_permutation,
    "extensivity": checks.check_extensivity,
    "locality": checks.check_locality,
    "cutoff": checks.check_cutoff,
    "drift": partial(checks.check_drift, n_steps=200),
    "results": checks.check_results,
    "caching": checks.check_caching,
    "owned": checks.check_results_owned,
    "untouched": checks.check_atoms_untouched,
    "storage": checks.check_storage,
    "bad input": checks.check_bad_input,
    "unusual input": checks.check_unusual_input,
    "exception": checks.check_exception_safety,
}


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("name", CHECKS)
def test_a_right_calculator_passes(name: str, structure: str) -> None:
    CHECKS[name](toys.Good(), STRUCTURES[structure]())


def test_a_right_calculator_passes_the_other_checks() -> None:
    checks.check_stress(toys.Good(), crystal())
    checks.check_batch(toys.Good(), [cluster(), crystal()])
    checks.check_todict(toys.Good(), "suite-test")
    checks.check_unknown_option(toys.Good, "length")
    checks.check_matches_spec(toys.Good(), SPEC)
    checks.check_forces(toys.Good(), crystal(), n_directions=3, step=1e-3)
    checks.check_cutoff(toys.Truncated(), cluster(), smooth_derivatives=0)


@pytest.mark.parametrize(
    ("name", "toy", "message"),
    [
        ("forces", "WrongSign", "the force on atom .* the energy falls by"),
        ("forces", "SmallTermMissing", "difference .*, allowed 1e-06"),
        ("forces", "Single", "not smooth or not float64"),
        ("translation", "Absolute", "energy changes by .* under a translation"),
        ("rotation", "Absolute", "energy changes by .* under a rotation"),
        ("rotation", "Single", "changes by .* under a rotation.*float32 inside"),
        ("inversion", "Chiral", "chirality changes by .* under a inversion"),
        ("permutation", "FirstAtomSpecial", "under a permutation"),
        ("extensivity", "Averaged", "An average where a sum belongs"),
        (
            "locality",
            "Everywhere",
            "moving an atom changes mobility of an atom more than 5.0 Å away",
        ),
        ("locality", "Exempt", r"names no interaction_range; set it, or say why"),
        ("cutoff", "Truncated", r"the force of He-He jumps by .* at 5\.0000"),
        ("cutoff", "Unshifted", r"the energy of He-He jumps by .* at 5\.0000"),
        ("cutoff", "Exempt", "names no cutoff_distances"),
        ("drift", "Leaking", "the total energy drifts by -.* eV per atom and ps"),
        ("drift", "Friction", "by a factor of .*, not 4|the total energy drifts by"),
        ("drift", "WrongSign", "not 4|drifts by"),
        ("results", "NoFreeEnergy", "free_energy is not implemented"),
        ("results", "EnergiesDoNotSum", "energies sum to .* eV more than energy"),
        ("results", "NotFinite", "forces is not finite"),
        ("results", "StressOfNothing", "without a volume, or without offering it"),
        ("caching", "StalePositions", "answered from the cache"),
        ("caching", "StaleInfo", r"after a change of atoms.info\['offset'\]"),
        ("caching", "StaleArray", r"after a change of atoms.arrays\['weights'\]"),
        ("caching", "NoCache", "asking again for the same structure calculates again"),
        ("owned", "SharedBuffer", "overwritten by the next evaluation"),
        ("owned", "NoCopies", "writing into forces that get_property returned"),
        ("untouched", "MovesAtoms", "changes positions of the user's structure"),
        ("storage", "NotFinite", "comes back from|nothing to test"),
        ("bad input", "Unchecked", "a NaN coordinate (raises|is accepted)"),
    ],
)
def test_each_mistake_is_found(name: str, toy: str, message: str) -> None:
    with pytest.raises(ConformanceError, match=message):
        CHECKS[name](getattr(toys, toy)(), cluster())


@pytest.mark.parametrize(
    ("toy", "message"),
    [
        ("StressSign", "All signs are reversed"),
        ("StressOrder", r"the stress component (xy|yz) is"),
        ("StressMatrix", r"shape \(3, 3\); ASE expects \(6,\)"),
    ],
)
def test_each_mistake_of_a_stress_is_found(toy: str, message: str) -> None:
    with pytest.raises(ConformanceError, match=message):
        checks.check_stress(getattr(toys, toy)(), crystal())


def test_a_matrix_is_no_voigt_stress() -> None:
    with pytest.raises(ConformanceError, match=r"stress has shape \(3, 3\)"):
        checks.check_results(toys.StressMatrix(), crystal())


def test_mistakes_of_a_batch_are_found() -> None:
    with pytest.raises(ConformanceError, match="between compute and alone"):
        checks.check_batch(toys.WrongBatch(), [cluster(), crystal()])
    with pytest.raises(ConformanceError, match="between compute and alone"):
        checks.check_batch(toys.WrongBatch(), [cluster()])


def test_mistakes_of_options_are_found() -> None:
    with pytest.raises(ConformanceError, match="cannot be written as JSON"):
        checks.check_todict(toys.NotJson())
    with pytest.raises(ConformanceError, match="calls itself 'anonymous'"):
        checks.check_todict(toys.Anonymous(), "suite-test")
    with pytest.raises(ConformanceError, match="'no_such_option_at_all' is accepted"):
        checks.check_unknown_option(toys.TakesAnything)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"implemented_properties": ("energy",)}, "the calculator offers"),
        ({"units": {"energy": "eV", "energies": "eV", "forces": "eV/Å"}}, "nothing about stress"),
        ({"units": {**SPEC.units, "forces": "hartree/bohr"}}, "not eV over a length"),
        ({"units": {**SPEC.units, "stress": "GPa"}}, r"must be in eV/Å\^3"),
        ({"units": {**SPEC.units, "energies": "meV"}}, "energies is in meV"),
    ],
)
def test_mistakes_of_a_spec_are_found(changes: dict[str, Any], message: str) -> None:
    from dataclasses import replace

    with pytest.raises(ConformanceError, match=message):
        checks.check_matches_spec(toys.Good(), replace(SPEC, **changes))


def test_reduced_units_pass() -> None:
    from dataclasses import replace

    units = {
        "energy": "epsilon (eV for ASE)",
        "energies": "epsilon",
        "forces": "epsilon/sigma",
        "stress": "epsilon/sigma^3",
    }
    checks.check_matches_spec(toys.Good(), replace(SPEC, units=units))


def test_nothing_to_test_is_no_pass() -> None:
    """A symmetric crystal has no forces: whatever a calculator returns would agree."""
    with pytest.raises(ConformanceError, match="nothing to test: the forces are at most"):
        checks.check_forces(toys.Good(), bulk("Ne", a=4.2))
    with pytest.raises(ConformanceError, match="needs a periodic cell"):
        checks.check_stress(toys.Good(), cluster())
    with pytest.raises(ConformanceError, match="one atom cannot be permuted"):
        checks.check_permutation(toys.Good(), cluster()[:1])


def test_drift_in_reduced_units_and_two_dimensions() -> None:
    """Masses from the sample; a flat system stays flat."""
    atoms = Atoms("He4", positions=[[0, 0, 0], [2.5, 0, 0], [0.2, 2.4, 0], [2.6, 2.5, 0]])
    atoms.set_masses(np.ones(4))
    atoms.set_cell([5.2, 5.2, 12.0])
    atoms.pbc = [True, True, False]
    checks.check_drift(toys.Good(), atoms, timestep=0.02, n_steps=100)
    assert not atoms.get_momenta().any()


def test_calculators_of_ase_can_be_checked() -> None:
    """Oracle: ASE's own EMT, whose derivatives are right."""
    from ase.calculators.emt import EMT

    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=2)
    checks.check_forces(EMT(), atoms)
    checks.check_stress(EMT(), atoms)
