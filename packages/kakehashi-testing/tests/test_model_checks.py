from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np
import pytest

from kakehashi_core.registry import Plugin, State
from kakehashi_core.specs import CalculatorSpec, Citation, CommandSpec, Domain, XCSpec
from kakehashi_testing import model_checks as checks
from kakehashi_testing.errors import ConformanceError
from kakehashi_testing.evaluation import evaluator, interrupter

SPEC = XCSpec(
    name="suite-test",
    api_version=1,
    factory="faulty_functionals:Good",
    summary="a functional for testing the suite",
    citation=Citation(text="nobody"),
    units={"energy_density": "hartree bohr^-3"},
    samples=("H2O",),
    family="MGGA",
    max_deriv=3,
)
PLUGIN = Plugin(
    kind="xc",
    name="suite-test",
    distribution="fake-plugin",
    version="0.1",
    value="fake_plugin:plugin",
    state=State.OK,
    spec=SPEC,
)
evaluate: Any = evaluator(PLUGIN)


def test_a_complete_spec_passes() -> None:
    checks.check_spec(SPEC)
    checks.check_entry_point(PLUGIN)
    checks.check_spec(
        CommandSpec(name="demo-x", api_version=1, factory="a:b", summary="demo", verb="demo")
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"summary": " "}, "summary must be one line"),
        ({"summary": "two\nlines"}, "summary must be one line"),
        ({"citation": Citation(text="")}, "citation.text is empty"),
        ({"code_license": ""}, "code_license is empty"),
        ({"units": {}}, "units is empty"),
        ({"samples": ()}, "samples is empty"),
        ({"dtypes": ("float32",)}, "dtypes must offer 'float64'"),
        ({"checkpoint": "w.safetensors"}, "without weights_license"),
        ({"checkpoint": "w.safetensors", "weights_license": "MIT"}, "without a domain"),
        ({"name": "suite_test"}, "is not kebab-case"),
        ({"name": "suite-test-d3bj"}, "ends like a dispersion correction"),
        ({"name": "suite-3c"}, "ends like a dispersion correction"),
        ({"hybrid": 25.0}, "fraction of exact exchange"),
        ({"max_deriv": 0}, "needs at least 1"),
        ({"samples": (np.zeros(3),)}, "cannot be written as JSON"),
        ({"samples": (float("nan"),)}, "cannot be written as JSON"),
        ({"units": MappingProxyType({"energy": "eV"})}, "cannot be written as JSON"),
    ],
)
def test_each_gap_in_a_spec_is_found(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConformanceError, match=message):
        checks.check_spec(replace(SPEC, **changes))


def test_trained_weights_with_license_and_domain_pass() -> None:
    checks.check_spec(
        replace(
            SPEC, checkpoint="w.safetensors", weights_license="MIT", domain=Domain(elements=("H",))
        )
    )


def test_entry_point_must_agree_with_spec() -> None:
    with pytest.raises(ConformanceError, match="they must agree"):
        checks.check_entry_point(replace(PLUGIN, name="other"))
    with pytest.raises(ConformanceError, match="no spec could be read: gone"):
        checks.check_entry_point(replace(PLUGIN, spec=None, reason="gone"))
    with pytest.raises(ConformanceError, match="needs a XCSpec, got CalculatorSpec"):
        checks.check_entry_point(
            replace(
                PLUGIN,
                spec=CalculatorSpec(
                    name="suite-test", api_version=1, factory="a:b", summary="wrong kind"
                ),
            )
        )


@pytest.mark.parametrize("changes", [{"family": "GGA"}, {"hybrid": 0.25}, {"max_deriv": 2}])
def test_functional_must_match_its_spec(faulty: ModuleType, changes: dict[str, Any]) -> None:
    checks.check_functional_matches_spec(faulty.Good(), SPEC)
    with pytest.raises(ConformanceError, match=f"the spec announces {next(iter(changes))}"):
        checks.check_functional_matches_spec(faulty.Good(), replace(SPEC, **changes))
    with pytest.raises(ConformanceError, match="lacks one of family"):
        checks.check_functional_matches_spec(object(), SPEC)  # type: ignore[arg-type]


def test_a_right_model_passes(faulty: ModuleType) -> None:
    checks.check_pickling(faulty.Good(), evaluate)
    checks.check_deterministic(faulty.Good(), evaluate)
    checks.check_thread_count(faulty.Good(), evaluate)


@pytest.mark.parametrize(
    ("check", "name", "message"),
    [
        (checks.check_pickling, "Unpicklable", "cannot be pickled or copied"),
        (checks.check_pickling, "ForgetsWeights", "the pickled ForgetsWeights differs"),
        (checks.check_deterministic, "Noisy", "evaluating Noisy twice differs"),
        (checks.check_thread_count, "ThreadDependent", "with two threads differs"),
    ],
)
def test_each_mistake_of_a_model_is_found(
    faulty: ModuleType, check: Any, name: str, message: str
) -> None:
    with pytest.raises(ConformanceError, match=message):
        check(getattr(faulty, name)(), evaluate)


def test_constant_numbers_show_nothing() -> None:
    with pytest.raises(ConformanceError, match="nothing to compare"):
        checks.check_deterministic(object(), lambda _: np.zeros(5))


def test_a_nan_is_a_difference() -> None:
    values = iter([np.array([1.0, 2.0]), np.array([1.0, np.nan])])
    with pytest.raises(ConformanceError, match="differs by inf"):
        checks.check_deterministic(object(), lambda _: next(values))


def test_interruption_reaches_the_inside(faulty: ModuleType) -> None:
    """Control: the deliberate exception really comes out of the model, three times."""
    interrupt = interrupter(PLUGIN)
    assert interrupt is not None
    assert interrupt(faulty.Good()) == 3
