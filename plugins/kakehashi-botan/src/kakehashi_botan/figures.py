"""Empty pictures, without a window system and without matplotlib's global state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kakehashi_core.errors import InvalidInputError, UnsupportedError

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure


def check_picture(path: Path) -> None:
    """Raise before anything takes time if a picture cannot be written there.

    Raises:
        InvalidInputError: If there is no such folder, or matplotlib does not know the ending.
        UnsupportedError: If matplotlib is not installed.
    """
    if not path.absolute().parent.is_dir():
        raise InvalidInputError(f"there is no folder {path.absolute().parent} for {path.name}")
    known = empty_figure(1.0, 1.0).canvas.get_supported_filetypes()
    if path.suffix.removeprefix(".") not in known:
        raise InvalidInputError(
            f"pictures like {path.name} cannot be written; take one of {', '.join(sorted(known))}"
        )


def empty_figure(width: float, height: float) -> Figure:
    """Return a figure of a size in inches.

    Raises:
        UnsupportedError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UnsupportedError(
            "pictures need matplotlib: pip install 'kakehashi-botan[map]'"
        ) from error
    return Figure(figsize=(width, height), layout="constrained")
