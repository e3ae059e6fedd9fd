"""Calculators by name, and the weight of importing the package."""

from __future__ import annotations

import subprocess
import sys

import pytest
from ase.calculators.emt import EMT

import kakehashi_ase
from kakehashi_ase import Calculator, CalculatorInputError, calculator
from kakehashi_core import registry
from kakehashi_core.errors import PluginLoadError, UnknownNameError
from kakehashi_core.registry import Plugin, State
from kakehashi_core.specs import API_VERSION, CalculatorSpec


class Flat(Calculator):
    implemented_properties = ("energy",)

    def __init__(self, *, level: float = 0.0, **common: object) -> None:
        super().__init__({"level": level}, **common)  # type: ignore[arg-type]

    def evaluate(self, atoms: object, properties: object) -> dict[str, object]:
        return {"energy": self.parameters["level"]}


def make_flat(level: float = 0.0) -> Flat:
    return Flat(level=level)


def make_nothing() -> object:
    return {"energy": 0.0}


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Serve the factories of a dictionary under the names that are its keys."""
    factories: dict[str, object] = {}

    def find(kind: str, name: str) -> Plugin:
        assert kind == "calculators"
        spec = CalculatorSpec(name="flat", api_version=API_VERSION, factory="m:f", summary="")
        return Plugin(
            kind=kind,
            name=registry.normalize_name(name),
            distribution="flatland",
            version="1.2",
            value="flatland:spec",
            state=State.OK,
            spec=spec,
            reason="",
            traceback="",
        )

    monkeypatch.setattr(registry, "find", find)
    monkeypatch.setattr(registry, "load_factory", lambda kind, name: factories[name])
    return factories


def test_a_calculator_gets_its_options_and_its_registry_name(registered: dict[str, object]) -> None:
    registered["Flat_Model"] = Flat
    calc = calculator("Flat_Model", level=2.0)
    assert isinstance(calc, Flat)
    assert (calc.name, calc.parameters["level"]) == ("flat-model", 2.0)


@pytest.mark.parametrize("factory", [Flat, make_flat])
def test_unknown_options_are_refused(registered: dict[str, object], factory: object) -> None:
    registered["flat"] = factory
    with pytest.raises(CalculatorInputError, match=r"no option 'levl'\. Did you mean 'level'"):
        calculator("flat", levl=1.0)


def test_foreign_ase_calculators_pass(registered: dict[str, object]) -> None:
    registered["emt"] = EMT
    assert isinstance(calculator("emt"), EMT)


def test_what_is_no_calculator_is_refused(registered: dict[str, object]) -> None:
    registered["nothing"] = make_nothing
    with pytest.raises(PluginLoadError, match=r"of flatland 1\.2 .* gave a dict"):
        calculator("nothing")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown calculator 'no-such-model'"):
        calculator("no-such-model")


def test_public_names() -> None:
    assert kakehashi_ase.__all__ == [
        "Calculator",
        "CalculatorInputError",
        "CalculatorOptions",
        "NonFiniteResultError",
        "UnsupportedElementError",
        "calculator",
        "check_overlap",
        "check_structure",
    ]
    for name in kakehashi_ase.__all__:
        assert getattr(kakehashi_ase, name) is not None
        assert name in dir(kakehashi_ase)
    with pytest.raises(AttributeError, match="kakehashi_ase attribute calculators"):
        kakehashi_ase.calculators  # noqa: B018


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import kakehashi_ase", ("ase", "numpy", "torch", "pyscf")),
        ("from kakehashi_ase import calculator", ("ase.io", "torch", "pyscf")),
    ],
)
def test_importing_is_light(statement: str, absent: tuple[str, ...]) -> None:
    """``import ase.io`` will import this package; the other way round would be circular."""
    code = f"import sys\n{statement}\nprint([m for m in {absent!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
