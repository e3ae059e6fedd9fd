"""Energy, specific heat and entropy against temperature as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kakehashi_dbm.exact_references import Reference
from kakehashi_dbm.thermal_curve import ThermalCurve

N_POINTS = 80


def save_thermal_plot(
    curve: ThermalCurve,
    beta: float,
    rows: Sequence[Mapping[str, Any]],
    n_sites: int,
    reference: tuple[str, Reference] | None,
    path: Path,
) -> None:
    """Draw the curve with its error, the energies it goes through, and exact lines where there are any.

    Args:
        curve: What is drawn, per site.
        beta: Largest inverse temperature.
        rows: "beta" and "energy" of the temperatures that were sampled.
        n_sites: Number of spins.
        reference: Name and function of an exact solution, or None.
        path: PNG file.
    """
    betas = curve.betas(beta, N_POINTS)
    figure = Figure(figsize=(11.0, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    for one, (label, function) in zip(
        axes,
        (("E / N", curve.energy), ("C / N", curve.specific_heat), ("S / N", curve.entropy)),
        strict=True,
    ):
        found = [function(float(b)) for b in betas]
        mean = np.array([e.mean for e in found]) / n_sites
        error = np.array([e.stderr for e in found]) / n_sites
        one.plot(1.0 / betas, mean, color="C0", label="sampled")
        one.fill_between(1.0 / betas, mean - error, mean + error, color="C0", alpha=0.3)
        one.set(xlabel="T", ylabel=label, xscale="log")
    shown = [row for row in rows if row["beta"] >= betas[0]]
    axes[0].errorbar(
        [1.0 / row["beta"] for row in shown],
        [row["energy"]["mean"] / n_sites for row in shown],
        [row["energy"]["stderr"] / n_sites for row in shown],
        fmt=".",
        color="C0",
    )
    if reference is not None:
        exact = [reference[1](float(b)) for b in betas]
        values = (
            [e.energy for e in exact],
            [e.specific_heat for e in exact],
            [e.entropy(float(b)) for e, b in zip(exact, betas, strict=True)],
        )
        for one, value in zip(axes, values, strict=True):
            one.plot(1.0 / betas, np.array(value) / n_sites, "k--", lw=1.0, label=reference[0])
    axes[0].legend()
    figure.savefig(path, dpi=130)
