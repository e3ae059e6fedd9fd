"""The picture of the layer study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def save_layer_plot(found: Mapping[str, Any], path: Path) -> None:
    """Draw variance and measured acceptance against parameters, all seeds.

    Args:
        found: What ``layer_study`` returned.
        path: PNG file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in found["rows"]:
        groups.setdefault((row["model"], row["head"]), []).append(row)
    for (model, head), rows in sorted(groups.items()):
        sizes = np.array([r["n_parameters"] for r in rows])
        marker = {"attention": "o", "linear": "s", "four-spin": "^"}[model]
        label = f"{model}, {head} shells"
        left.loglog(sizes, [r["variance"] for r in rows], marker, label=label)
        right.semilogx(sizes, [r["measured_acceptance"] for r in rows], marker, label=label)
    left.set(xlabel="parameters", ylabel="variance of log W - log W_eff")
    right.set(xlabel="parameters", ylabel="measured acceptance", ylim=(0.0, 1.0))
    left.legend(fontsize="small")
    figure.savefig(path, dpi=130)
