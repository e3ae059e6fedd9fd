"""What is wrong with the installed plugins, why, and what to do about it."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from kakehashi_core import registry
from kakehashi_core._entry_point_scan import normalize_distribution, one_line
from kakehashi_core.cli.shipped_card import shipped_card
from kakehashi_core.errors import CheckpointError, KakehashiError
from kakehashi_core.registry import Plugin, ScanReport, State
from kakehashi_core.specs import GROUPS

Severity = Literal["problem", "warning", "note"]

# PySCF cuts these off a functional name before anybody else sees it.
_DISPERSION_SUFFIX = re.compile(r"-(d[34]\w*|\d?c)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing worth knowing.

    Attributes:
        severity: "problem" when something of kakehashi does not work, "warning" when it is about a
            foreign package or can be lived with, "note" for everything else.
        subject: Plugin, package or file that it is about.
        message: What is the case.
        fix: What to do; empty when there is nothing to do.
        traceback: Traceback of the error behind it, if any.
    """

    severity: Severity
    subject: str
    message: str
    fix: str = ""
    traceback: str = ""


def plugin_findings(plugins: Iterable[Plugin]) -> list[Finding]:
    """Return at most one finding per plugin; imports the factories of the usable ones."""
    findings = (
        _factory_finding(plugin) if plugin.state is State.OK else _state_finding(plugin)
        for plugin in plugins
    )
    return [finding for finding in findings if finding is not None]


def scan_findings(report: ScanReport) -> list[Finding]:
    """Return what the two readings of the entry points have to say."""
    findings = [_file_finding(path, error) for path, error in report.guilty_files]
    if report.fallback_reason and not report.guilty_files:
        message = f"the entrypoints package failed: {report.fallback_reason}"
        findings.append(Finding(severity="warning", subject="entry points", message=message))
    listed = [
        *((entry, "entrypoints") for entry in report.only_entrypoints),
        *((entry, "importlib.metadata") for entry in report.only_importlib),
    ]
    for entry, backend in listed:
        subject, _, line = entry.partition(": ")
        message = f"only {backend} lists '{line}'"
        fix = f"pip install --force-reinstall {subject}"
        findings.append(Finding(severity="problem", subject=subject, message=message, fix=fix))
    return findings


def functional_name_findings(plugins: Iterable[Plugin]) -> list[Finding]:
    """Return which functionals have names that PySCF already gives a meaning."""
    names = sorted({plugin.name for plugin in plugins if plugin.kind == "xc"})
    findings = [
        Finding(
            severity="problem",
            subject=name,
            message="PySCF reads the end of this functional name as a dispersion correction",
            fix="its author must choose a name that does not end in -d3..., -d4 or -3c",
        )
        for name in names
        if _DISPERSION_SUFFIX.search(name)
    ]
    return findings + [
        Finding(
            severity="warning",
            subject=name,
            message="libxc has a functional of this name too: inside kakehashi_pyscf.attach or "
            "enable the plugin hides it, outside libxc answers",
            fix="its author should choose a name that libxc does not know",
        )
        for name in _known_to_libxc(names)
    ]


def message_explanations(plugins: Iterable[Plugin]) -> list[Finding]:
    """Return explanations of host messages that do not name their cause."""
    names = sorted({plugin.name for plugin in plugins if plugin.kind == "xc"})
    if not names:
        return []
    first = re.split("[-_]", names[0])[0].upper()
    return [
        Finding(
            severity="note",
            subject="PySCF",
            message=f"KeyError ... name '{first}' not found means that libxc was asked for "
            f"'{names[0]}': kakehashi is off for this object",
            fix="mf = kakehashi_pyscf.attach(mf), or run inside 'with kakehashi_pyscf.enable():'",
        )
    ]


