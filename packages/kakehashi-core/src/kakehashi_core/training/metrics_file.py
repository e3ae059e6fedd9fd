"""The metrics of a run: one JSON object per line and step, and a plot made from the file."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_core.files import atomic_write

METRICS_NAME = "metrics.jsonl"
PLOT_NAME = "metrics.png"
VALIDATION = "validation_"
"""What the names of validation metrics start with in the file."""


class MetricsWriter:
    """Appends to a metrics file, after cutting off what a checkpoint does not know of.

    Args:
        path: The file, created if absent.
        n_bytes: Length up to which the file is kept: ``n_bytes`` at the time of the checkpoint.
    """

    def __init__(self, path: Path, *, n_bytes: int) -> None:
        self._file: IO[bytes] = path.open("ab")
        if self.n_bytes > n_bytes:
            self._file.truncate(n_bytes)
        elif self.n_bytes < n_bytes:
            warnings.warn(
                f"{path} has {self.n_bytes} bytes, at the last checkpoint it had {n_bytes}: metrics were "
                "lost, the training itself goes on unharmed",
                UserWarning,
                stacklevel=4,
            )

    @property
    def n_bytes(self) -> int:
        """Length of the file."""
        self._file.flush()
        return os.fstat(self._file.fileno()).st_size

    def write(self, line: Mapping[str, float]) -> None:
        """Append one line and hand it to the operating system."""
        self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
        self._file.flush()

    def sync(self) -> None:
        """Bring everything to the disk; comes before the checkpoint that counts on it."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_metrics(directory: str | Path) -> list[dict[str, float]]:
    """Return the metrics of a run, one mapping per step; also while the run goes on.

    Args:
        directory: The run directory.

    Raises:
        InvalidInputError: If there is no metrics file, or a line is not one.
    """
    path = Path(directory) / METRICS_NAME
    if not path.is_file():
        raise InvalidInputError(f"{path} does not exist; give the directory of a training run")
    records: list[dict[str, float]] = []
    # What follows the last line end is still being written, or was when the process died.
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            record = json.loads(line)
            record["step"]
        except (ValueError, LookupError, TypeError) as error:
            raise InvalidInputError(
                f"line {number} of {path} holds no metrics ({error}); resume the run to repair the file"
            ) from error
        records.append(record)
    return records


def plot_metrics(directory: str | Path) -> Path:
    """Draw all metrics of a run over the steps into ``metrics.png`` in its directory.

    Args:
        directory: The run directory.

    Returns:
        Path of the picture.

    Raises:
        UnsupportedError: If matplotlib is not installed.
        InvalidInputError: See ``read_metrics``.
    """
    check_plotting()
    # The object interface: pyplot would pick a backend for the whole process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels(read_metrics(directory))
    figure = Figure(figsize=(7.0, 2.4 * max(1, len(panels))), layout="constrained")
    FigureCanvasAgg(figure)  # stays with the figure
    all_axes = figure.subplots(max(1, len(panels)), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, curves) in zip(all_axes, panels.items(), strict=False):
        for label, (steps, values) in curves.items():
            marker = "." if len(steps) < 50 else None
            axes.plot(steps, values, label=label, marker=marker, linewidth=1.0)
        if _wants_logarithm(curves):
            axes.set_yscale("log")
        axes.set_ylabel(name)
        axes.grid(visible=True, alpha=0.3)
        if len(curves) > 1:
            axes.legend()
    all_axes[-1].set_xlabel("step")
    path = Path(directory) / PLOT_NAME
    with atomic_write(path) as file:
        figure.savefig(file, format="png")
    return path


def check_plotting() -> None:
    """Raise unless matplotlib is there.

    Raises:
        UnsupportedError: If it is not installed.
    """
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise UnsupportedError(
            "the plot of the metrics needs matplotlib, which is not installed. Install the extra: "
            "pip install 'kakehashi-core[train]', or train with plot=False"
        )


Curves = dict[str, tuple[list[float], list[float]]]


def _panels(records: list[dict[str, float]]) -> dict[str, Curves]:
    """Return metric to curves; a metric and its validation share a panel."""
    panels: dict[str, Curves] = {}
    for record in records:
        for key, value in record.items():
            if key == "step":
                continue
            name = key.removeprefix(VALIDATION)
            label = "training" if name == key else "validation"
            steps, values = panels.setdefault(name, {}).setdefault(label, ([], []))
            steps.append(record["step"])
            values.append(value)
    return panels


def _wants_logarithm(curves: Mapping[str, Any]) -> bool:
    values = [value for _, listed in curves.values() for value in listed]
    return min(values) > 0 and math.log10(max(values) / min(values)) > 1.5
