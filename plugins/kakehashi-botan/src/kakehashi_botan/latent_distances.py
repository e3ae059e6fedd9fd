"""How a network arranges temperatures: distances between what it keeps of whole configurations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kakehashi_botan.figures import empty_figure
from kakehashi_core.errors import InvalidInputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FloatArray = npt.NDArray[np.float64]


def latent_distances(states: npt.ArrayLike) -> FloatArray:
    """Return |g_c - g_c'| of all pairs of configurations, (n, n).

    Args:
        states: What the network keeps of each configuration, (n, width).
    """
    g = np.asarray(states, dtype=float)
    return np.asarray(np.linalg.norm(g[:, None] - g[None], axis=-1))


def temperature_distances(
    states: npt.ArrayLike, temperatures: npt.ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Return distances between the means of temperatures over the spread within them.

    Args:
        states: (n, width).
        temperatures: (n,).

    Returns:
        Temperatures, (n_temperatures,), growing, and distances, (n_temperatures, n_temperatures).
    """
    g, t = np.asarray(states, dtype=float), np.asarray(temperatures, dtype=float)
    levels = np.unique(t)
    means = np.array([g[t == level].mean(axis=0) for level in levels])
    within = g - means[np.searchsorted(levels, t)]
    spread = np.sqrt((within**2).sum(axis=1).mean())
    return levels, latent_distances(means) / spread


def attraction(states: npt.ArrayLike, temperatures: npt.ArrayLike, between: float) -> float:
    """Return where a temperature lies between its neighbors, in latent space less in temperature.

    Zero is linear interpolation; toward -share or 1 - share it is drawn to a neighbor.

    Args:
        states: (n, width).
        temperatures: (n,).
        between: The temperature that is asked about, with neighbors on both sides.

    Raises:
        InvalidInputError: If it has none on one side.
    """
    g, t = np.asarray(states, dtype=float), np.asarray(temperatures, dtype=float)
    levels = np.unique(t)
    below, above = levels[levels < between], levels[levels > between]
    if not len(below) or not len(above) or between not in levels:
        raise InvalidInputError(
            f"{between} does not lie between two of the temperatures {levels.tolist()}"
        )
    low, high, own = (g[t == x].mean(axis=0) for x in (below[-1], above[0], between))
    share = float((own - low) @ (high - low) / ((high - low) @ (high - low)))
    return share - float((between - below[-1]) / (above[0] - below[-1]))


def heat_map(states: npt.ArrayLike, temperatures: npt.ArrayLike) -> Figure:
    """Return a picture of all distances, configurations sorted by temperature.

    Args:
        states: (n, width).
        temperatures: (n,).

    Raises:
        UnsupportedError: If matplotlib is not installed.
    """
    t = np.asarray(temperatures, dtype=float)
    order = np.argsort(t, kind="stable")
    figure = empty_figure(5.6, 4.8)
    axes = figure.add_subplot()
    image = axes.imshow(latent_distances(np.asarray(states, dtype=float)[order]), cmap="viridis")
    levels, counts = np.unique(t, return_counts=True)
    middles = np.cumsum(counts) - 0.5 * counts - 0.5
    for ticks in (axes.set_xticks, axes.set_yticks):
        ticks(middles, [f"{level:g}" for level in levels])
    axes.set_xlabel("T (epsilon_AA / k_B)")
    axes.set_ylabel("T (epsilon_AA / k_B)")
    figure.colorbar(image, ax=axes, label="distance of global states")
    return figure
