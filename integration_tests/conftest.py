from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

FakeDistribution = Callable[..., None]


@pytest.fixture
def fake_distribution(tmp_path: Path) -> tuple[dict[str, str], FakeDistribution]:
    """Return an environment for subprocesses, and a function that adds distributions to it."""
    site = tmp_path / "site"
    site.mkdir()
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("KAKEHASHI_")},
        "PYTHONPATH": str(site),
        # Wide enough that no table wraps a name or a reason.
        "COLUMNS": "400",
        "NO_COLOR": "1",
    }

    def add(distribution: str, entries: Mapping[str, str], code: str) -> None:
        """Install ``distribution`` with entry points "group/name" -> value and one module."""
        module = distribution.replace("-", "_")
        info = site / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        )
        lines = []
        for key, value in entries.items():
            group, _, name = key.partition("/")
            lines += [f"[{group}]", f"{name} = {value}"]
        (info / "entry_points.txt").write_text("\n".join([*lines, ""]))
        (site / f"{module}.py").write_text(code)

    return environment, add


@pytest.fixture
def kakehashi() -> list[str]:
    """Command that runs the command line of this environment."""
    return [str(Path(sys.executable).with_name("kakehashi"))]
