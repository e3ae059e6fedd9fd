"""Isoconfigurational ensembles: many runs from one configuration, each with new velocities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from ase import units

from kakehashi_ase.option_values import plain_value
from kakehashi_botan.isoconfigurational_data import IsoconfigurationalData
from kakehashi_botan.lennard_jones_calculator import LennardJonesMixture
from kakehashi_botan.mixtures import checked_types
from kakehashi_botan.molecular_dynamics import MolecularDynamics, maxwell_boltzmann
from kakehashi_botan.particle_types import SPECIES, TYPES
from kakehashi_core.ensembles import run_ensemble
from kakehashi_core.errors import InvalidInputError
from kakehashi_core.random_streams import recorded_seed

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import BaseCalculator

FloatArray = npt.NDArray[np.float64]

MOST_SPECIES = 64
_WHOLE = 1e-6
"""How far, in steps, a time may be from a whole number of timesteps."""


def isoconfigurational(
    atoms: Atoms,
    calculator: BaseCalculator,
    *,
    n_runs: int,
    times: Sequence[float],
    temperature: float,
    timestep: float,
    ensemble: Literal["nve", "nvt"] = "nve",
    relaxation_time: float = 1.0,
    seed: int | None = None,
    executor: Executor | None = None,
    directory: str | Path | None = None,
) -> IsoconfigurationalData:
    """Run dynamics several times from the same positions, with velocities drawn anew each time.

    With ``ka-lj`` and its compiled backend a fast loop does the steps, with any other calculator ASE's
    dynamics. Propensities, bond changes, overlaps and scattering functions follow from the result, see
    ``kakehashi_botan.displacements`` and ``kakehashi_botan.heterogeneity``.

    Args:
        atoms: Start; not modified. Masses count: those of ``ka-lj`` have to be 1.
        calculator: What drives the dynamics.
        n_runs: Number of runs.
        times: When positions are recorded, growing, whole multiples of ``timestep``; tau_LJ, or whatever the
            unit of time of the calculator is in ASE.
        temperature: k_B T in the calculator's unit of energy (epsilon_AA; eV for one in eV).
        timestep: In the unit of ``times``.
        ensemble: "nve", or "nvt" by stochastic velocity rescaling.
        relaxation_time: Of the thermostat, in the unit of ``times``.
        seed: Of all velocities; run k depends on seed and k only. None draws one; it is recorded.
        executor: Spreads the runs; any ``concurrent.futures.Executor``. None computes here.
        directory: Where finished runs are kept: the same call goes on where it was interrupted.

    Returns:
        Positions of all runs at all times, unwrapped, with what is needed to repeat them.

    Raises:
        InvalidInputError: If numbers do not fit together.
        EnsembleError: If runs failed.
    """
    if n_runs < 1:
        raise InvalidInputError(f"n_runs is {n_runs}; at least one run is needed.")
    if isinstance(calculator, str):
        raise InvalidInputError(
            f"calculator is {calculator!r}; a calculator is needed, calculator({calculator!r}) of "
            "kakehashi_ase for a name."
        )
    if ensemble not in ("nve", "nvt"):
        raise InvalidInputError(f"ensemble is {ensemble!r}; it must be 'nve' or 'nvt'.")
    for label, value in (("temperature", temperature), ("relaxation_time", relaxation_time)):
        if not (math.isfinite(value) and value > 0.0):
            raise InvalidInputError(f"{label} is {value}; it must be positive.")
    steps = _steps(times, timestep)
    seed = recorded_seed(seed)
    masses = atoms.get_masses()
    types = _types(atoms, calculator)
    common = {
        "positions": np.array(atoms.positions, dtype=float),
        "numbers": np.array(atoms.numbers),
        "types": types,
        "cell": np.array(atoms.cell.array, dtype=float),
        "pbc": np.array(atoms.pbc, dtype=bool),
        "masses": np.array(masses, dtype=float),
        "steps": steps,
        "timestep": float(timestep),
        "temperature": float(temperature),
        "ensemble": ensemble,
        "relaxation_time": float(relaxation_time),
        "calculator": _recipe(calculator),
        "seed": seed,
    }
    if _compiled(calculator) and not np.array_equal(masses, np.ones(len(masses))):
        raise InvalidInputError(
            f"the mass of atom 0 is {masses[0]:g}; in reduced units all masses are 1. Use "
            "atoms.set_masses(np.ones(len(atoms)))."
        )
    task = _run_compiled if _compiled(calculator) else _run_in_ase
    runs = run_ensemble(
        task,
        [{**common, "run": run} for run in range(n_runs)],
        directory=directory,
        executor=executor,
        description="isoconfigurational runs",
        version="1",
    )
    return IsoconfigurationalData(
        types=types,
        initial_positions=np.array(atoms.positions, dtype=float),
        positions=np.stack(runs, axis=1),
        cell=np.array(atoms.cell.array, dtype=float),
        pbc=np.array(atoms.pbc, dtype=bool),
        times=np.atleast_1d(np.array(times, dtype=float)),
        temperature=temperature,
        timestep=timestep,
        ensemble=ensemble,
        metadata={"seed": str(seed), "calculator": calculator.name},
    )


def _steps(times: Sequence[float], timestep: float) -> list[int]:
    if not (math.isfinite(timestep) and timestep > 0.0):
        raise InvalidInputError(f"timestep is {timestep}; it must be positive.")
    try:
        exact = np.atleast_1d(np.asarray(times, dtype=float)) / timestep
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"times are {times!r}; numbers are needed.") from error
    steps = np.rint(exact)
    if exact.size == 0 or not np.isfinite(exact).all() or (np.abs(exact - steps) > _WHOLE).any():
        raise InvalidInputError(
            f"times are {times}; they must be finite multiples of the timestep {timestep}, at least "
            "one."
        )
    if steps[0] < 0 or (np.diff(steps) <= 0).any():
        raise InvalidInputError(f"times are {times}; they must not be negative, and grow.")
    return [int(step) for step in steps]


def _compiled(calculator: BaseCalculator) -> bool:
    return (
        isinstance(calculator, LennardJonesMixture) and calculator.parameters["backend"] == "numba"
    )


def _types(atoms: Atoms, calculator: BaseCalculator) -> npt.NDArray[np.int64]:
    if isinstance(calculator, LennardJonesMixture):
        return calculator.types(atoms)
    if TYPES in atoms.arrays:
        return checked_types(atoms.arrays[TYPES], MOST_SPECIES, label="atoms.arrays['types']")
    order = [s for s in SPECIES if s in atoms.symbols]
    order += [s for s in dict.fromkeys(atoms.symbols) if s not in order]
    return np.array([order.index(symbol) for symbol in atoms.symbols], dtype=np.int64)


def _recipe(calculator: BaseCalculator) -> dict[str, Any]:
    """Return what another process needs to build the same calculator."""
    parameters = getattr(calculator, "parameters", {})
    kind = type(calculator)
    return {
        "class": f"{kind.__module__}:{kind.__qualname__}",
        "parameters": {key: plain_value(key, value) for key, value in parameters.items()},
    }


def _rebuilt(recipe: dict[str, Any]) -> BaseCalculator:
    module, name = recipe["class"].split(":")
    calculator: BaseCalculator = getattr(import_module(module), name)(**recipe["parameters"])
    return calculator


def _stream(start: dict[str, Any]) -> np.random.SeedSequence:
    return np.random.SeedSequence(start["seed"], spawn_key=(start["run"],))


def _run_compiled(start: dict[str, Any]) -> FloatArray:
    """Return the positions of one run, (n_times, n, 3)."""
    calculator = _rebuilt(start["calculator"])
    assert isinstance(calculator, LennardJonesMixture)  # noqa: S101  for the type checker
    run = MolecularDynamics(
        calculator.mixture,
        start["positions"],
        start["types"],
        start["cell"],
        pbc=start["pbc"],
        timestep=start["timestep"],
        ensemble=start["ensemble"],
        temperature=start["temperature"],
        relaxation_time=start["relaxation_time"],
        skin=float(calculator.parameters["skin"]),
        seed=int(_stream(start).generate_state(1, np.uint64)[0] >> 1),
    )
    frames = []
    for step in start["steps"]:
        run.run(step - run.n_steps)
        frames.append(run.positions.copy())
    return np.array(frames)


def _run_in_ase(start: dict[str, Any]) -> FloatArray:
    """As ``_run_compiled``, for any calculator."""
    from ase import Atoms
    from ase.md.bussi import Bussi
    from ase.md.verlet import VelocityVerlet

    atoms = Atoms(
        numbers=start["numbers"],
        positions=start["positions"],
        cell=start["cell"],
        pbc=start["pbc"],
        masses=start["masses"],
    )
    atoms.set_array(TYPES, start["types"])
    atoms.calc = _rebuilt(start["calculator"])
    rng = np.random.default_rng(_stream(start))
    flat = not start["pbc"][2] and bool(np.ptp(start["positions"][:, 2]) == 0.0)
    velocities = maxwell_boltzmann(
        len(atoms), start["temperature"], rng, n_dimensions=2 if flat else 3
    )
    # Momenta of unit masses, without total momentum; scaled, they belong to these masses.
    atoms.set_momenta(velocities * np.sqrt(start["masses"])[:, None])
    momentum = atoms.get_momenta().sum(axis=0)
    atoms.set_momenta(
        atoms.get_momenta() - momentum * start["masses"][:, None] / start["masses"].sum()
    )
    if start["ensemble"] == "nve":
        dynamics: Any = VelocityVerlet(atoms, timestep=start["timestep"])
    else:
        dynamics = Bussi(
            atoms,
            timestep=start["timestep"],
            temperature_K=start["temperature"] / units.kB,
            taut=start["relaxation_time"],
            rng=np.random.RandomState(rng.integers(2**31)),
        )
    frames = []
    for step in start["steps"]:
        dynamics.run(step - dynamics.nsteps)
        frames.append(atoms.positions.copy())
    return np.array(frames)
