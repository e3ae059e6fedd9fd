"""``kakehashi demo``: run the demonstration of every installed package."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from kakehashi_core import registry
from kakehashi_core._entry_point_scan import normalize_name
from kakehashi_core.cli.contributed import ContributedCommand, contributed_commands
from kakehashi_core.cli.output import echo, echo_remark, echo_title
from kakehashi_core.errors import InvalidInputError, KakehashiError, UnsupportedError, unknown_name

_MAX_LISTED_FILES = 40


def run_demo(sections: Sequence[str], *, output: Path) -> int:
    """Run the sections in order of position; 1 if any of them fails, after all have run.

    Args:
        sections: Names of sections; empty for all.
        output: Folder for their files, created when missing.

    Raises:
        UnknownNameError: If a section is not installed.
        UnsupportedError: If no section is installed at all.
        InvalidInputError: If ``output`` is not a folder that can be written.
    """
    chosen = _chosen(sections)
    output = _prepared_folder(output)
    before = _files(output)
    started = time.perf_counter()
    failures = {
        section.label: failure
        for section in chosen
        if (failure := _run_section(section, output=output))
    }
    _report(output, before, failures, n_sections=len(chosen), seconds=time.perf_counter() - started)
    return 1 if failures else 0


def _chosen(sections: Sequence[str]) -> list[ContributedCommand]:
    installed = [c for c in contributed_commands("demo") if c.plugin.state != "disabled"]
    if not installed:
        raise UnsupportedError(
            "no demonstration is installed; kakehashi-nnxc brings one: pip install kakehashi-nnxc"
        )
    wanted = [normalize_name(section) for section in sections]
    labels = {section.label for section in installed}
    for name in wanted:
        if name not in labels:
            raise unknown_name("demo section", name, labels)
    return [section for section in installed if not wanted or section.label in wanted]


def _prepared_folder(output: Path) -> Path:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(
            f"output folder '{output}' cannot be created ({error}); choose another with --output"
        ) from error
    return output.resolve()


def _run_section(section: ContributedCommand, *, output: Path) -> str:
    """Run one section; return why it failed, or an empty string."""
    plugin = section.plugin
    echo_title(f"{section.label}: {plugin.spec.summary}" if plugin.spec else section.label)
    started = time.perf_counter()
    try:
        name = plugin.qualified_name if section.usable else plugin.name
        registry.load_factory("commands", name)(output=output)
    except KakehashiError as error:
        failure = str(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001  plugin border: the others still run
        echo_remark("".join(traceback.format_exception(error)).rstrip())
        failure = f"{type(error).__name__}: {error}"
    else:
        echo(f"({section.label}: {time.perf_counter() - started:.1f} s)")
        return ""
    failure = " ".join(failure.split())
    echo_remark(f"error: section {section.label!r} of {plugin.distribution} failed: {failure}")
    return failure


def _report(
    output: Path,
    before: dict[Path, int],
    failures: dict[str, str],
    *,
    n_sections: int,
    seconds: float,
) -> None:
    echo_title("summary")
    written = [path for path, changed in _files(output).items() if before.get(path) != changed]
    echo(f"files written to {output}: {len(written) or 'none'}")
    for path in written[:_MAX_LISTED_FILES]:
        echo(f"  {path.relative_to(output)}")
    if len(written) > _MAX_LISTED_FILES:
        echo(f"  and {len(written) - _MAX_LISTED_FILES} more")
    succeeded = n_sections - len(failures)
    echo(f"{succeeded} of {n_sections} sections succeeded in {seconds:.1f} s")
    for label, failure in failures.items():
        echo(f"  failed: {label}: {failure}")


def _files(folder: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in sorted(folder.rglob("*")) if p.is_file()}
