"""``kakehashi glass map``: a picture of where a glass will move."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from kakehashi_botan.annotation import DOMAIN_NOTES, OUT_OF_DOMAIN, annotate
from kakehashi_botan.figures import check_picture, empty_figure
from kakehashi_botan.particle_types import SPECIES
from kakehashi_botan.propensity_calculator import (
    PropensityCalculator,
    TemperaturePropensityCalculator,
)
from kakehashi_core.consoles import result_console
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
    species: tuple[str, ...] = SPECIES,
) -> int:
    """Draw the predicted propensity of a configuration.

    Args:
        file: Structure in any format that ASE reads; an array "types" says the species, or symbols.
        output: Picture to write; the ending says its format. Ending in .extxyz, the annotated structure.
        model: botan or t-botan.
        input: What the model reads: TS, IS or TS+IS.
        index: Which structure of the file; the last one by default.
        slice_width: Thickness of the slice through the middle that is drawn, sigma_AA.
        species: Chemical symbols that stand for A and B, for instance --species H He for a dump of LAMMPS
            without names.
    """
    from ase.io import write

    if model not in MODELS:
        raise unknown_name("model", model, MODELS)
    if not slice_width > 0.0:
        raise InvalidInputError(f"--slice-width is {slice_width}; it must be positive")
    structure = output.suffix in {".extxyz", ".xyz"}
    if not structure:
        check_picture(output)
    elif not output.absolute().parent.is_dir():
        raise InvalidInputError(f"there is no folder {output.absolute().parent} for {output.name}")
    calculator = MODELS[model](input=cast("InputKind", input), species=species)
    atoms = _read(file, index)
    atoms.calc = calculator
    annotate(atoms)
    if structure:
        atoms.calc = None
        write(output, atoms, format="extxyz")
    else:
        propensity_figure(atoms, slice_width=slice_width).savefig(output, dpi=150)
    result_console().print(f"{output}: {_summary(atoms)}", soft_wrap=True, highlight=False)
    return 0


def _read(file: Path, index: int) -> Atoms:
    """Return one structure of a file.

    Raises:
        InvalidInputError: If there is none.
    """
    from ase.io import read

    if not file.is_file():
        raise InvalidInputError(f"there is no file {file}; check the name and the folder")
    try:
        return cast("Atoms", read(file, index=index))
    except (IndexError, StopIteration) as error:
        raise InvalidInputError(f"{file.name} has no structure number {index}") from error
    except Exception as error:  # readers of ASE raise whatever their format runs into
        raise InvalidInputError(
            f"ASE does not read {file.name}: {error!r}. Check its ending, or convert it to .extxyz."
        ) from error


def _summary(atoms: Atoms) -> str:
    values = atoms.arrays["propensity"]
    text = (
        f"propensity {values.mean():.4g} on average over {len(values)} particles, {values.min():.4g} to "
        f"{values.max():.4g} sigma_AA"
    )
    if "temperature_estimate" in atoms.info:
        text += f", estimated T = {atoms.info['temperature_estimate']:.3f}"
    if DOMAIN_NOTES in atoms.info:
        text += f". Outside the domain of the model: {atoms.info[DOMAIN_NOTES]}"
    return text


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
    if atoms.info.get(OUT_OF_DOMAIN):
        title += "\noutside the domain of the model: do not trust"
    axes.set_title(title, fontsize=10)
    figure.colorbar(dots, ax=axes, label="predicted propensity (sigma_AA)")
    return figure
