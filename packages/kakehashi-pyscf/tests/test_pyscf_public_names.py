from __future__ import annotations

import subprocess
import sys

import kakehashi_pyscf


def test_public_names_are_pinned_and_resolve():
    assert set(kakehashi_pyscf.__all__) == {
        "FixedDensity",
        "FunctionalLibrary",
        "GridResponseWarning",
        "GuessOutcome",
        "HamiltonianCalculator",
        "PySCFCalculator",
        "SCFConvergenceError",
        "SCFRecord",
        "attach",
        "converge",
        "counted_builds",
        "disable",
        "enable",
        "enable_initial_guesses",
        "estimated_energy_error",
        "fixed_density",
        "guess_request",
        "initial_guess",
        "is_enabled",
        "record_scf",
    }
    for name in set(kakehashi_pyscf.__all__) - {"HamiltonianCalculator", "PySCFCalculator"}:
        assert callable(getattr(kakehashi_pyscf, name))


def test_importing_the_package_imports_neither_pyscf_nor_torch():
    code = (
        "import sys, kakehashi_pyscf, kakehashi_pyscf._entry_points;"
        "print([m for m in ('pyscf', 'torch', 'ase') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
