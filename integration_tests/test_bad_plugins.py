"""Plugins that are broken, incompatible or in conflict disturb nobody, and their reason is shown."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

SPEC = """
from kakehashi_core.specs import Citation, XCSpec

def describe():
    return XCSpec(
        name={name!r}, api_version={api_version}, factory="math:sqrt", summary="impostor",
        citation=Citation(text="nobody"), units={{"energy_density": "hartree bohr^-3"}},
        samples=("H2O",), family="GGA",
    )
"""

RUN_TORCH_PBE = """
import sys
from pyscf import dft, gto
from kakehashi_pyscf import attach
mol = gto.M(atom="He 0 0 0", basis="6-31g", verbose=0)
reference = dft.RKS(mol, xc="pbe").run(conv_tol=1e-11).e_tot
found = attach(dft.RKS(mol), sys.argv[1]).run(conv_tol=1e-11).e_tot
assert reference < -2.8, reference
assert abs(found - reference) < 1e-9, (found, reference)
print("same energy")
"""

Environment = dict[str, str]
Fake = tuple[Environment, Callable[..., None]]


def run(command: list[str], environment: Environment) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def listed(kakehashi: list[str], environment: Environment) -> dict[str, dict[str, Any]]:
    """Return qualified name to entry of ``kakehashi list --json``."""
    done = run([*kakehashi, "list", "--json"], environment)
    assert done.returncode == 0, done.stderr
    return {f"{entry['distribution']}:{entry['name']}": entry for entry in json.loads(done.stdout)}


def assert_torch_pbe_runs(environment: Environment, name: str = "torch-pbe") -> None:
    """Oracle: libxc's PBE energy of the helium atom."""
    done = run([sys.executable, "-c", RUN_TORCH_PBE, name], environment)
    assert done.stdout.strip() == "same energy", done.stderr


@pytest.fixture
def raising(fake_distribution: Fake) -> Fake:
    environment, add = fake_distribution
    add(
        "raising-plugin",
        {"kakehashi.xc/raising": "raising_plugin:describe"},
        "raise RuntimeError('compiled for another machine')",
    )
    return environment, add


def test_everything_is_ok_without_bad_plugins(
    fake_distribution: Fake, kakehashi: list[str]
) -> None:
    """Control: the states below come from the bad plugins."""
    environment, _ = fake_distribution
    entries = listed(kakehashi, environment)
    assert {entry["state"] for entry in entries.values()} == {"ok"}
    assert {"third-party-pbe:torch-pbe", "kakehashi-nnxc:nn-mgga"} <= set(entries)


def test_plugin_that_raises_at_import(raising: Fake, kakehashi: list[str]) -> None:
    """Oracle: the message that the module raises."""
    environment, _ = raising
    entries = listed(kakehashi, environment)
    assert entries["raising-plugin:raising"]["state"] == "broken"
    assert "compiled for another machine" in entries["raising-plugin:raising"]["reason"]
    table = run([*kakehashi, "list"], environment)
    assert table.returncode == 0
    assert "compiled for another machine" in table.stdout
    others = [entry for name, entry in entries.items() if name != "raising-plugin:raising"]
    assert {entry["state"] for entry in others} == {"ok"}
    assert_torch_pbe_runs(environment)


def test_asking_for_the_broken_plugin_names_cause_and_fix(raising: Fake) -> None:
    environment, _ = raising
    code = "from kakehashi_core import registry; registry.load('xc', 'raising')"
    done = run([sys.executable, "-c", code], environment)
    assert done.returncode != 0
    message = done.stderr.splitlines()[-1]
    for part in ("PluginLoadError", "raising-plugin 1.0", "another machine", "kakehashi doctor"):
        assert part in message


