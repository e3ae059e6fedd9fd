"""Find plugins by their entry points and load them lazily, so that a bad one disturbs nobody.

Entry points of the groups in ``specs.GROUPS`` are read with the ``entrypoints`` package. One
malformed ``entry_points.txt`` of an unrelated distribution makes that package raise for every
group; the scan then goes on with ``importlib.metadata``, and ``scan_report`` names the guilty
file. Both backends lead to the same plugins in the same states.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from importlib import import_module
from typing import Any

from kakehashi_core._entry_point_scan import (
    Entry,
    comparable,
    from_entrypoints,
    from_importlib,
    guilty_files,
    normalize_distribution,
    normalize_name,
    one_line,
    parsed,
)
from kakehashi_core.errors import InvalidInputError, PluginLoadError, UnknownNameError, unknown_name
from kakehashi_core.specs import API_VERSION, GROUPS, SPEC_TYPES, PluginSpec

__all__ = [
    "ALLOW_VARIABLE",
    "DISABLE_VARIABLE",
    "Plugin",
    "ScanReport",
    "State",
    "clear_cache",
    "entry_names",
    "find",
    "load",
    "load_factory",
    "normalize_name",
    "plugins",
    "scan_report",
]

DISABLE_VARIABLE = "KAKEHASHI_DISABLE"
"""Environment variable: comma-separated plugin or distribution names that are not loaded."""

ALLOW_VARIABLE = "KAKEHASHI_PLUGINS"
"""Environment variable: when not blank, only the plugins and distributions named there load."""

_KIND_WORDS = {
    "calculators": "calculator",
    "commands": "command",
    "init_guess": "initial guess",
    "samplers": "sampler",
    "xc": "functional",
}
_HINT = "'kakehashi list' shows what is installed, 'kakehashi doctor' what is wrong with it."


class State(StrEnum):
    """What became of a plugin."""

    OK = "ok"
    BROKEN = "broken"
    INCOMPATIBLE = "incompatible"
    CONFLICT = "conflict"
    DISABLED = "disabled"


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """One entry point and what became of it.

    Attributes:
        kind: Plugin kind, a key of ``specs.GROUPS``.
        name: Normalized registry name.
        distribution: PEP 503 name of the distribution that registers it.
        version: Version of that distribution, empty if unknown.
        value: Entry point value, ``"module:attribute"``.
        state: Whether the plugin can be used.
        spec: The spec; None unless it could be read.
        reason: Why the plugin cannot be used, one sentence; empty when it can.
        traceback: Traceback of the import error of a broken plugin.
    """

    kind: str
    name: str
    distribution: str
    version: str
    value: str
    state: State
    spec: PluginSpec | None = None
    reason: str = ""
    traceback: str = ""

    @property
    def qualified_name(self) -> str:
        """The unambiguous ``distribution:name``."""
        return f"{self.distribution}:{self.name}"


@dataclass(frozen=True, kw_only=True)
class ScanReport:
    """How the entry points were found, for ``kakehashi doctor``.

    Attributes:
        backend: Name of the package that served the scan.
        fallback_reason: Why ``entrypoints`` could not serve; empty when it did.
        guilty_files: Path and error of each ``entry_points.txt`` that cannot be parsed.
        unparsable: Entries of our groups whose value no plugin can be loaded from, as
            ``"distribution: [group] name = value"``.
        only_entrypoints: Entries that only the ``entrypoints`` package lists, same form.
        only_importlib: Entries that only ``importlib.metadata`` lists, same form.
    """

    backend: str
    fallback_reason: str = ""
    guilty_files: tuple[tuple[str, str], ...] = ()
    unparsable: tuple[str, ...] = ()
    only_entrypoints: tuple[str, ...] = ()
    only_importlib: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """True when there is nothing to report."""
        return not (
            self.fallback_reason
            or self.guilty_files
            or self.unparsable
            or self.only_entrypoints
            or self.only_importlib
        )


@dataclass(slots=True)
class _Scan:
    """Result of one scan of ``sys.path``; resolved plugins are kept beside their entries."""

    entries: tuple[Entry, ...]
    backend: str
    fallback_reason: str
    resolved: dict[Entry, Plugin] = field(default_factory=dict)


_scans: dict[tuple[str, ...], _Scan] = {}


def entry_names(kind: str) -> tuple[str, ...]:
    """Return the sorted names of one kind, disabled ones left out; imports no plugin."""
    entries = _entries(_checked_kind(kind))
    return tuple(sorted({entry.name for entry in entries if not _disabled_reason(entry)}))


def plugins(kind: str | None = None) -> tuple[Plugin, ...]:
    """Return every plugin of one kind, or of all kinds, with its state.

    Imports the modules that hold the specs, never the models. A bad plugin is a state, not an
    exception.

    Args:
        kind: Plugin kind; None for all.

    Raises:
        UnknownNameError: If there is no such kind.
    """
    kinds = sorted(GROUPS) if kind is None else [_checked_kind(kind)]
    found = [_judged(entry, _entries(one)) for one in kinds for entry in _entries(one)]
    return tuple(sorted(found, key=lambda p: (p.kind, p.name, p.distribution)))


def find(kind: str, name: str) -> Plugin:
    """Return the usable plugin of that name; its factory is not imported.

    Args:
        kind: Plugin kind.
        name: Registry name, case and ``-``/``_`` ignored, or ``"distribution:name"``.

    Raises:
        UnknownNameError: If nobody registers the name; the message lists the closest names.
        PluginLoadError: If the plugin is broken, incompatible, disabled, or its bare name is
            in conflict.
    """
    entries = _entries(_checked_kind(kind))
    distribution, _, bare = str(name).rpartition(":")
    distribution, bare = normalize_distribution(distribution), normalize_name(bare)
    matches = [
        entry
        for entry in entries
        if entry.name == bare and (not distribution or entry.distribution == distribution)
    ]
    if not matches:
        raise _unknown(kind, name, entries, qualified=bool(distribution))
    enabled = [entry for entry in matches if not _disabled_reason(entry)]
    plugin = _judged((enabled or matches)[0], matches)
    if plugin.state is not State.OK:
        raise _load_error(plugin, plugin.reason)
    return plugin


def load_factory(kind: str, name: str) -> Callable[..., Any]:
    """Import and return the factory of a plugin.

    Raises:
        UnknownNameError: See ``find``.
        PluginLoadError: See ``find``; also if the factory cannot be imported or called.
    """
    plugin = find(kind, name)
    assert plugin.spec is not None  # noqa: S101  find returns plugins in state OK only
    module_name, _, attribute = plugin.spec.factory.partition(":")
    try:
        factory: Any = import_module(module_name)
        for part in attribute.split("."):
            factory = getattr(factory, part)
    except (Exception, SystemExit) as error:
        cause = f"its factory {plugin.spec.factory!r} cannot be imported ({one_line(error)})"
        raise _load_error(plugin, cause) from error
    if not callable(factory):
        raise _load_error(
            plugin,
            f"its factory {plugin.spec.factory!r} is a {type(factory).__name__}, not a callable",
        )
    return factory  # type: ignore[no-any-return]


def load(kind: str, name: str, **options: Any) -> Any:
    """Import a plugin and call its factory with ``options``.

    Raises:
        UnknownNameError: See ``find``.
        PluginLoadError: See ``load_factory``. What the factory itself raises passes unchanged.
    """
    return load_factory(kind, name)(**options)


def clear_cache() -> None:
    """Forget all scans; the next call looks at the installed distributions again."""
    _scans.clear()


def scan_report() -> ScanReport:
    """Compare both backends and parse every ``entry_points.txt`` one by one.

    Slower than listing (it reads everything twice); meant for ``kakehashi doctor``.
    """
    scan = _scan()
    only_entrypoints: list[str] = []
    only_importlib: list[str] = []
    if not scan.fallback_reason:
        first = {comparable(e): str(e) for e in scan.entries if parsed(e) is not None}
        second = {comparable(e): str(e) for e in from_importlib()}
        only_entrypoints = [text for key, text in first.items() if key not in second]
        only_importlib = [text for key, text in second.items() if key not in first]
    return ScanReport(
        backend=scan.backend,
        fallback_reason=scan.fallback_reason,
        guilty_files=tuple(guilty_files(sys.path)),
        unparsable=tuple(str(entry) for entry in scan.entries if parsed(entry) is None),
        only_entrypoints=tuple(sorted(only_entrypoints)),
        only_importlib=tuple(sorted(only_importlib)),
    )


# Scanning: from files on sys.path to entries.


def _scan() -> _Scan:
    key = tuple(sys.path)
    if key not in _scans:
        try:
            entries, backend, reason = tuple(from_entrypoints()), "entrypoints", ""
        except Exception as error:  # noqa: BLE001  any file of any distribution may be malformed
            entries, backend = tuple(from_importlib()), "importlib.metadata"
            reason = one_line(error)
        _scans[key] = _Scan(entries=entries, backend=backend, fallback_reason=reason)
    return _scans[key]


def _entries(kind: str) -> list[Entry]:
    return [entry for entry in _scan().entries if entry.kind == kind]


# Judging: from entries to plugins with a state.


def _judged(entry: Entry, rivals: Iterable[Entry]) -> Plugin:
    """Return the plugin of ``entry``, whose name may clash with that of its ``rivals``."""
    reason = _disabled_reason(entry)
    if reason:
        return _unresolved(entry, State.DISABLED, reason)
    plugin = _resolved(entry)
    clashing = [r for r in rivals if r.name == entry.name and not _disabled_reason(r)]
    if len(clashing) < 2:
        return plugin
    owners = sorted({rival.qualified_name for rival in clashing})
    if len(owners) == 1:
        reason = (
            f"{entry.distribution} registers the name {entry.name!r} {len(clashing)} times; "
            "its author must remove one"
        )
    else:
        reason = (
            f"several distributions register the name {entry.name!r}; "
            f"use one of {', '.join(repr(owner) for owner in owners)}, "
            f"or disable a distribution with {DISABLE_VARIABLE}"
        )
    return replace(plugin, state=State.CONFLICT, reason=reason)


def _resolved(entry: Entry) -> Plugin:
    resolved = _scan().resolved
    if entry not in resolved:
        resolved[entry] = _resolve(entry)
    return resolved[entry]


def _resolve(entry: Entry) -> Plugin:
    point = parsed(entry)
    if point is None:
        return _unresolved(
            entry,
            State.BROKEN,
            f"entry point value {entry.value!r} must read 'module:attribute' without spaces",
        )
    try:
        spec = point.load()
        if callable(spec):
            spec = spec()
    except (Exception, SystemExit) as error:  # noqa: BLE001  border to foreign code
        plugin = _unresolved(entry, State.BROKEN, one_line(error))
        return replace(plugin, traceback="".join(traceback.format_exception(error)))
    expected = SPEC_TYPES[entry.kind]
    if not isinstance(spec, expected):
        return _unresolved(
            entry,
            State.BROKEN,
            f"{entry.value} gives a {type(spec).__name__}, not a {expected.__name__}",
        )
    if spec.api_version != API_VERSION:
        reason = (
            f"written for plugin API {spec.api_version}, this kakehashi-core offers {API_VERSION}; "
            f"upgrade {'kakehashi-core' if _newer(spec.api_version) else entry.distribution}"
        )
        return replace(_unresolved(entry, State.INCOMPATIBLE, reason), spec=spec)
    if normalize_name(spec.name) != entry.name:
        return _unresolved(
            entry,
            State.BROKEN,
            f"spec is named {spec.name!r}, its entry point {entry.raw_name!r}; they must agree",
        )
    return replace(_unresolved(entry, State.OK, ""), spec=spec)


def _newer(api_version: object) -> bool:
    return isinstance(api_version, int) and api_version > API_VERSION


def _unresolved(entry: Entry, state: State, reason: str) -> Plugin:
    return Plugin(
        kind=entry.kind,
        name=entry.name,
        distribution=entry.distribution,
        version=entry.version,
        value=entry.value,
        state=state,
        reason=reason,
    )


def _disabled_reason(entry: Entry) -> str:
    names = {entry.name, normalize_name(entry.distribution), normalize_name(entry.qualified_name)}
    if names & _listed(os.environ.get(DISABLE_VARIABLE, "")):
        return f"disabled by the environment variable {DISABLE_VARIABLE}"
    allowed = _listed(os.environ.get(ALLOW_VARIABLE, ""))
    if allowed and not names & allowed:
        return f"not named in the environment variable {ALLOW_VARIABLE}, which lists what may load"
    return ""


def _listed(text: str) -> set[str]:
    return {normalize_name(item) for item in text.split(",") if item.strip()}


# Errors.


def _checked_kind(kind: str) -> str:
    if not isinstance(kind, str):
        raise InvalidInputError(f"plugin kind must be a string, got {kind!r}")
    if kind not in GROUPS:
        raise unknown_name("plugin kind", kind, GROUPS)
    return kind


def _unknown(kind: str, name: str, entries: list[Entry], *, qualified: bool) -> UnknownNameError:
    enabled = [entry for entry in entries if not _disabled_reason(entry)]
    known = {entry.qualified_name if qualified else entry.name for entry in enabled}
    return unknown_name(_KIND_WORDS[kind], name, known, _HINT)


def _load_error(plugin: Plugin, cause: str) -> PluginLoadError:
    word = _KIND_WORDS[plugin.kind]
    if plugin.state is State.CONFLICT:
        return PluginLoadError(f"{word} name {plugin.name!r} is in conflict: {cause}.")
    state = State.BROKEN if plugin.state is State.OK else plugin.state
    fix = {
        State.BROKEN: f"Reinstall or upgrade {plugin.distribution}; see also 'kakehashi doctor'.",
        State.DISABLED: "Change that variable to use it.",
    }.get(state, "")
    return PluginLoadError(
        f"{word} {plugin.name!r} of {plugin.distribution} {plugin.version} "
        f"(entry point {plugin.value!r}) is {state}: {cause}. {fix}".strip()
    )
