"""Trials as a picture: what the first Fock matrix says, and how many Fock matrices there were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kakehashi_deqh.evaluation.guess_trials import GuessTrial

SMALLEST = 1e-9
"""Hartree; smaller errors are drawn there."""
BAD = 1e-3


def save_trials_plot(trials: Mapping[str, Sequence[GuessTrial]], path: Path) -> None:
    """Draw estimated against true energy errors, and histograms of Fock matrices with and without.

    Args:
        trials: By the name of the set.
        path: PNG file.
    """
    figure = Figure(figsize=(6.0 * (1 + len(trials)), 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    first, *others = figure.subplots(1, 1 + len(trials), squeeze=False)[0]
    for part, found in trials.items():
        known = np.array([[t.one_shot_error, t.estimated_error] for t in found])
        known = np.maximum(known[np.isfinite(known).all(axis=1)], SMALLEST)
        first.loglog(*known.T, "o", alpha=0.6, label=part)
    ends = [SMALLEST, 10.0]
    first.plot(ends, ends, "k-", lw=0.8)
    first.axvline(BAD, color="k", ls=":", lw=0.8)
    first.set(
        xlabel="energy of the predicted density above the minimum (hartree)",
        ylabel="estimate of the first Fock matrix (hartree)",
    )
    first.legend()
    for axes, (part, found) in zip(others, trials.items(), strict=True):
        with_, without = [t.n_builds for t in found], [t.n_builds_minao for t in found]
        bins = np.arange(0.5, max(*with_, *without) + 1.0)
        axes.hist([without, with_], bins=bins.tolist(), label=["minao", "predicted"])
        axes.set(xlabel="Fock matrices", ylabel="molecules", title=part)
        axes.legend()
    figure.savefig(path, dpi=120)
