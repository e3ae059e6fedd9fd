"""Our calculators under ASE's own names, in fresh processes: no import by the user, nothing to break."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ase.build import molecule

Environment = dict[str, str]
Fake = tuple[Environment, Callable[..., None]]

TOY = """
from kakehashi_core.specs import CalculatorSpec, Citation

def toy():
    return CalculatorSpec(
        name="toy-spring", api_version=1, factory="toy_distribution:make", summary="a spring",
        citation=Citation(text="Hooke (1678)"), units={"energy": "eV", "forces": "eV/Å"},
    )

def make(*, k: float = 1.0):
    from kakehashi_ase import Calculator

    class Spring(Calculator):
        implemented_properties = ("energy", "forces")

        def __init__(self, *, k=1.0):
            super().__init__({"k": k})

        def evaluate(self, atoms, properties):
            k, x = self.parameters["k"], atoms.positions
            return {"energy": 0.5 * k * (x**2).sum(), "forces": -k * x}

    return Spring(k=k)
"""
GROUP = "kakehashi.calculators/toy-spring"


def run(
    command: list[str], environment: Environment, folder: Path
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False
    )


def python(code: str, environment: Environment, folder: Path) -> str:
    done = run([sys.executable, "-W", "error::UserWarning", "-c", code], environment, folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def ase_command() -> list[str]:
    return [str(Path(sys.executable).with_name("ase"))]


@pytest.fixture
def toy(fake_distribution: Fake) -> Environment:
    environment, add = fake_distribution
    add("toy-distribution", {GROUP: "toy_distribution:toy"}, TOY)
    return environment


def test_listed_among_the_plugins(toy: Environment, ase_command: list[str], tmp_path: Path) -> None:
    """Oracle: 'ase info --plugins'; the format is listed with its extension as one word."""
    done = run([*ase_command, "info", "--plugins"], toy, tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("kakehashi-pyscf", "kakehashi-toy-spring", "kakehashi-result"):
        assert name in done.stdout
    done = run([*ase_command, "info", "--formats"], toy, tmp_path)
    assert "kakehashi-result [rw/single, ext=kakehashi]" in done.stdout


def test_run_from_the_command_line(
    toy: Environment, ase_command: list[str], tmp_path: Path
) -> None:
    """Oracle: the energy of a spring, 0.5 k |x|^2, in closed form."""
    atoms = molecule("H2")
    atoms.write(tmp_path / "h2.xyz")
    show = ["--after", "print('E', atoms.get_potential_energy())"]
    command = [*ase_command, "run", "kakehashi-toy-spring", "h2.xyz", "-p", "k=3.0", *show]
    done = run(command, toy, tmp_path)
    assert done.returncode == 0, done.stderr
    energy = float(done.stdout.split("E ")[1].split()[0])
    assert energy == pytest.approx(1.5 * (atoms.positions**2).sum(), abs=1e-6)
    assert energy > 0.1


def test_run_pyscf_from_the_command_line(
    toy: Environment, ase_command: list[str], tmp_path: Path
) -> None:
    """Oracle: the calculator by name from Python, the same options."""
    molecule("H2").write(tmp_path / "h2.xyz")
    show = ["--after", "print('E', atoms.get_potential_energy())"]
    options = ["-p", "basis=sto-3g,xc=pbe"]
    done = run([*ase_command, "run", "kakehashi-pyscf", "h2.xyz", *options, *show], toy, tmp_path)
    assert done.returncode == 0, done.stderr
    code = (
        "from ase.io import read; from kakehashi_ase import calculator; atoms = read('h2.xyz'); "
        "atoms.calc = calculator('pyscf', basis='sto-3g', xc='pbe'); print(atoms.get_potential_energy())"
    )
    expected = float(python(code, toy, tmp_path))
    assert float(done.stdout.split("E ")[1].split()[0]) == pytest.approx(expected, abs=1e-6)
    assert expected < -20.0


def test_class_by_name_after_importing_ase_io(toy: Environment, tmp_path: Path) -> None:
    """Oracle: sys.modules; the plugin is loaded when the factory is called, not before."""
    code = """
import sys, ase.io
from ase.calculators.calculator import get_calculator_class
factory = get_calculator_class("kakehashi-toy-spring")
heavy = {"torch", "pyscf", "toy_distribution", "kakehashi_pyscf", "kakehashi_botan"} & set(sys.modules)
assert not heavy, heavy
calc = factory(k=2.0)
print(calc.name, calc.parameters["k"])
try:
    factory(kk=2.0)
