"""What the shipped models are trained on: molecules, temperatures, seeds, sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from kakehashi_core.ensembles import run_ensemble
from kakehashi_core.errors import unknown_name
from kakehashi_core.random_streams import spawn
from kakehashi_deqh.hamiltonian_model import ModelSettings
from kakehashi_deqh.training.dynamics import trajectory
from kakehashi_deqh.training.hamiltonian_fit import FitSettings
from kakehashi_deqh.training.model_hessian import model_modes
from kakehashi_deqh.training.normal_modes import NormalModes, normal_modes
from kakehashi_deqh.training.scf_data import Calculation, Level, load_calculations

INTERVAL = 20
"""Steps of molecular dynamics from one geometry to the next."""
TRAJECTORY = 20
"""Geometries of one trajectory; trajectories can run side by side, and are kept when they are finished."""

Geometry = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How the data of a model are made, and how it is fitted.

    Attributes:
        name: Registry name of the model.
        summary: What it predicts, in words.
        molecules: Names of ``ase.build.molecule``.
        level: What is calculated.
        model_vibrations: Take vibrations around the geometries of ASE from ``model_hessian`` instead of
            relaxing molecules and calculating them.
        sampling: "modes" for oscillators, or "dynamics" for molecular dynamics that starts from them: with
            anharmonicity and internal rotations, at ``INTERVAL`` forces for each geometry.
        temperature: Of the geometries, kelvin.
        n_train: Geometries to learn from, of all molecules together.
        n_test: Geometries that are only looked at in the end.
        n_forces: Of these, so many with forces.
        n_far: Geometries far from equilibrium, only looked at in comparisons.
        far_temperature: Of them, kelvin.
        seed: Of the geometries.
        model: Shape of the model.
        fit: How it is fitted.
    """

    name: str
    summary: str
    molecules: tuple[str, ...]
    level: Level
    model_vibrations: bool = False
    sampling: Literal["modes", "dynamics"] = "modes"
    temperature: float = 500.0
    n_train: int
    n_test: int = 100
    n_forces: int = 20
    n_far: int = 30
    far_temperature: float = 1500.0
    seed: int = 1
    model: ModelSettings = field(default_factory=ModelSettings)
    fit: FitSettings = field(default_factory=FitSettings)


# fmt: off
SMALL_MOLECULES = (
    "H2O", "NH3", "CH4", "CO", "N2", "HCN", "C2H2", "H2CO", "H2O2", "C2H4", "CH3OH", "N2H4",
    "H3CNH2", "C2H6", "CO2", "N2O", "H2CCO", "HCOOH", "CH3CN", "C3H4_C2v", "C3H4_C3v", "C3H4_D2d",
    "CH2OCH2", "CH3CHO", "CH2NHCH2", "C3H6_Cs", "C3H6_D3h", "CH3CH2OH", "CH3OCH3", "C2H6NH",
    "CH3CH2NH2", "C3H8", "NCCN", "OCHCHO", "CH3NO2", "CH3ONO", "H2CCHCN", "CH3COOH", "HCOOCH3",
    "CH3CONH2", "2-butyne", "CH3COCH3", "bicyclobutane", "butadiene", "cyclobutene",
    "methylenecyclopropane", "C2H6CHOH", "CH3CH2OCH3", "cyclobutane", "isobutene", "C3H9N",
    "isobutane", "trans-butane", "C4H4O", "C4H4NH", "C5H8",
)
# fmt: on
"""Closed shells of H, C, N and O in ASE's G2 set, up to five heavier atoms."""

RECIPES = (
    Recipe(
        name="deqh-water",
        summary="water",
        molecules=("H2O",),
        level=Level(xc="pbe"),
        n_train=400,
        fit=FitSettings(steps=7000, feedback_steps=1000),
    ),
    Recipe(
        name="deqh-ethanol",
        summary="ethanol",
        molecules=("CH3CH2OH",),
        level=Level(xc="pbe"),
        n_train=500,
        n_test=60,
        n_forces=10,
        model=ModelSettings(n_channels=32),
        fit=FitSettings(
            steps=20000,
            feedback_steps=1500,
            optimizer="soap",
            batch_size=3,
            learning_rate=2.5e-2,
            feedback_rate=2e-3,
        ),
    ),
    Recipe(
        name="deqh-hcno",
        summary="small molecules of H, C, N and O",
        molecules=SMALL_MOLECULES,
        level=Level(xc="b3lyp5"),
        model_vibrations=True,
        temperature=700.0,
        n_train=8 * len(SMALL_MOLECULES),
        n_test=2 * len(SMALL_MOLECULES),
        n_forces=10,
        model=ModelSettings(n_channels=32),
        fit=FitSettings(
            steps=20000,
            feedback_steps=1500,
            optimizer="soap",
            batch_size=4,
            learning_rate=2.5e-2,
            feedback_rate=2e-3,
        ),
    ),
)


def recipe(name: str) -> Recipe:
    """Return a recipe.

    Raises:
        UnknownNameError: If there is none of this name.
    """
    for one in RECIPES:
        if name in {one.name, one.name.removeprefix("deqh-")}:
            return one
    raise unknown_name("recipe", name, [r.name for r in RECIPES])


