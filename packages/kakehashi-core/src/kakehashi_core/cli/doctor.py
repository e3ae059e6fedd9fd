"""``kakehashi doctor``: environment, plugins, findings with a fix line each."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from kakehashi_core import registry
from kakehashi_core.cli.contributed import contributed_commands
from kakehashi_core.cli.diagnosis import (
    Finding,
    functional_name_findings,
    message_explanations,
    plugin_findings,
    scan_findings,
)
from kakehashi_core.cli.environment import environment
from kakehashi_core.cli.listing import listed_fields
from kakehashi_core.cli.output import echo, echo_fields, echo_json, echo_table, echo_title
from kakehashi_core.registry import Plugin, ScanReport


def run_doctor(*, as_json: bool, verbose: bool) -> int:
    """Print the examination; 1 if there is a problem with something of kakehashi.

    Args:
        as_json: Print JSON with the keys environment, scan, plugins, findings, healthy.
        verbose: Show tracebacks.
    """
    # What torch and the factories print while they are imported is not part of the result.
    with contextlib.redirect_stdout(sys.stderr):
        plugins = registry.plugins()
        report = registry.scan_report()
        facts = environment({plugin.distribution for plugin in plugins})
        findings = [
            *_torch_findings(facts["torch"]),
            *scan_findings(report),
            *plugin_findings(plugins),
            *functional_name_findings(plugins),
            *message_explanations(plugins),
            *_contributed_findings(),
        ]
    healthy = all(finding.severity != "problem" for finding in findings)
    if as_json:
        echo_json(
            {
                "environment": facts,
                "scan": asdict(report),
                "plugins": [listed_fields(plugin) for plugin in plugins],
                "findings": [asdict(finding) for finding in findings],
                "healthy": healthy,
            }
        )
    else:
        _print_environment(facts)
        _print_plugins(plugins, report)
        _print_findings(findings, verbose=verbose)
    return 0 if healthy else 1


def _contributed_findings() -> list[Finding]:
    """Return what the doctor sections of the installed packages say; none of them can end the report."""
    findings = []
    for section in contributed_commands("doctor"):
        if not section.usable:
            continue  # a broken plugin is a finding already
        try:
            found = registry.load_factory("commands", section.plugin.qualified_name)()
            findings += [Finding(**fields) for fields in found]
        except Exception as error:  # noqa: BLE001  the border to code of packages
            message = f"this section failed: {type(error).__name__}: {error}"
            findings.append(
                Finding(
                    severity="problem",
                    subject=section.plugin.qualified_name,
                    message=message,
                    fix=f"pip install --upgrade {section.plugin.distribution}",
                    traceback=traceback.format_exc(),
                )
            )
    return findings


def _torch_findings(facts: Mapping[str, Any]) -> list[Finding]:
    if "error" in facts:
        fix = "pip install --force-reinstall torch"
        message = f"cannot be imported: {facts['error']}"
        return [Finding(severity="problem", subject="torch", message=message, fix=fix)]
    return [Finding(severity="warning", subject="torch", message=text) for text in facts["remarks"]]


def _print_environment(facts: Mapping[str, Any]) -> None:
    torch = facts["torch"]
    pools = [
        f"{pool['prefix']} ({pool['user_api']}): {pool['num_threads']}"
        for pool in facts["thread_pools"]
    ]
    echo_title("environment")
    echo_fields(
        {
            "python": f"{facts['python']} ({facts['executable']})",
            "platform": f"{facts['platform']}, {facts['cpu_count']} processors",
            "torch build": torch.get("error") or _torch_build(torch),
            "CUDA": ", ".join(torch.get("cuda_devices", ())) or "not available",
            "torch threads": "{threads}, between operations {interop_threads}".format_map(torch)
            if "threads" in torch
            else "",
            "thread pools": "\n".join(pools),
            "variables": "\n".join(f"{k}={v}" for k, v in facts["variables"].items()),
        }
    )
    echo_title("versions")
    echo_fields(facts["distributions"])


def _torch_build(torch: Mapping[str, Any]) -> str:
    built_for = f"built for CUDA {torch['built_for_cuda']}" if torch["built_for_cuda"] else ""
    return f"{torch['version']}, {built_for or 'built without CUDA'}"


def _print_plugins(plugins: Sequence[Plugin], report: ScanReport) -> None:
    echo_title("plugins")
    found_by = f"read with {report.backend}"
    if report.fallback_reason:
        found_by += f", because entrypoints failed: {report.fallback_reason}"
    echo(f"{len(plugins)} entry points, {found_by}")
    if not report.fallback_reason:
        different = len(report.only_entrypoints) + len(report.only_importlib)
        agreement = "agree" if not different else f"differ in {different} entries"
        echo(f"entrypoints and importlib.metadata {agreement}")
    if plugins:
        rows = [
            [p.name, p.kind, str(p.state), f"{p.distribution} {p.version}", p.value]
            for p in plugins
        ]
        header = ("name", "kind", "state", "distribution", "entry point")
        echo_table(header, rows, state_column=2)


def _print_findings(findings: Sequence[Finding], *, verbose: bool) -> None:
    echo_title("findings")
    for finding in findings:
        echo(f"{finding.severity}: {finding.subject}: {finding.message}")
        if finding.fix:
            echo(f"  fix: {finding.fix}")
        if verbose and finding.traceback:
            for line in finding.traceback.rstrip().splitlines():
                echo(f"  | {line}")
    n_problems = sum(finding.severity == "problem" for finding in findings)
    if n_problems:
        more = "" if verbose else "; --verbose shows tracebacks"
        echo(f"{n_problems} problem{'s'[: n_problems > 1]} found{more}")
    else:
        echo("no problem found")
