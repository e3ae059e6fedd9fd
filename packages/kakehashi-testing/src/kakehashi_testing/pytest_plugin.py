"""Pytest hooks: the option that selects plugins, and the fixtures that hand them to tests.

This module is imported in every pytest run of whoever installs the package, so it imports nothing
heavy, and the hooks do nothing unless a test asks for a ``kakehashi_`` fixture.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kakehashi_core.registry import Plugin

PREFIX = "kakehashi_"

FIXTURE_KINDS = {
    "kakehashi_plugin": "",
    "kakehashi_xc": "xc",
    "kakehashi_calculator": "calculators",
    "kakehashi_init_guess": "init_guess",
    "kakehashi_sampler": "samplers",
    "kakehashi_command": "commands",
}
"""Fixture name to the plugin kind it stands for; an empty kind stands for all."""

_SELECTED = pytest.StashKey[tuple["Plugin", ...]]()


_SUITE = Path(__file__).with_name("suite")


@dataclass(frozen=True)
class _Problem:
    """A parameter whose test fails on set-up: an empty parameter list would be skipped instead."""

    reason: str


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--kakehashi-plugin``."""
    parser.getgroup("kakehashi").addoption(
        "--kakehashi-plugin",
        action="append",
        default=[],
        metavar="NAME",
        help="Plugin that the conformance suite tests (repeatable): a registry name, or "
        "distribution:name. Use with 'pytest --pyargs kakehashi_testing.suite'.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Resolve the names once; an unknown or broken one ends the run before any test."""
    config.addinivalue_line(
        "markers", "kakehashi_check(name): skipped where the calculator says that it does not apply"
    )
    names = config.getoption("kakehashi_plugin")
    if not names:
        config.stash[_SELECTED] = ()
        return
    from kakehashi_core.errors import KakehashiError
    from kakehashi_testing.selection import select_plugins

    try:
        config.stash[_SELECTED] = select_plugins(names)
    except KakehashiError as error:
        raise pytest.UsageError(f"--kakehashi-plugin: {error}") from error


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Show what is tested."""
    return [
        f"kakehashi plugin: {plugin.name} ({plugin.kind}, {plugin.distribution} {plugin.version})"
        for plugin in config.stash[_SELECTED]
    ]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the suite out where a run meets its folder by chance, as ``pytest .`` in this repository.

    A run that asks for the suite without naming a plugin still collects it, and fails.
    """
    if collection_path != _SUITE or config.stash[_SELECTED]:
        return None
    paths = [str(a) for a in config.invocation_params.args if not str(a).startswith("-")]
    return None if any(_SUITE.parent.name in path for path in paths) else True


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every test that asks for a ``kakehashi_`` fixture one run per selected plugin."""
    for fixture in metafunc.fixturenames:
        if fixture in FIXTURE_KINDS:
            parameters = _parameters(metafunc.config, FIXTURE_KINDS[fixture])
            metafunc.parametrize(fixture, parameters, indirect=True, scope="session")


def _parameters(config: pytest.Config, kind: str) -> list[object]:
    selected = config.stash[_SELECTED]
    if not selected:
        problem = _Problem("no plugin selected; name one with --kakehashi-plugin NAME")
        return [pytest.param(problem, id="no-plugin-selected")]
    chosen = [plugin for plugin in selected if kind in ("", plugin.kind)]
    if not chosen:
        others = ", ".join(f"{plugin.name} is of kind {plugin.kind}" for plugin in selected)
        skip = pytest.mark.skip(reason=f"a test for plugins of kind {kind}; {others}")
        return [pytest.param(None, id="other-kind", marks=skip)]
    # Names are unique within a kind only, and only if no distribution conflicts with another.
    return [pytest.param(plugin, id=f"{plugin.kind}:{plugin.qualified_name}") for plugin in chosen]


def _hand_over(request: pytest.FixtureRequest) -> Plugin:
    value = getattr(request, "param", _Problem("the fixture was not parametrized"))
    if isinstance(value, _Problem):
        pytest.fail(value.reason, pytrace=False)
    return value  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def kakehashi_plugin(request: pytest.FixtureRequest) -> Plugin:
    """Hand over each selected plugin, of whatever kind."""
    return _hand_over(request)


@pytest.fixture(scope="session")
def kakehashi_xc(request: pytest.FixtureRequest) -> Plugin:
    """Hand over each selected functional."""
    return _hand_over(request)


@pytest.fixture(scope="session")
def kakehashi_calculator(request: pytest.FixtureRequest) -> Plugin:
    """Hand over each selected calculator."""
    return _hand_over(request)


@pytest.fixture(scope="session")
def kakehashi_init_guess(request: pytest.FixtureRequest) -> Plugin:
    """Hand over each selected initial guess."""
    return _hand_over(request)


@pytest.fixture(scope="session")
def kakehashi_sampler(request: pytest.FixtureRequest) -> Plugin:
    """Hand over each selected sampler."""
    return _hand_over(request)


@pytest.fixture(scope="session")
def kakehashi_command(request: pytest.FixtureRequest) -> Plugin:
    """Hand over each selected command."""
    return _hand_over(request)
