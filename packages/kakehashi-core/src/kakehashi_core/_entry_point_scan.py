"""Read the entry points of our groups from ``sys.path``, by either of two backends.

The ``entrypoints`` package raises for every group when any distribution has a malformed
``entry_points.txt``; ``importlib.metadata`` tolerates most such files. Entries carry the value as
it is written in the file, so that both backends lead to the same plugins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import entrypoints

from kakehashi_core.specs import GROUPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of an ``entry_points.txt`` in one of our groups."""

    kind: str
    raw_name: str
    value: str
    distribution: str
    version: str

    @property
    def name(self) -> str:
        """Registry name."""
        return normalize_name(self.raw_name)

    @property
    def qualified_name(self) -> str:
        """The unambiguous ``distribution:name``."""
        return f"{self.distribution}:{self.name}"

    def __str__(self) -> str:
        return f"{self.distribution}: [{GROUPS[self.kind]}] {self.raw_name} = {self.value}"


def normalize_name(name: str) -> str:
    """Return a registry name in lower case with ``-`` in place of ``_``."""
    return name.strip().lower().replace("_", "-")


def normalize_distribution(name: str) -> str:
    """Return a distribution name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def from_entrypoints() -> Iterator[Entry]:
    """List our entries with the ``entrypoints`` package; raises if any file is malformed."""
    # get_group_all would read every file once per group; this reads them once for all groups.
    seen: set[str] = set()
    for config, distribution in entrypoints.iter_files_distros(repeated_distro="all"):
        name, version = _from_folder(f"{distribution.name}-{distribution.version or ''}")
        if name in seen:  # My_Pkg and my-pkg are one distribution: the first on sys.path wins
            continue
        seen.add(name)
        for kind, group in GROUPS.items():
            if group not in config:
                continue
            version = version or _installed_version(name)
            for raw_name, value in config.items(group, raw=True):
                yield Entry(
                    kind=kind, raw_name=raw_name, value=value, distribution=name, version=version
                )


def from_importlib() -> Iterator[Entry]:
    """List our entries with ``importlib.metadata``; distributions it cannot read are left out."""
    from importlib import metadata  # 30 ms, wanted only when entrypoints fails or doctor asks

    kinds = {group: kind for kind, group in GROUPS.items()}
    seen: set[str] = set()
    for distribution in metadata.distributions():
        try:
            name, version = _identity(distribution)
            if name in seen:
                continue
            seen.add(name)
            points = [point for point in distribution.entry_points if point.group in kinds]
        except Exception:  # noqa: BLE001, S112  foreign files; guilty_files names them
            continue
        for point in points:
            yield Entry(
                kind=kinds[point.group],
                raw_name=point.name,
                value=point.value,
                distribution=name,
                version=version,
            )


def guilty_files(path: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Parse every ``entry_points.txt`` on ``path`` alone; give path and error of each bad one."""
    seen: set[Path] = set()
    for folder in path:
        for pattern in ("*.dist-info/entry_points.txt", "*.egg-info/entry_points.txt"):
            for file in sorted(Path(folder or ".").glob(pattern)):
                resolved = file.resolve()
                if resolved in seen:
                    continue
                seen.add(resolved)
                parser = entrypoints.CaseSensitiveConfigParser(delimiters=("=",))
                try:
                    parser.read_string(file.read_text(encoding="utf-8"), source=str(file))
                except Exception as error:  # noqa: BLE001  whatever is wrong with it is the finding
                    yield str(file), one_line(error)


def parsed(entry: Entry) -> Any | None:
    """Return the loadable entry point, or None where ``entrypoints`` cannot read the value."""
    try:
        return entrypoints.EntryPoint.from_string(entry.value, entry.raw_name)
    except entrypoints.BadEntryPoint:
        return None


def comparable(entry: Entry) -> tuple[str, ...]:
    """Return what both backends must agree on."""
    return (entry.kind, entry.raw_name, re.sub(r"\s", "", entry.value), entry.distribution)


def one_line(error: BaseException) -> str:
    """Return type and message of an error without line breaks."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _from_folder(stem: str) -> tuple[str, str]:
    """Split "name-version" and "name-version-py3.11"; names written by hand may hold dashes."""
    match = re.fullmatch(r"(.+?)-*(?:-v?(\d[^-]*))?(?:-py\d[^-]*)?", stem)
    name, version = (match[1], match[2] or "") if match else (stem, "")
    return normalize_distribution(name), version


def _installed_version(distribution: str) -> str:
    # Folders of development installs ("name.egg-info") carry no version in their name.
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except Exception:  # noqa: BLE001  a version is a nicety, its file may be damaged or missing
        return ""


def _identity(distribution: Any) -> tuple[str, str]:
    # The folder name is the fallback that entrypoints always uses: METADATA may be missing.
    folder = Path(str(getattr(distribution, "_path", ""))).stem
    name, version = _from_folder(folder)
    try:
        fields = distribution.metadata
        name, version = fields["Name"] or name, fields["Version"] or version
    except Exception:  # noqa: BLE001, S110  missing or damaged: the folder name has to do
        pass
    return normalize_distribution(name), version
