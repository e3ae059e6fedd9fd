"""The script of forty lines and its accelerated twin."""

from __future__ import annotations

import difflib
import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_two_lines_accelerate_a_script():
    """Oracle: each other: equal averages, and an error that is several times smaller."""
    found = []
    for name in ("metropolis.py", "accelerated.py"):
        done = subprocess.run(
            [sys.executable, EXAMPLES / name], capture_output=True, text=True, check=True
        )
        match = re.search(r"= ([\d.]+) \+- ([\d.]+)", done.stdout)
        assert match is not None, done.stdout
        found.append((float(match[1]), float(match[2])))
    (plain, plain_error), (fast, fast_error) = found
    assert abs(plain - fast) < 4 * (plain_error**2 + fast_error**2) ** 0.5
    assert fast_error < 0.4 * plain_error
    lines = [
        (EXAMPLES / name).read_text("utf-8").replace("\n\n", "\n").splitlines()[1:]
        for name in ("metropolis.py", "accelerated.py")
    ]
    changed = [
        line for line in difflib.ndiff(*lines) if line[2:].strip() and line.startswith(("- ", "+ "))
    ]
    assert sum(line.startswith("- ") for line in changed) == 2
    assert sum(line.startswith("+ ") for line in changed) == 3
    assert len(lines[0]) <= 48
