from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from kakehashi_testing.errors import ConformanceError
from kakehashi_testing.process_state import STAGES, check_process_untouched, differences

LOADING, EVALUATING, EXCEPTION = STAGES
Describe = Callable[..., None]


def observe_in_subprocess(name: str = "suite-test") -> dict[str, dict[str, str]]:
    """Call ``observe`` where PYTHONPATH, which the fixtures set, is in effect."""
    code = (
        "import json; from kakehashi_testing.process_state import observe; "
        f"print(json.dumps(observe('xc', {name!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    result: dict[str, dict[str, str]] = __import__("json").loads(done.stdout)
    return result


def test_a_right_model_changes_nothing(describe: Describe) -> None:
    describe("Good")
    changes = observe_in_subprocess()
    assert changes == {LOADING: {}, EVALUATING: {}, EXCEPTION: {}}
    check_process_untouched(changes)


@pytest.mark.parametrize(
    ("class_name", "stage", "message"),
    [
        ("SetsDefaultDtypeOnLoad", LOADING, "torch.float32 became torch.float64"),
        ("Noisy", EVALUATING, "torch random state"),
        ("SetsEnvironmentOnUse", EVALUATING, "variables KAKEHASHI_TEST_LEAK changed"),
        ("LeaksAfterException", EXCEPTION, "torch.float32 became torch.float64"),
    ],
)
def test_each_leak_is_found_where_it_happens(
    describe: Describe, class_name: str, stage: str, message: str
) -> None:
    describe(class_name)
    changes = observe_in_subprocess()
    assert next(name for name, changed in changes.items() if changed) == stage
    with pytest.raises(ConformanceError, match=f"{stage} changed the process: .*{message}"):
        check_process_untouched(changes)


def test_listing_that_imports_torch_is_found(
    describe: Describe, fake_distribution: Describe
) -> None:
    """Oracle: the same plugin without the import passes (control)."""
    code = (
        "from kakehashi_testing.process_state import check_import_budget; "
        "check_import_budget('fake-plugin:suite-test')"
    )
    describe("Good")
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, capture_output=True)
    folder = os.environ["PYTHONPATH"]
    with open(f"{folder}/fake_plugin.py", "a", encoding="utf-8") as file:  # noqa: PTH123
        file.write("\nimport torch\n")
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "listing 'fake-plugin:suite-test' imports torch" in done.stderr


def test_differences_names_variables_but_not_their_values() -> None:
    found = differences(
        {"environment": {"A": "secret", "B": "1"}}, {"environment": {"B": "1", "C": "2"}}
    )
    assert found == {"environment": "variables A, C changed"}


def test_differences_lists_warning_filters() -> None:
    found = differences({"warning filters": ["a"]}, {"warning filters": ["b", "a"]})
    assert found == {"warning filters": "added ['b'], removed []"}
    assert differences({"warning filters": ["a"]}, {"warning filters": ["a"]}) == {}