def test_plugin_with_a_wrong_api_version(fake_distribution: Fake, kakehashi: list[str]) -> None:
    """Oracle: API_VERSION of kakehashi-core."""
    environment, add = fake_distribution
    add(
        "future-plugin",
        {"kakehashi.xc/future": "future_plugin:describe"},
        SPEC.format(name="future", api_version=99),
    )
    entry = listed(kakehashi, environment)["future-plugin:future"]
    assert entry["state"] == "incompatible"
    assert "plugin API 99" in entry["reason"]
    assert "plugin API 99" in run([*kakehashi, "list"], environment).stdout
    assert_torch_pbe_runs(environment)


@pytest.mark.parametrize(
    ("name", "owner"), [("nn-mgga", "kakehashi-nnxc"), ("torch-pbe", "third-party-pbe")]
)
def test_two_plugins_with_one_name(
    fake_distribution: Fake, kakehashi: list[str], name: str, owner: str
) -> None:
    """Oracle: both distributions are named, neither wins by chance, the qualified name works."""
    environment, add = fake_distribution
    add(
        "impostor-plugin",
        {f"kakehashi.xc/{name}": "impostor_plugin:describe"},
        SPEC.format(name=name, api_version=1),
    )
    entries = listed(kakehashi, environment)
    for distribution in (owner, "impostor-plugin"):
        entry = entries[f"{distribution}:{name}"]
        assert entry["state"] == "conflict"
        assert owner in entry["reason"]
        assert "impostor-plugin" in entry["reason"]
    assert "conflict" in run([*kakehashi, "list"], environment).stdout
    code = f"from kakehashi_core import registry; registry.load('xc', {name!r})"
    refused = run([sys.executable, "-c", code], environment)
    assert refused.returncode != 0
    assert f"{owner}:{name}" in refused.stderr
    # The other functional is not concerned, and the qualified name settles the conflict.
    assert_torch_pbe_runs(environment, "third-party-pbe:torch-pbe")
    if name != "torch-pbe":
        assert_torch_pbe_runs(environment)


def test_a_conflict_is_settled_by_disabling_a_distribution(
    fake_distribution: Fake, kakehashi: list[str]
) -> None:
    environment, add = fake_distribution
    add(
        "impostor-plugin",
        {"kakehashi.xc/torch-pbe": "impostor_plugin:describe"},
        SPEC.format(name="torch-pbe", api_version=1),
    )
    environment = {**environment, "KAKEHASHI_DISABLE": "impostor-plugin"}
    entries = listed(kakehashi, environment)
    assert entries["third-party-pbe:torch-pbe"]["state"] == "ok"
    assert_torch_pbe_runs(environment)


def test_all_bad_plugins_at_once(fake_distribution: Fake, kakehashi: list[str]) -> None:
    """Oracle: one line per bad plugin with its own state; the good one still runs."""
    environment, add = fake_distribution
    add("broken-plugin", {"kakehashi.xc/broken": "broken_plugin:nothing"}, "")
    add(
        "future-plugin",
        {"kakehashi.xc/future": "future_plugin:describe"},
        SPEC.format(name="future", api_version=0),
    )
    add(
        "impostor-plugin",
        {"kakehashi.xc/nn-mgga": "impostor_plugin:describe"},
        SPEC.format(name="nn-mgga", api_version=1),
    )
    add("exiting-plugin", {"kakehashi.xc/exiting": "exiting_plugin:x"}, "raise SystemExit(3)")
    states = {name: entry["state"] for name, entry in listed(kakehashi, environment).items()}
    assert states["broken-plugin:broken"] == "broken"
    assert states["exiting-plugin:exiting"] == "broken"
    assert states["future-plugin:future"] == "incompatible"
    assert states["impostor-plugin:nn-mgga"] == "conflict"
    assert states["kakehashi-nnxc:nn-mgga"] == "conflict"
    assert states["third-party-pbe:torch-pbe"] == "ok"
    assert_torch_pbe_runs(environment)


def test_check_fails_for_a_bad_plugin(raising: Fake, kakehashi: list[str]) -> None:
    """Oracle: exit code; a bad plugin must not pass with no test run."""
    environment, _ = raising
    done = run([*kakehashi, "check", "raising"], environment)
    assert done.returncode != 0
    assert "compiled for another machine" in done.stdout + done.stderr
