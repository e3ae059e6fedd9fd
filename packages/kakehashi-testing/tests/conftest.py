from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SOURCE = Path(__file__).with_name("faulty_functionals.py")

FIELDS = """
from kakehashi_core.specs import Citation, XCSpec

FIELDS = dict(
    name="suite-test",
    api_version=1,
    summary="a functional for testing the suite",
    citation=Citation(text="nobody"),
    units={"energy_density": "hartree bohr^-3"},
    samples=("H2O",),
    family="MGGA",
    max_deriv=3,
)
"""


@pytest.fixture(scope="session")
def faulty() -> ModuleType:
    """The module of deliberately wrong functionals, importable by name so that they pickle."""
    name = "faulty_functionals"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, SOURCE)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture
def fake_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a distribution on PYTHONPATH whose functionals are described by the given code.

    Call it with the body of a module ``fake_plugin`` that defines one callable per entry point (name to
    attribute); subprocesses see it.
    """

    def build(code: str, entries: Mapping[str, str] | None = None) -> None:
        folder = tmp_path / "site"
        info = folder / "fake_plugin-0.1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-plugin\nVersion: 0.1\n")
        lines = [f"{n} = fake_plugin:{a}" for n, a in (entries or {"suite-test": "plugin"}).items()]
        (info / "entry_points.txt").write_text("\n".join(["[kakehashi.xc]", *lines, ""]))
        (folder / "fake_plugin.py").write_text(code)
        shutil.copy(SOURCE, folder)
        monkeypatch.setenv("PYTHONPATH", str(folder))

    return build


@pytest.fixture
def describe(fake_distribution: Callable[..., None]) -> Callable[..., None]:
    """Register one of the functionals of ``faulty_functionals`` as "suite-test"."""

    def build(class_name: str, **changes: Any) -> None:
        factory = f"faulty_functionals:{class_name}"
        call = f"XCSpec(**{{**FIELDS, **{ {'factory': factory, **changes}!r} }})"
        fake_distribution(f"{FIELDS}\ndef plugin():\n    return {call}\n")

    return build


@pytest.fixture
def describe_many(fake_distribution: Callable[..., None]) -> Callable[..., None]:
    """Register several of them, each under its class name in lower case."""

    def build(class_names: Sequence[str]) -> None:
        code = FIELDS
        for class_name in class_names:
            changes = {"name": class_name.lower(), "factory": f"faulty_functionals:{class_name}"}
            code += f"\ndef {class_name}():\n    return XCSpec(**{{**FIELDS, **{changes!r}}})\n"
        fake_distribution(code, {name.lower(): name for name in class_names})

    return build
