"""The suite on calculators, end to end in subprocesses, with a fake distribution on PYTHONPATH."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kakehashi_ase", reason="checks of calculators need kakehashi-ase")

pytest_plugins = ["pytester"]

SUITE = ("--pyargs", "kakehashi_testing.suite", "-p", "no:cacheprovider", "-q", "-rs")
SOURCE = Path(__file__).with_name("toy_calculators.py")
HEADER = """
from kakehashi_core.specs import CalculatorSpec, Citation

SAMPLES = (
    {
        "symbols": "He3Ne2",
        "positions": [[0, 0, 0], [2.5, 0, 0], [0.3, 2.4, 0], [0.2, 0.5, 2.6], [2.4, 2.2, 0.9]],
    },
    {
        "symbols": "HeNe3",
        "positions": [[0.1, 0, 0], [1.9, 1.8, 0], [1.8, 0, 1.9], [0, 1.9, 1.8]],
        "cell": [[3.8, 0.2, 0], [0, 3.6, 0.1], [0, 0, 3.7]],
        "pbc": True,
        "masses": [1.0, 1.0, 1.0, 1.0],
    },
)
FIELDS = dict(
    api_version=1, summary="a toy", citation=Citation(text="nobody"), samples=SAMPLES,
    units={"energy": "eV", "energies": "eV", "forces": "eV/Å", "stress": "eV/Å³"},
    implemented_properties=("energy", "free_energy", "energies", "forces", "stress"),
)
"""
Run = Callable[..., Any]


@pytest.fixture
def suite(pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Register toys (registry name to class name and changed fields) and run the suite on all of them."""

    def run(toys: Mapping[str, tuple[str, dict[str, Any]]], keywords: str) -> Any:
        folder = tmp_path / "site"
        info = folder / "fake_plugin-0.1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-plugin\nVersion: 0.1\n")
        lines, code = ["[kakehashi.calculators]"], HEADER
        for name, (toy, changes) in toys.items():
            fields = {"name": name, "factory": f"toy_calculators:{toy}", **changes}
            code += f"\ndef {name}():\n    return CalculatorSpec(**{{**FIELDS, **{fields!r}}})\n"
            lines.append(f"{name} = fake_plugin:{name}")
        (info / "entry_points.txt").write_text("\n".join([*lines, ""]))
        (folder / "fake_plugin.py").write_text(code)
        shutil.copy(SOURCE, folder)
        monkeypatch.setenv("PYTHONPATH", str(folder))
        selected = [part for name in toys for part in ("--kakehashi-plugin", name)]
        return pytester.runpytest_subprocess(*SUITE, *selected, "-k", keywords)

    return run


@pytest.mark.thorough
def test_a_right_calculator_passes(suite: Run) -> None:
    """Its registry name is not that of the class: the storage check sees the class's."""
    outcomes = suite({"good": ("Good", {})}, "not xc and not options_are_json").parseoutcomes()
    assert outcomes.get("failed", 0) == outcomes.get("errors", 0) == 0
    assert outcomes["passed"] >= 30


def test_wrong_calculators_fail(suite: Run) -> None:
    """Oracle: each toy fails the one test that is run on it."""
    toys = {
        "wrongsign": ("WrongSign", "test_forces", "*the force on atom*"),
        "stressmatrix": ("StressMatrix", "test_stress", "*the stress has shape (3, 3)*"),
        "staleinfo": ("StaleInfo", "test_cache", "*something stale is used*"),
        "unchecked": ("Unchecked", "test_bad_structures", "*a NaN coordinate*"),
        "truncated": ("Truncated", "test_no_jump", "*jumps by*"),
        "nosample": ("Good", "test_results_are_owned", "*spec.samples is empty*"),
        "molecule": ("Good", "test_stress", "*no sample of its spec is periodic*"),
    }
    changes: dict[str, dict[str, Any]] = {
        "nosample": {"samples": ()},
        "molecule": {"samples": ("N2",)},
    }
    keywords = " or ".join(f"({name} and {test})" for name, (_, test, _) in toys.items())
    result = suite(
        {name: (toy, changes.get(name, {})) for name, (toy, _, _) in toys.items()}, keywords
    )
    outcomes = result.parseoutcomes()
    assert (outcomes["failed"], outcomes["errors"]) == (6, 1)
    assert "passed" not in outcomes
    for _, _, message in toys.values():
        result.stdout.fnmatch_lines([message])


def test_checks_that_do_not_apply_say_why(suite: Run) -> None:
    """Control: forces are checked all the same; a declared jump is accepted."""
    toys = {"exempt": ("Exempt", {}), "jumping": ("Truncated", {"smooth_derivatives": 0})}
    keywords = "(exempt and (locality or cutoff or rotation or forces)) or (jumping and calculator_dynamics)"
    result = suite(toys, keywords)
    assert result.parseoutcomes()["passed"] == 2
    for reason in (
        "locality does not apply: every atom sees every other one",
        "cutoff does not apply: nothing is cut off",
        "rotation does not apply: made for one orientation",
        "forces that jump at the cutoff: no energy is conserved",
    ):
        result.stdout.fnmatch_lines([f"*{reason}"])
