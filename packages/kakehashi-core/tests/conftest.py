"""Fake distributions on a temporary ``sys.path`` folder, and the command line run in process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import invalidate_caches
from pathlib import Path

import pytest

from kakehashi_core import registry

SPEC_MODULE = """
from kakehashi_core.specs import CalculatorSpec, Citation, CommandSpec, Domain, XCSpec

def spec(name="{name}", **changes):
    fields = dict(
        name=name,
        api_version=1,
        factory="{module}_model:Model",
        summary="summary of {name}",
        family="GGA",
    )
    return XCSpec(**(fields | changes))
"""

MODEL_MODULE = "class Model: pass\n"


@dataclass(frozen=True)
class Outcome:
    """What a run of the command line left behind."""

    code: int
    stdout: str
    stderr: str


class FakeSite:
    """A folder on ``sys.path`` that tests fill with distributions.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(
        self,
        distribution: str,
        entry_points: Mapping[str, Mapping[str, str]],
        modules: Mapping[str, str] | None = None,
        *,
        version: str = "1.0",
        metadata: str = "",
    ) -> Path:
        """Install a distribution; return the path of its ``entry_points.txt``.

        Args:
            distribution: Name.
            entry_points: Plugin kind to entry name to value.
            modules: Module name to source.
            version: Version.
            metadata: Further lines of METADATA.
        """
        lines = []
        for kind, entries in entry_points.items():
            lines += [f"[kakehashi.{kind}]", *(f"{n} = {v}" for n, v in entries.items())]
        for module, source in (modules or {}).items():
            (self.path / f"{module}.py").write_text(source)
        return self.add_raw(distribution, "\n".join(lines) + "\n", version, metadata)

    def add_raw(
        self, distribution: str, entry_points: str, version: str = "1.0", metadata: str = ""
    ) -> Path:
        """Install a distribution whose ``entry_points.txt`` holds exactly this text."""
        folder = self.path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        text = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n{metadata}"
        (folder / "METADATA").write_text(text)
        file = folder / "entry_points.txt"
        file.write_text(entry_points)
        invalidate_caches()
        registry.clear_cache()
        return file

    def add_functional(self, name: str, *, distribution: str = "", spec: str = "spec()") -> None:
        """Install a distribution with one functional.

        Args:
            name: Registry name.
            distribution: Its distribution; by default ``fake-<name>``.
            spec: Expression that makes the spec, in a module that defines ``spec(**changes)``.
        """
        distribution = distribution or f"fake-{name}"
        module = distribution.replace("-", "_")
        source = SPEC_MODULE.format(name=name, module=module)
        source += f"\ndef entry():\n    return {spec}\n"
        modules = {module: source, f"{module}_model": MODEL_MODULE}
        self.add(distribution, {"xc": {name: f"{module}:entry"}}, modules)


@pytest.fixture
def fake_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSite]:
    """An empty folder on ``sys.path``; what is really installed is switched off."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delenv("KAKEHASHI_DISABLE", raising=False)
    monkeypatch.delenv("KAKEHASHI_DEBUG", raising=False)
    monkeypatch.delenv("KAKEHASHI_PLUGINS", raising=False)
    before = set(sys.modules)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    registry.clear_cache()
    really_installed = {plugin.distribution for plugin in registry.plugins()}
    monkeypatch.setenv("KAKEHASHI_DISABLE", ",".join(sorted(really_installed)))
    yield FakeSite(site)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(site)):
            del sys.modules[name]
    registry.clear_cache()


@pytest.fixture
def run_cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run ``kakehashi`` in this process."""
    from kakehashi_core.cli import main

    def run(*words: str) -> Outcome:
        capsys.readouterr()
        code = main(words)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run
