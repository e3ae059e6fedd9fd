"""Plots of enhancement factors: what a functional adds to the uniform gas, and to r2SCAN."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kakehashi_core.contracts import XCFunctional
from kakehashi_nnxc.exact_conditions import check_conditions
from kakehashi_nnxc.pointwise_energy import FloatArray, PointwiseEnergy, local_exchange

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SEITZ_RADII = (0.5, 2.0, 8.0)
ALPHAS = (0.0, 0.5, 1.0, 3.0)
COLORS = ("tab:blue", "tab:green", "tab:orange", "tab:red")
GRADIENTS = np.linspace(0.0, 4.0, 81)
MAP_GRADIENTS = np.linspace(0.0, 4.0, 61)
MAP_ALPHAS = np.linspace(0.0, 4.0, 61)


def plot_enhancement(functional: str | XCFunctional | PointwiseEnergy, path: str | Path) -> None:
    """Draw F_xc(s) beside r2SCAN and PBE, and maps of the factors of exchange and correlation.

    F_xc = e_xc / e_x of the unpolarized uniform gas of the same density. Where exchange can be separated
    (see ``PointwiseEnergy.exchange``) the maps show F_x, G_x = F_x/F_x(r2SCAN) and
    G_c = e_c/e_c(r2SCAN); otherwise F_xc/F_xc(r2SCAN).

    Args:
        functional: Registered name, libxc name or functional object; needs kakehashi-pyscf and matplotlib.
        path: PNG file.

    Raises:
        InvalidInputError: See ``PointwiseEnergy``.
    """
    # The object interface: pyplot would pick a backend for the whole process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    energy = functional if isinstance(functional, PointwiseEnergy) else PointwiseEnergy(functional)
    figure = Figure(figsize=(12, 10.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, 3)
    for row, polarization in enumerate((0.0, 1.0)):
        for axis, seitz_radius in zip(axes[row], SEITZ_RADII, strict=True):
            _curves(axis, energy, seitz_radius, polarization)
    axes[0, 0].legend(fontsize=7, ncols=2)
    separable = check_conditions(energy, names=("exchange-limit",))[0].passed
    titles, maps = _part_maps(energy) if separable else _ratio_maps(energy)
    for axis, title, values in zip(axes[2], titles, maps, strict=True):
        _map(figure, axis, title, values)
    figure.suptitle(
        f"{energy.name} (solid), r2SCAN (dashed), PBE (dotted): enhancement over the uniform gas"
    )
    figure.savefig(path, dpi=100, format="png")


def enhancement(
    energy: PointwiseEnergy,
    seitz_radius: float,
    polarization: float,
    gradient: FloatArray,
    alpha: FloatArray | float,
) -> FloatArray:
    """Return F_xc, dimensionless; see ``plot_enhancement``."""
    return energy(seitz_radius, polarization, gradient, alpha) / local_exchange(seitz_radius)


def _curves(axis: Axes, energy: PointwiseEnergy, seitz_radius: float, polarization: float) -> None:
    r2scan, pbe = PointwiseEnergy("r2scan"), PointwiseEnergy("pbe")
    reads_alpha = energy.family in ("MGGA", "NONLOCAL")
    for alpha, color in zip(ALPHAS, COLORS, strict=True):
        if reads_alpha or alpha == ALPHAS[0]:
            own = enhancement(energy, seitz_radius, polarization, GRADIENTS, alpha)
            label = f"α = {alpha:g}" if reads_alpha else energy.name
            axis.plot(GRADIENTS, own, color=color if reads_alpha else "black", label=label)
        base = enhancement(r2scan, seitz_radius, polarization, GRADIENTS, alpha)
        axis.plot(GRADIENTS, base, "--", color=color, linewidth=1.0)
    gga = enhancement(pbe, seitz_radius, polarization, GRADIENTS, 1.0)
    axis.plot(GRADIENTS, gga, ":", color="black", label="PBE")
    axis.set_title(f"r$_s$ = {seitz_radius:g}, ζ = {polarization:g}", fontsize=10)
    axis.set_xlabel("s")
    axis.set_ylabel("F$_{xc}$")


def _mesh() -> tuple[FloatArray, FloatArray]:
    alphas, gradients = np.meshgrid(MAP_ALPHAS, MAP_GRADIENTS, indexing="ij")
    return gradients, alphas


def _part_maps(energy: PointwiseEnergy) -> tuple[tuple[str, ...], tuple[FloatArray, ...]]:
    base = PointwiseEnergy("r2scan")
    gradients, alphas = _mesh()
    rs = SEITZ_RADII[1]
    own_x, base_x = (e.exchange(rs, 0.0, gradients, alphas) for e in (energy, base))
    own_c, base_c = (
        e(rs, 0.0, gradients, alphas) - x for e, x in ((energy, own_x), (base, base_x))
    )
    titles = ("F$_x$", "G$_x$ = F$_x$ / F$_x$(r2SCAN)", f"G$_c$, r$_s$ = {rs:g}, ζ = 0")
    return titles, (own_x / local_exchange(rs), own_x / base_x, own_c / base_c)


def _ratio_maps(energy: PointwiseEnergy) -> tuple[tuple[str, ...], tuple[FloatArray, ...]]:
    base = PointwiseEnergy("r2scan")
    gradients, alphas = _mesh()
    titles = tuple(f"F$_{{xc}}$ / F$_{{xc}}$(r2SCAN), r$_s$ = {rs:g}, ζ = 0" for rs in SEITZ_RADII)
    ratios = tuple(
        energy(rs, 0.0, gradients, alphas) / base(rs, 0.0, gradients, alphas) for rs in SEITZ_RADII
    )
    return titles, ratios


def _map(figure: Figure, axis: Axes, title: str, values: FloatArray) -> None:
    levels = axis.contourf(MAP_GRADIENTS, MAP_ALPHAS, values, levels=21, cmap="viridis")
    axis.set_title(title, fontsize=10)
    axis.set_xlabel("s")
    axis.set_ylabel("α")
    figure.colorbar(levels, ax=axis)