def geometries(
    chosen: Recipe, directory: Path, *, executor: Executor | None = None
) -> tuple[list[Geometry], list[Geometry]]:
    """Return geometries to train on and to test with; what is computed for them is kept in the directory."""
    modes = [
        _model_modes(name) if chosen.model_vibrations else _modes(name, chosen.level, directory)
        for name in chosen.molecules
    ]
    streams, _ = spawn(chosen.seed, 2)
    found = []
    for rng, n in zip(streams, (chosen.n_train, chosen.n_test), strict=True):
        listed: list[Geometry] = []
        for k, one in enumerate(modes):
            share = n // len(modes) + (k < n % len(modes))
            if chosen.sampling == "modes":
                positions = one.sample(chosen.temperature, share, rng)
            else:
                positions = _along_trajectories(chosen, one, share, rng, directory, executor)
            listed += [(one.numbers, x) for x in positions]
        found.append(listed)
    return found[0], found[1]


def calculations(
    chosen: Recipe, directory: Path, *, executor: Executor | None = None
) -> tuple[list[Calculation], list[Calculation]]:
    """Return calculations to train on and to test with; what is missing in the directory is computed."""
    train, _ = geometries(chosen, directory, executor=executor)
    load: Callable[..., list[Calculation]] = load_calculations
    found = load(
        train,
        directory / "calculations",
        level=chosen.level,
        executor=executor,
        description=f"{chosen.name}, training data",
    )
    return found, unseen_calculations(chosen, directory, executor=executor)


def unseen_calculations(
    chosen: Recipe, directory: Path, *, executor: Executor | None = None
) -> list[Calculation]:
    """Return the calculations to test with alone."""
    _, test = geometries(chosen, directory, executor=executor)
    load: Callable[..., list[Calculation]] = load_calculations
    return load(
        test,
        directory / "calculations",
        level=chosen.level,
        n_forces=chosen.n_forces,
        iterates=False,
        executor=executor,
        description=f"{chosen.name}, test data",
    )


def far_calculations(
    chosen: Recipe, directory: Path, *, executor: Executor | None = None
) -> list[Calculation]:
    """Return calculations of hot geometries, which no fit sees; what is missing is computed."""
    hot = replace(
        chosen,
        sampling="modes",
        temperature=chosen.far_temperature,
        n_train=chosen.n_far,
        n_test=1,
        seed=chosen.seed + 1,
    )
    far, _ = geometries(hot, directory)
    load: Callable[..., list[Calculation]] = load_calculations
    return load(
        far,
        directory / "calculations",
        level=chosen.level,
        iterates=False,
        executor=executor,
        description=f"{chosen.name}, far from equilibrium",
    )


def _along_trajectories(
    chosen: Recipe,
    modes: NormalModes,
    n: int,
    rng: np.random.Generator,
    directory: Path,
    executor: Executor | None,
) -> npt.NDArray[np.float64]:
    starts = modes.sample(chosen.temperature, math.ceil(n / TRAJECTORY), rng)
    requests = [
        {
            "numbers": modes.numbers,
            "positions": start,
            "temperature": chosen.temperature,
            "n": min(TRAJECTORY, n - k * TRAJECTORY),
            "interval": INTERVAL,
            "seed": int(rng.integers(2**31)),
            "xc": chosen.level.xc,
            "basis": chosen.level.basis,
        }
        for k, start in enumerate(starts)
    ]
    found = run_ensemble(
        trajectory,
        requests,
        directory=directory / "trajectories",
        executor=executor,
        description=f"{chosen.name}, molecular dynamics",
    )
    return np.concatenate([np.asarray(one["positions"]) for one in found])


def shuffled(listed: Sequence[Calculation]) -> list[Calculation]:
    """Return calculations in an order that mixes molecules, the same every time."""
    (rng,), _ = spawn(0, 1)
    order: npt.NDArray[np.int64] = rng.permutation(len(listed))
    return [listed[int(k)] for k in order]


def relaxed_modes(request: dict[str, str]) -> dict[str, object]:
    """Relax a molecule and return its vibrations as plain arrays.

    Args:
        request: "molecule", "xc" and "basis".
    """
    from ase.build import molecule

    from kakehashi_ase import calculator

    found = normal_modes(
        molecule(request["molecule"]),
        calculator("pyscf", xc=request["xc"], basis=request["basis"]),
    )
    return {
        "numbers": found.numbers,
        "positions": found.positions,
        "displacements": found.displacements,
        "constants": found.constants,
    }


def _model_modes(name: str) -> NormalModes:
    from ase.build import molecule

    atoms = molecule(name)
    return model_modes(np.asarray(atoms.numbers, dtype=np.int64), atoms.positions)


def _modes(name: str, level: Level, directory: Path) -> NormalModes:
    (found,) = run_ensemble(
        relaxed_modes,
        [{"molecule": name, "xc": level.xc, "basis": level.basis}],
        directory=directory / "vibrations",
        description=f"vibrations of {name}",
    )
    return NormalModes(
        numbers=np.asarray(found["numbers"]),
        positions=np.asarray(found["positions"]),
        displacements=np.asarray(found["displacements"]),
        constants=np.asarray(found["constants"]),
    )