except ValueError as error:
    print(error)
"""
    lines = python(code, toy, tmp_path).splitlines()
    assert lines[0] == "toy-spring 2.0"
    assert "no option 'kk'. Did you mean 'k'" in lines[1]


def test_ase_4_plugins_give_classes(toy: Environment, tmp_path: Path) -> None:
    """Oracle: the assertions inside ase._4, which insist on a subclass of BaseCalculator."""
    pytest.importorskip("ase._4.plugins", reason="this ASE has no ase.plugins yet")
    code = """
from ase._4.plugins import plugins
found = {p.name: p for p in plugins.calculators}
plugin = found["kakehashi-toy-spring"]
print(plugin.citation, plugin.implementation(k=2.0).parameters["k"], bool(plugin.version))
"""
    assert python(code, toy, tmp_path) == "Hooke (1678) 2.0 True"


def test_switched_off(toy: Environment, ase_command: list[str], tmp_path: Path) -> None:
    """Oracle: the same commands, control above; our own function works in any case."""
    environment = {**toy, "KAKEHASHI_NO_ASE_HOOK": "1"}
    code = """
import ase.io
from ase.calculators.calculator import external_calculators
print(sorted(name for name in external_calculators if name.startswith("kakehashi")))
from kakehashi_ase import calculator
print(calculator("toy-spring").name)
"""
    assert python(code, environment, tmp_path).splitlines() == ["[]", "toy-spring"]
    done = run([*ase_command, "info", "--plugins"], environment, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "kakehashi-pyscf" not in done.stdout
    assert "kakehashi-toy-spring" not in done.stdout


@pytest.mark.parametrize("code", ["raise RuntimeError('half installed')", "import no_such_thing"])
def test_a_broken_plugin_disturbs_nobody(
    fake_distribution: Fake, ase_command: list[str], tmp_path: Path, code: str
) -> None:
    """Oracle: 'import ase.io' without a warning; the others are registered and listed."""
    environment, add = fake_distribution
    add("broken-plugin", {"kakehashi.calculators/broken": "broken_plugin:describe"}, code)
    text = """
import ase.io
from ase.calculators.calculator import get_calculator_class
print(get_calculator_class("kakehashi-pyscf"))
try:
    get_calculator_class("kakehashi-broken")()
except ImportError as error:
    print("refused:", error)
"""
    lines = python(text, environment, tmp_path).splitlines()
    assert "kakehashi-pyscf" in lines[0]
    assert "broken-plugin" in lines[1]
    done = run([*ase_command, "info", "--plugins"], environment, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "kakehashi-pyscf" in done.stdout
    assert "kakehashi-broken" not in done.stdout


def test_the_body_may_run_twice(toy: Environment, tmp_path: Path) -> None:
    """ASE's wrapper loads the module again after a failed first import."""
    code = """
import sys, ase.io
from kakehashi_ase.ase_hook import hook_report
first = hook_report().names
for name in [name for name in sys.modules if name.startswith("kakehashi_ase")]:
    del sys.modules[name]
import kakehashi_ase._ase_formats as again
assert again.report.names == first and not again.report.error and not again.report.skipped
print(len(first) >= 2)
"""
    assert python(code, toy, tmp_path) == "True"


def test_results_travel_with_the_structure(toy: Environment, tmp_path: Path) -> None:
    """Oracle: the energy that was calculated, read by another process."""
    code = """
import ase.io
from ase.build import molecule
from kakehashi_ase import calculator
atoms = molecule("H2O", calculator=calculator("toy-spring", k=2.0))
print(atoms.get_potential_energy())
ase.io.write("water.kakehashi", atoms)
"""
    energy = python(code, toy, tmp_path)
    code = "import ase.io; print(ase.io.read('water.kakehashi').get_potential_energy())"
    assert python(code, toy, tmp_path) == energy


def test_what_ase_calculates_does_not_change(toy: Environment, tmp_path: Path) -> None:
    """Oracle: EMT in hexadecimal with the hook off."""
    code = """
from ase.build import bulk
from ase.calculators.emt import EMT
atoms = bulk("Cu", cubic=True)
atoms.rattle(0.1, seed=1)
atoms.calc = EMT()
print(atoms.get_potential_energy().hex())
"""
    results: set[Any] = {
        python(code, environment, tmp_path)
        for environment in (toy, {**toy, "KAKEHASHI_NO_ASE_HOOK": "1"})
    }
    assert len(results) == 1
