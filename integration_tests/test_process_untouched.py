"""PySCF without our names gives the same bits, whatever of kakehashi is imported or switched on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from kakehashi_testing.process_state import differences

# One process per state, so that nothing of kakehashi can have been imported before.
PROGRAM = """
import json, sys

STATE = sys.argv[1]
if STATE != "without":
    import kakehashi_core.registry, kakehashi_testing.pytest_plugin
    import kakehashi_pyscf, kakehashi_ase, kakehashi_nnxc
    kakehashi_core.registry.plugins()

from pyscf import dft, gto, lib

# Sums in another order differ in the last bit; the states must not differ in the thread count.
lib.num_threads(1)

def totals():
    found = {}
    for name, atom, spin in (
        ("water", "O 0 0 0.12; H 0 0.76 -0.48; H 0 -0.79 -0.45", 0),
        ("amidogen", "N 0 0 0.14; H 0 0.81 -0.49; H 0 -0.83 -0.47", 1),
    ):
        mol = gto.M(atom=atom, spin=spin, basis="6-31g", verbose=0)
        for xc in ("pbe", "scan", "b3lyp"):
            mf = (dft.UKS if spin else dft.RKS)(mol, xc=xc)
            mf.grids.level = 1
            mf.kernel()
            found[f"{name}/{xc}"] = mf.e_tot.hex()
    return found

if STATE in ("without", "imported"):
    results = [totals()]
else:
    from kakehashi_pyscf import enable
    from pyscf.dft.numint import LibXCMixin
    from pyscf.dft import libxc
    with enable():
        assert LibXCMixin.libxc is not libxc
        inside = totals()
        # Used for real in between, so that "after" means after something happened.
        mol = gto.M(atom="He 0 0 0", basis="6-31g", verbose=0)
        assert dft.RKS(mol, xc="torch-pbe").run().converged
    assert LibXCMixin.libxc is libxc
    results = [inside, totals()]

if STATE == "without":
    assert not [name for name in sys.modules if name.startswith("kakehashi")]
print(json.dumps(results))
"""

STATE_PROGRAM = """
import json
import torch, pyscf.dft, pyscf.grad, ase.build, ase.calculators.calculator, ase.io
from kakehashi_testing.process_state import process_state
states = [process_state()]
import kakehashi_core.registry, kakehashi_testing.pytest_plugin
import kakehashi_pyscf, kakehashi_ase, kakehashi_nnxc, kakehashi_testing.conformance
kakehashi_core.registry.plugins()
states.append(process_state())
from pyscf import dft, gto
from kakehashi_pyscf import attach, enable
mol = gto.M(atom="H 0 0 0; F 0 0.1 0.95", basis="sto-3g", verbose=0)
with enable():
    mf = dft.RKS(mol, xc="torch-pbe").run()
    assert mf.converged
    states.append(process_state())
mf = attach(dft.RKS(mol), "torch-pbe").run()
mf.nuc_grad_method().kernel()
mf.TDA().run(nstates=1)
try:
    attach(dft.RKS(mol), "0.5*torch-pbe")
except ValueError:
    states.append(process_state())
print(json.dumps(states))
"""


def run(program: str, *arguments: str) -> Any:
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("KAKEHASHI_")},
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def untouched() -> dict[str, str]:
    """Energies in hexadecimal, from a process that never saw kakehashi."""
    (result,) = run(PROGRAM, "without")
    assert len(set(result.values())) == 6
    assert all(float.fromhex(energy) < -50.0 for energy in result.values())
    return dict(result)


def test_importing_kakehashi_changes_no_bit(untouched: dict[str, str]) -> None:
    """Oracle: PBE, SCAN and B3LYP totals of a process without kakehashi, to the last bit."""
    assert run(PROGRAM, "imported") == [untouched]


def test_enabling_kakehashi_changes_no_bit(untouched: dict[str, str]) -> None:
    """Oracle: the same totals, inside and after ``enable()``."""
    inside, after = run(PROGRAM, "enabled")
    assert inside == untouched
    assert after == untouched


def test_no_default_thread_count_random_state_or_filter_changes() -> None:
    """Oracle: the state of a process with torch, PySCF and ASE before kakehashi is imported."""
    before, *later = run(STATE_PROGRAM)
    assert len(later) == 3
    for name, after in zip(("importing", "enabled", "used, and failed"), later, strict=True):
        assert differences(before, after) == {}, name
