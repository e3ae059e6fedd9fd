"""The layers of a machine as a picture."""

from __future__ import annotations

from typing import Any

import numpy as np

from kakehashi_dbm.boltzmann_machine import BoltzmannMachine


def draw_machine(machine: BoltzmannMachine, axes: Any = None) -> Any:
    """Draw units and weights: physical spins on top, ancillas below, deep units between, each at its site.

    Solid lines are real weights, dashed ones complex; their width grows with the weight.

    Args:
        machine: As the constructions make them; units without a known place stand at the side.
        axes: Of matplotlib; None makes a figure, which ``axes.figure.savefig(path)`` writes.

    Returns:
        The axes.
    """
    if axes is None:
        from matplotlib.figure import Figure

        height = 2.0 + 0.5 * len(np.unique(machine.places[:, 1]))
        size = (2.5 + 0.9 * machine.n_sites, min(height, 12.0))
        axes = Figure(figsize=size, layout="constrained").subplots()
    places = machine.places.astype(float)
    n = machine.n_sites
    hidden = np.array(
        [
            places[np.flatnonzero(w)].mean(axis=0) if w.any() else (-1.0, 0.0)
            for w in machine.weights.T
        ]
    ).reshape(-1, 2)
    # Hidden units that join the same units stand side by side.
    shift = np.zeros(len(hidden))
    seen: dict[tuple[float, float], int] = {}
    for k, (x, y) in enumerate(hidden):
        key = (round(float(x), 6), round(float(y), 6))
        shift[k] = 0.12 * seen.setdefault(key, 0)
        seen[key] += 1
    hidden[:, 0] += shift
    largest = float(np.abs(machine.weights).max()) if machine.n_hidden else 1.0
    for unit, j in zip(*np.nonzero(machine.weights), strict=True):
        w = machine.weights[unit, j]
        axes.plot(
            *zip(places[unit], hidden[j], strict=True),
            color="0.6",
            linestyle="--" if w.imag else "-",
            linewidth=0.3 + 1.5 * abs(w) / largest,
            zorder=1,
        )
    kinds = (
        ("physical s", places[:n], "C0", "o"),
        ("ancilla s'", places[n : 2 * n], "C1", "o"),
        ("deep d", places[2 * n :], "C2", "o"),
        ("hidden h", hidden, "white", "s"),
    )
    for label, points, color, marker in kinds:
        if len(points):
            axes.scatter(
                *points.T, c=color, marker=marker, edgecolors="black", label=label, zorder=2
            )
    axes.set_xlabel("site")
    axes.set_ylabel("layer")
    axes.set_title(
        f"{2 * n} spins, {machine.n_hidden} hidden and {machine.n_deep} deep units", fontsize=10
    )
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
    return axes