def _state_finding(plugin: Plugin) -> Finding:
    pip = f"pip install --upgrade --force-reinstall {plugin.distribution}"
    switch_off = f"{registry.DISABLE_VARIABLE}={plugin.qualified_name}"
    fixes = {
        State.BROKEN: f"{pip}; or switch it off: {switch_off}",
        State.INCOMPATIBLE: f"pip install --upgrade kakehashi-core {plugin.distribution}",
        State.CONFLICT: f"ask for '{plugin.qualified_name}', or switch it off: {switch_off}",
        State.DISABLED: "change that variable to use it",
    }
    fix = fixes[plugin.state]
    extra = _extra_that_brings(_missing_package(plugin.reason), plugin.distribution)
    if extra:
        fix = f"pip install '{plugin.distribution}[{extra}]'"
    return Finding(
        severity="note" if plugin.state is State.DISABLED else "problem",
        subject=f"{plugin.kind} {plugin.name}",
        message=f"{plugin.state}: {plugin.reason}",
        fix=fix,
        traceback=plugin.traceback,
    )


def _factory_finding(plugin: Plugin) -> Finding | None:
    try:
        registry.load_factory(plugin.kind, plugin.qualified_name)
    except KakehashiError as error:
        cause = error.__cause__
        missing = _missing_package(str(cause)) if isinstance(cause, ModuleNotFoundError) else ""
        extra = _extra_that_brings(missing, plugin.distribution)
        fix = f"pip install --upgrade --force-reinstall {plugin.distribution}"
        if missing:
            fix = (
                f"pip install '{plugin.distribution}[{extra}]'"
                if extra
                else f"pip install {missing}"
            )
        message = str(error)
        if cause is not None and plugin.spec is not None:
            message = f"its factory {plugin.spec.factory} cannot be imported: {one_line(cause)}"
        return Finding(
            # An extra that nobody asked for is a choice, not a defect.
            severity="warning" if extra else "problem",
            subject=f"{plugin.kind} {plugin.name}",
            message=message,
            fix=fix,
            traceback="".join(traceback.format_exception(error)),
        )
    return _checkpoint_finding(plugin)


def _checkpoint_finding(plugin: Plugin) -> Finding | None:
    if plugin.spec is None or not plugin.spec.checkpoint:
        return None
    try:
        shipped_card(plugin.spec)
    except CheckpointError as error:
        return Finding(
            severity="problem",
            subject=f"{plugin.kind} {plugin.name}",
            message=f"its shipped checkpoint has no readable model card: {error}",
            fix=f"pip install --upgrade --force-reinstall {plugin.distribution}",
        )
    return None


def _file_finding(path: str, error: str) -> Finding:
    folder = Path(path).parent.name
    distribution = normalize_distribution(folder.rpartition(".")[0].partition("-")[0])
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    ours = any(group in text for group in GROUPS.values())
    return Finding(
        severity="problem" if ours else "warning",
        subject=distribution,
        message=f"malformed {path}: {error}"
        + ("" if ours else "; kakehashi reads the other packages without it"),
        fix=f"pip install --force-reinstall {distribution}",
    )


def _missing_package(text: str) -> str:
    """Return the package that is not installed; "" if a part of an installed one is missing."""
    found = re.search(r"No module named '(\w+)", text)
    return found[1] if found and find_spec(found[1]) is None else ""


def _extra_that_brings(package: str, distribution: str) -> str:
    """Return the extra of ``distribution`` that requires ``package``, or an empty string."""
    wanted = normalize_distribution(package)
    try:
        requirements = metadata.requires(distribution) or []
    except Exception:  # noqa: BLE001  damaged or missing metadata: then there is no hint to give
        return ""
    for requirement in requirements:
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"extra\s*==\s*['\"]([\w.-]+)['\"]", requirement)
        if wanted and name and extra and normalize_distribution(name[0]) == wanted:
            return extra[1]
    return ""


def _known_to_libxc(names: Sequence[str]) -> list[str]:
    if not names or find_spec("pyscf") is None:
        return []
    try:
        libxc = import_module("pyscf.dft.libxc")
    except Exception:  # noqa: BLE001  a broken PySCF shows up with the plugins that need it
        return []
    return [name for name in names if any(_parses(libxc, n) for n in _spellings(name))]


def _spellings(name: str) -> set[str]:
    return {name, name.replace("-", "_")}


def _parses(libxc: object, name: str) -> bool:
    try:
        libxc.parse_xc(name)  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001  it raises KeyError, ValueError, NotImplementedError and more
        return False
    return True
