"""Empty pictures, without a window system and without matplotlib's global state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kakehashi_core.errors import UnsupportedError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
