"""``kakehashi new NAME``: a plugin that passes its checks, to be changed into one's own."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from pathlib import Path

from kakehashi_core.cli.output import echo
from kakehashi_core.errors import InvalidInputError

DISTRIBUTION = "kakehashi-template"
PACKAGE = "kakehashi_template"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SKIPPED = ("__pycache__", ".pytest_cache", ".ruff_cache", ".mypy_cache")


def run_new(name: str, *, folder: Path) -> int:
    """Copy the template under a new name.

    Args:
        name: Of the distribution and of the model; words of lower-case letters and digits with hyphens.
        folder: Where the new folder is made.

    Returns:
        Exit code.

    Raises:
        InvalidInputError: If the name does not do, or the folder is there already.
    """
    package = name.replace("-", "_")
    if not _NAME.fullmatch(name) or keyword.iskeyword(package):
        raise InvalidInputError(
            f"{name!r} does not do as a name: lower-case letters, digits and single hyphens, such as "
            "'my-functional'"
        )
    target = folder / name
    if target.exists():
        raise InvalidInputError(f"{target} exists; choose another name or another folder")
    for source, relative in sorted(_files(template_folder())):
        text = source.read_text(encoding="utf-8")
        path = target / _renamed(relative.as_posix(), name, package)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_renamed(text, name, package), encoding="utf-8", newline="\n")
    echo(f"{target}: a functional for PySCF. Next:")
    echo(f"  pip install -e '{target}[test]'")
    echo(f"  kakehashi check {name}")
    echo(f"Then change {target / 'src' / package / 'functional.py'}; README.md says the rest.")
    return 0


def template_folder() -> Path:
    """Return where the template is: inside the wheel, or in the repository for editable installations."""
    packaged = Path(__file__).parent / "template"
    if packaged.is_dir():
        return packaged
    for parent in Path(__file__).parents:
        if (parent / "plugins" / "template" / "pyproject.toml").is_file():
            return parent / "plugins" / "template"
    raise InvalidInputError(
        f"the template is missing beside {__file__}; install kakehashi-core again"
    )


def _files(folder: Path) -> Iterator[tuple[Path, Path]]:
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if path.is_file() and not set(relative.parts) & set(_SKIPPED):
            yield path, relative


def _renamed(text: str, name: str, package: str) -> str:
    return text.replace(DISTRIBUTION, name).replace(PACKAGE, package)
