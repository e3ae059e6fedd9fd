"""A report of a prediction as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kakehashi_deqh.predictor import HamiltonianReport

TITLES = {
    "change": "change of the block",
    "feedback": "of which by feedback",
    "start": "effect of the start Hamiltonian",
    "overlap": "effect of the overlap",
}


def save_report_plot(
    report: HamiltonianReport,
    contributions: Mapping[str, npt.NDArray[np.float64]],
    labels: Sequence[str],
    path: Path,
) -> None:
    """Draw residuals by evaluation, residuals of atoms, and contributions of pairs of atoms.

    Args:
        report: Of the prediction.
        contributions: From ``pair_contributions``.
        labels: Of the atoms.
        path: PNG file.
    """
    figure = Figure(figsize=(14.0, 7.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3).ravel()
    steps = np.arange(1, len(report.residuals) + 1)
    axes[0].semilogy(steps, np.maximum(report.residuals, 1e-16), "o-")
    axes[0].set(xlabel="evaluation", ylabel="residual (hartree)", title=report.method)
    axes[1].bar(range(len(labels)), np.maximum(report.atom_residuals, 1e-16))
    axes[1].set(yscale="log", ylabel="last residual (hartree)")
    axes[1].set_xticks(range(len(labels)), labels)
    for one, (name, title) in zip(axes[2:], TITLES.items(), strict=True):
        image = one.imshow(1e3 * contributions[name], cmap="viridis")
        one.set(title=f"{title} (mHa)")
        one.set_xticks(range(len(labels)), labels)
        one.set_yticks(range(len(labels)), labels)
        figure.colorbar(image, ax=one)
    figure.savefig(path, dpi=120)
