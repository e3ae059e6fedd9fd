"""``kakehashi glass map``: a picture of where a glass will move."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from kakehashi_botan.annotation import annotate
from kakehashi_botan.figures import empty_figure
from kakehashi_botan.propensity_calculator import (
    PropensityCalculator,
    TemperaturePropensityCalculator,
)
from kakehashi_core.errors import InvalidInputError, unknown_name

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.figure import Figure

    from kakehashi_botan.structure_features import InputKind

MODELS = {"botan": PropensityCalculator, "t-botan": TemperaturePropensityCalculator}


def glass_map(
    file: Path,
    *,
    output: Path = Path("map.png"),
    model: str = "botan",
    input: str = "TS+IS",  # noqa: A002  the word of the literature
    index: int = -1,
    slice_width: float = 2.0,
) -> int:
    """Draw the predicted propensity of a configuration.

    Args:
        file: Structure in any format that ASE reads; Ar and Ne, or an array "types", stand for A and B.
        output: Picture to write; the ending says its format. Ending in .extxyz, the annotated structure.
        model: botan or t-botan.
        input: What the model reads: TS, IS or TS+IS.
        index: Which structure of the file; the last one by default.
        slice_width: Thickness of the slice through the middle that is drawn, sigma_AA.
    """
    from ase.io import read, write

    if model not in MODELS:
        raise unknown_name("model", model, MODELS)
    if not file.is_file():
        raise InvalidInputError(f"there is no file {file}; check the name and the folder")
    atoms = cast("Atoms", read(file, index=index))
    atoms.calc = MODELS[model](input=cast("InputKind", input))
    annotate(atoms)
    if output.suffix in {".extxyz", ".xyz"}:
        atoms.calc = None
        write(output, atoms, format="extxyz")
    else:
        propensity_figure(atoms, slice_width=slice_width).savefig(output, dpi=150)
    return 0


def propensity_figure(atoms: Atoms, *, slice_width: float = 2.0) -> Figure:
    """Return a picture of a slice through an annotated structure, colored by propensity.

    Args:
        atoms: With an array "propensity", see ``annotate``.
        slice_width: Thickness of the slice through the middle of the third direction, sigma_AA.

    Raises:
        UnsupportedError: If matplotlib is not installed.
    """
    fractional = atoms.get_scaled_positions(wrap=True)
    height = atoms.get_volume() / np.linalg.norm(np.cross(atoms.cell[0], atoms.cell[1]))
    shown = np.abs(fractional[:, 2] - 0.5) * height < 0.5 * slice_width
    flat = fractional[shown].copy()
    flat[:, 2] = 0.0
    x, y, _ = (flat @ atoms.cell.array).T
    values = atoms.arrays["propensity"][shown]
    figure = empty_figure(6.4, 5.6)
    axes = figure.add_subplot()
    large = atoms.numbers[shown] == np.bincount(atoms.numbers).argmax()
    dots = axes.scatter(
        x,
        y,
        c=values,
        s=np.where(large, 60.0, 25.0),
        cmap="inferno",
        edgecolors="0.3",
        linewidths=0.3,
    )
    axes.set_aspect("equal")
    axes.set_xlabel("x (sigma_AA)")
    axes.set_ylabel("y (sigma_AA)")
    title = f"slice of {slice_width:g} sigma_AA through {len(atoms)} particles"
    if "temperature_estimate" in atoms.info:
        title += f", estimated T = {atoms.info['temperature_estimate']:.3f}"
    axes.set_title(title, fontsize=10)
    figure.colorbar(dots, ax=axes, label="predicted propensity (sigma_AA)")
    return figure
