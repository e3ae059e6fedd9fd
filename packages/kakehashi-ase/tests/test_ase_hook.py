"""Registration with ASE, inside one process; whole commands are tested in integration_tests."""

from __future__ import annotations

import importlib

import ase.io  # noqa: F401  runs the hook
import pytest
from ase.calculators import calculator as ase_calculator
from ase.calculators.calculator import BaseCalculator, get_calculator_class
from ase.calculators.emt import EMT

from kakehashi_ase import _ase_formats, _ase_plugins, ase_hook
from kakehashi_ase.ase_hook import LazyCalculator, hook_findings, register_calculators
from kakehashi_core import registry


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A registry of two names and an empty table of ASE."""
    found = ["spring", "other"]
    monkeypatch.setattr(registry, "entry_names", lambda kind: tuple(found))
    monkeypatch.setattr(ase_calculator, "external_calculators", {})
    monkeypatch.setattr(ase_calculator, "names", ["emt", "lj"])
    monkeypatch.delenv("KAKEHASHI_NO_ASE_HOOK", raising=False)
    return found


def test_every_name_is_registered_and_nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load_factory", lambda *_: pytest.fail("a plugin was loaded"))
    report = register_calculators()
    assert report.active
    assert report.names == ("kakehashi-spring", "kakehashi-other")
    assert (report.skipped, report.error) == ({}, "")
    factory = get_calculator_class("kakehashi-spring")
    assert factory.nolabel
    assert "kakehashi-spring" in ase_calculator.names


def test_the_factory_hands_options_to_the_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kakehashi_ase.lookup.calculator", lambda name, **options: (name, options))
    assert LazyCalculator("spring")(k=2) == ("spring", {"k": 2})
    assert repr(LazyCalculator("spring")) == "<calculator 'kakehashi-spring', loaded when called>"


def test_a_second_run_changes_nothing() -> None:
    """The wrapper of ASE loads the module again after a failed first import."""
    first = register_calculators()
    factory = get_calculator_class("kakehashi-spring")
    importlib.reload(ase_hook)
    again = ase_hook.register_calculators()
    assert (again.names, again.skipped) == (first.names, {})
    assert get_calculator_class("kakehashi-spring") is factory


def test_names_of_others_are_left_alone() -> None:
    ase_calculator.external_calculators["kakehashi-spring"] = EMT
    report = register_calculators()
    assert report.names == ("kakehashi-other",)
    assert "EMT" in report.skipped["kakehashi-spring"]
    assert get_calculator_class("kakehashi-spring") is EMT


@pytest.mark.parametrize(
    ("value", "active"), [("1", False), ("yes", False), ("0", True), ("", True)]
)
def test_switch(monkeypatch: pytest.MonkeyPatch, value: str, active: bool) -> None:
    monkeypatch.setenv("KAKEHASHI_NO_ASE_HOOK", value)
    assert register_calculators().active is active
    assert bool(ase_calculator.external_calculators) is active
    assert bool(_ase_plugins._listed()) is (active and bool(registry.plugins("calculators")))


def test_nothing_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise RuntimeError("unreadable metadata")

    monkeypatch.setattr(registry, "entry_names", fail)
    monkeypatch.setattr(registry, "plugins", fail)
    report = register_calculators()
    assert report.names == ()
    assert "unreadable metadata" in report.error
    assert _ase_plugins._listed() == ()


def test_doctor_hears_about_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def findings(**fields: object) -> list[tuple[str, str]]:
        monkeypatch.setattr(_ase_formats, "report", ase_hook.HookReport(**fields))
        return [(f["severity"], f["message"]) for f in ase_hook.hook_findings()]

    assert findings(active=True, names=("kakehashi-a",)) == [
        ("note", "ASE knows these calculators by name: kakehashi-a")
    ]
    assert findings(active=False)[0][0] == "note"
    assert "KAKEHASHI_NO_ASE_HOOK" in findings(active=False)[0][1]
    assert findings(active=True, skipped={"kakehashi-a": "taken by X"}) == [
        ("warning", "the name 'kakehashi-a' is taken by X")
    ]
    assert findings(active=True, error="Traceback\nValueError: bad")[0] == (
        "problem",
        "registration with ASE failed: ValueError: bad",
    )
    monkeypatch.delattr(_ase_formats, "report")
    assert hook_findings()[0]["severity"] == "problem"


def test_the_listed_class_is_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """ASE asserts that an implementation is a subclass of BaseCalculator."""
    cls = _ase_plugins.calculator_class("ka-lj")
    assert issubclass(cls, BaseCalculator)
    assert cls.__name__ == "KaLjCalculator"
    monkeypatch.setattr("kakehashi_ase.lookup.calculator", lambda name, **options: EMT())
    assert isinstance(_ase_plugins.calculator_class("ka-lj")(), EMT)
