"""Between ``ase.Atoms`` and isoconfigurational ensembles. Masses are 1, lengths in sigma_AA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kakehashi_botan.isoconfigurational_data import Ensemble, IsoconfigurationalData
from kakehashi_botan.particle_types import SPECIES, TYPES, particle_types
from kakehashi_core.errors import InvalidInputError

if TYPE_CHECKING:
    from ase import Atoms


def data_to_atoms(
    data: IsoconfigurationalData,
    *,
    time_index: int | None = None,
    run: int = 0,
    species: Sequence[str] = SPECIES,
) -> Atoms:
    """Return the start, or one frame, as Atoms with masses 1 and ``arrays["types"]``.

    Args:
        data: The ensemble.
        time_index: None for the start.
        run: Which run, where a time is asked for.
        species: Symbols of A, B, ...

    Raises:
        InvalidInputError: If the frame does not exist, or there are more types than symbols.
    """
    from ase import Atoms

    if data.types.max() >= len(species):
        raise InvalidInputError(
            f"the data hold type {int(data.types.max())}, but species {tuple(species)} name types 0 to "
            f"{len(species) - 1}. Give one symbol per type."
        )
    if time_index is None:
        positions = data.initial_positions
    else:
        if not 0 <= run < data.n_runs:
            raise InvalidInputError(
                f"run {run} does not exist; the data hold runs 0 to {data.n_runs - 1}."
            )
        positions = data.positions[data.checked_time_index(time_index), run]
    atoms = Atoms(
        [species[i] for i in data.types],
        positions=positions,
        cell=data.cell,
        pbc=data.pbc,
        masses=np.ones(data.n_atoms),
    )
    atoms.set_array(TYPES, data.types.copy())
    return atoms


def atoms_to_data(
    initial: Atoms,
    runs: Sequence[Sequence[Atoms]],
    *,
    times: npt.ArrayLike,
    temperature: float,
    timestep: float | None = None,
    ensemble: Ensemble = "",
    n_species: int = 2,
    species: Sequence[str] = SPECIES,
    metadata: Mapping[str, str | float | int] | None = None,
) -> IsoconfigurationalData:
    """Collect frames of several runs from one start.

    Args:
        initial: The common start.
        runs: Frames of each run at ``times``, not wrapped: ASE's dynamics leave positions unwrapped.
        times: (n_times,), in tau_LJ.
        temperature: In epsilon_AA.
        timestep: Of the integrator, in tau_LJ, if known.
        ensemble: "nve" or "nvt", if known.
        n_species: Number of species; see ``particle_types``.
        species: Symbols of A, B, ...; ``arrays["types"]`` wins.
        metadata: See ``IsoconfigurationalData``.

    Raises:
        InvalidInputError: If numbers of frames, types or cells differ between frames.
    """
    times = np.atleast_1d(np.asarray(times, dtype=float))
    types = particle_types(initial, n_species=n_species, species=species)
    cell = np.asarray(initial.cell.array)
    if not runs:
        raise InvalidInputError("there are no runs; frames of at least one are needed.")
    for number, frames in enumerate(runs):
        if len(frames) != len(times):
            raise InvalidInputError(
                f"run {number} has {len(frames)} frames for {len(times)} times; one frame per time is needed."
            )
        for k, frame in enumerate(frames):
            found = particle_types(frame, n_species=n_species, species=species)
            if not np.array_equal(found, types):
                raise InvalidInputError(
                    f"frame {k} of run {number} has other particles than the start ({len(frame)} and "
                    f"{len(types)}); all frames need the same ones in the same order. Sort them by their id."
                )
            if not np.allclose(frame.cell.array, cell, rtol=1e-9, atol=0.0):
                raise InvalidInputError(
                    f"frame {k} of run {number} has cell {frame.cell.array.tolist()}, the start "
                    f"{cell.tolist()}; the cell must not change during the runs. Run at constant volume."
                )
    positions = np.empty((len(times), len(runs), len(types), 3))
    for k, number in np.ndindex(len(times), len(runs)):
        positions[k, number] = runs[number][k].positions
    return IsoconfigurationalData(
        types=types,
        initial_positions=initial.positions.copy(),
        positions=positions,
        cell=cell,
        pbc=initial.pbc.copy(),
        times=times,
        temperature=temperature,
        timestep=timestep,
        ensemble=ensemble,
        metadata=metadata or {},
    )
