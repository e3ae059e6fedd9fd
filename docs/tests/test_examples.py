"""Run every Python block of every README and of every page of the site.

The blocks of one file run in order, share their names, and start in an empty working directory.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("sybil", reason="the examples are found by sybil: pip install 'sybil>=9'")

from sybil import Example, Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED_WEIGHTS = ROOT.parent / "shared" / "data" / "nnxc" / "NNmGGA"
"""A weight file of the paper, if somebody put it there; it is not part of kakehashi."""

PATTERNS = (
    "README.md",
    "packages/*/README.md",
    "plugins/*/README.md",
    "integration_tests/*/README.md",
    "docs/pages/**/*.md",
)
FILES = sorted(path for pattern in PATTERNS for path in ROOT.glob(pattern))
PARSER = Sybil(parsers=[PythonCodeBlockParser(), SkipParser()])
EXAMPLES = [example for path in FILES for example in PARSER.parse(path).examples()]


def _identifier(example: Example) -> str:
    return f"{Path(example.path).relative_to(ROOT).as_posix()}:{example.line}"


@pytest.fixture(scope="module")
def folders() -> dict[str, Path]:
    """Working directory of each file met so far."""
    return {}


@pytest.mark.parametrize("example", EXAMPLES, ids=_identifier)
def test_example_runs(
    example: Example,
    folders: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Oracle: the assertions inside the examples."""
    folder = folders.setdefault(example.path, tmp_path)
    if PUBLISHED_WEIGHTS.exists():
        shutil.copy(PUBLISHED_WEIGHTS, folder)
    monkeypatch.chdir(folder)
    example.namespace["published_weights"] = PUBLISHED_WEIGHTS.exists()
    example.evaluate()


def test_no_block_is_overlooked() -> None:
    """Oracle: a count of the opening fences, which the parser does not share."""
    fences = sum(path.read_text(encoding="utf-8").count("```python") for path in FILES)
    assert fences > len(PATTERNS)
    assert fences == sum(isinstance(example.parsed, str) for example in EXAMPLES)
