"""End to end in subprocesses, with fake distributions on PYTHONPATH."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

SUITE = ("--pyargs", "kakehashi_testing.suite", "-p", "no:cacheprovider", "-q", "-rs")
FAST = ("-k", "not scf and not calculator and not sampler and not guess")
SKIPPED_MODULES = 0 if find_spec("kakehashi_pyscf") else 2
"""Without the PySCF bridge the modules of SCF checks and of guesses skip as a whole, with their reason."""
Describe = Callable[..., None]


def test_importing_the_plugin_is_free() -> None:
    """Oracle: sys.modules of a fresh process; every pytest run of every user pays for this."""
    code = (
        "import sys, pytest; before = set(sys.modules); import kakehashi_testing.pytest_plugin; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"kakehashi_testing", "kakehashi_testing.pytest_plugin"}


def test_runs_without_the_option_are_left_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_nothing(): pass")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*kakehashi plugin:*")


def test_a_right_plugin_passes(pytester: pytest.Pytester, describe: Describe) -> None:
    describe("GoodFastPath")
    result = pytester.runpytest_subprocess(*SUITE, *FAST, "--kakehashi-plugin", "suite-test")
    outcomes = result.parseoutcomes()
    assert outcomes.get("failed", 0) == outcomes.get("errors", 0) == 0
    assert outcomes["passed"] >= 30
    assert outcomes.get("skipped", 0) == SKIPPED_MODULES


@pytest.mark.parametrize("name", ["no-such-plugin", "elsewhere:suite-test"])
def test_an_unknown_name_fails(pytester: pytest.Pytester, describe: Describe, name: str) -> None:
    describe("Good")
    result = pytester.runpytest_subprocess(*SUITE, "--kakehashi-plugin", name)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*unknown plugin '{name}'*suite-test*"])


def test_a_misspelt_name_gets_a_suggestion(pytester: pytest.Pytester, describe: Describe) -> None:
    describe("Good")
    result = pytester.runpytest_subprocess(*SUITE, "--kakehashi-plugin", "suit-test")
    result.stderr.fnmatch_lines(["*Did you mean 'suite-test'*"])


def test_a_broken_plugin_fails_with_its_cause(
    pytester: pytest.Pytester, fake_distribution: Describe
) -> None:
    fake_distribution("raise RuntimeError('half installed')")
    result = pytester.runpytest_subprocess(*SUITE, "--kakehashi-plugin", "suite-test")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*'fake-plugin:suite-test'*is broken*half installed*"])


def test_an_incompatible_plugin_fails(pytester: pytest.Pytester, describe: Describe) -> None:
    describe("Good", api_version=99)
    result = pytester.runpytest_subprocess(*SUITE, "--kakehashi-plugin", "suite-test")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*is incompatible*plugin API 99*"])


def test_no_name_at_all_fails(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess(*SUITE, *FAST)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    outcomes = result.parseoutcomes()
    assert "passed" not in outcomes
    result.stdout.fnmatch_lines(["*no plugin selected; name one with --kakehashi-plugin NAME*"])


def test_a_run_over_the_source_folder_leaves_the_suite_alone(pytester: pytest.Pytester) -> None:
    """Oracle: ``pytest .`` above a folder that holds the package collects nothing from the suite."""
    import kakehashi_testing

    package = Path(kakehashi_testing.__file__).parent
    # Installed, the package lies beside everybody else's tests.
    others = [f"--ignore={path}" for path in package.parent.iterdir() if path != package]
    result = pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "--collect-only", "-q", "--rootdir", ".", *others, package.parent
    )
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_a_factory_that_cannot_be_imported_fails(
    pytester: pytest.Pytester, describe: Describe
) -> None:
    describe("NoSuchClass")
    result = pytester.runpytest_subprocess(
        *SUITE, "-k", "test_factory_resolves", "--kakehashi-plugin", "suite-test"
    )
    result.assert_outcomes(failed=1, skipped=SKIPPED_MODULES)
    result.stdout.fnmatch_lines(["*cannot be imported*NoSuchClass*"])


def test_a_test_of_another_kind_says_why_it_is_skipped(
    pytester: pytest.Pytester, describe: Describe
) -> None:
    describe("Good")
    pytester.makepyfile("def test_sampler(kakehashi_sampler): pass")
    result = pytester.runpytest_subprocess(
        "-rs", "-p", "no:cacheprovider", "--kakehashi-plugin", "suite-test"
    )
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*for plugins of kind samplers; suite-test is of kind xc*"])


def test_own_tests_may_use_the_fixtures(pytester: pytest.Pytester, describe: Describe) -> None:
    describe("Good")
    pytester.makepyfile(
        "def test_mine(kakehashi_xc): assert kakehashi_xc.distribution == 'fake-plugin'"
    )
    result = pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "--kakehashi-plugin", "fake-plugin:suite_test",
        "--kakehashi-plugin", "suite-test",
    )  # fmt: skip
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["kakehashi plugin: suite-test (xc, fake-plugin 0.1)"])


MISTAKES = {
    "DetachedTau": ("test_vxc_is_derivative_of_energy_density", "-0"),
    "NanAtZero": ("test_vanishing_density_is_finite", "-1"),
    "WrongSecondFastPath": ("test_second_fast_path_matches_automatic_differentiation", "-0"),
    "SpinAsymmetric": ("test_spin_flip_symmetry", ""),
    "ClampsItsInput": ("test_input_is_untouched", "-0"),
    "Unpicklable": ("test_model_survives_pickling_and_deepcopy", ""),
    "Noisy": ("test_same_input_twice", ""),
    "NotAMetaGGA": ("test_announced_variables_matter", "-1"),
}


@pytest.mark.thorough
def test_the_suite_fails_on_each_mistake(
    pytester: pytest.Pytester, describe_many: Describe
) -> None:
    """Oracle: one functional per mistake, beside a right one that passes everything."""
    describe_many([*MISTAKES, "Good"])
    options = [
        argument
        for class_name in (*MISTAKES, "Good")
        for argument in ("--kakehashi-plugin", class_name.lower())
    ]
    modules = [f"kakehashi_testing.suite.test_{name}" for name in (
        "metadata", "pickling", "determinism", "xc_pointwise"
    )]  # fmt: skip
    result = pytester.runpytest_subprocess(
        "--pyargs", *modules, "-p", "no:cacheprovider", "-q", "-rf", *options
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    failed = {line.split()[1] for line in result.outlines if line.startswith("FAILED ")}
    for class_name, (test, spin) in MISTAKES.items():
        # The part in front depends on where the suite is installed.
        expected = f"::{test}[xc:fake-plugin:{class_name.lower()}{spin}]"
        assert any(name.endswith(expected) for name in failed), (expected, failed)
    assert not any(":good" in name for name in failed)
