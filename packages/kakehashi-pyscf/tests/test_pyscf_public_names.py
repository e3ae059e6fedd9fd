from __future__ import annotations

import subprocess
import sys

import kakehashi_pyscf


def test_public_names_are_pinned_and_resolve():
    assert set(kakehashi_pyscf.__all__) == {
        "FixedDensity",
        "FunctionalLibrary",
        "GridResponseWarning",
        "PySCFCalculator",
        "SCFConvergenceError",
        "attach",
        "converge",
        "disable",
        "enable",
        "fixed_density",
        "is_enabled",
    }
    for name in set(kakehashi_pyscf.__all__) - {"PySCFCalculator"}:
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
