"""Equilibrium samples of a liquid at one or many temperatures, made once and kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kakehashi_botan.array_archives import read_arrays
from kakehashi_botan.sampling.liquids import Liquid, checked_temperature
from kakehashi_botan.sampling.monte_carlo import ParticleMoves, equilibrated
from kakehashi_core.chains import ParallelTempering, warm_up
from kakehashi_core.errors import InvalidInputError
from kakehashi_core.files import atomic_write, directory_lock
from kakehashi_core.progress import progress_bar

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

N_ENSEMBLES = 64
N_PARTS = 4
"""Files of stored samples, each with its own ensembles: a call that is interrupted loses one."""
SWEEPS_PER_EXCHANGE = 20
EQUILIBRATION = 16000
"""Sweeps. <U> of 43 particles at T = 0.365 is 0.005 per particle too high after 8000, with exchanges, and
within errors of 0.001 after 12000; chains at that temperature alone are still 0.02 too high after 6000."""
SWEEPS_BETWEEN = 100
FAST_ABOVE = 0.65
"""Temperature above which chains of swap Monte Carlo need no hotter copies: energies of 43 particles forget
themselves within some hundred sweeps there, of several thousand at T = 0.365."""
LARGEST_RATIO = 1.18
"""Of neighboring temperatures: 43 particles exchange with a probability of about one half."""


@dataclass(frozen=True, slots=True, eq=False)
class TemperedSamples:
    """Equilibrium samples at several temperatures, from parallel tempering.

    Attributes:
        temperatures: Descending, (n_temperatures,).
        positions: (n_temperatures, n_samples, n_particles, dimension).
        ensembles: Which ensemble of copies each sample is from, (n_samples,). Samples of one ensemble
            remember each other, at all temperatures; different ensembles are independent.
    """

    temperatures: tuple[float, ...]
    positions: FloatArray
    ensembles: IntArray

    def at(self, temperature: float) -> FloatArray:
        """Return the samples of one temperature, (n_samples, n_particles, dimension).

        Raises:
            InvalidInputError: If there are none at it.
        """
        for t, x in zip(self.temperatures, self.positions, strict=True):
            if np.isclose(t, temperature, rtol=1e-9, atol=0.0):
                return np.asarray(x)
        raise InvalidInputError(f"there are no samples at T = {temperature:g}")


def tempered_samples(
    liquid: Liquid,
    temperatures: Sequence[float],
    n_samples: int,
    rng: np.random.Generator,
    *,
    n_ensembles: int = N_ENSEMBLES,
    sweeps_between: int = SWEEPS_BETWEEN,
    equilibration: int = EQUILIBRATION,
) -> TemperedSamples:
    """Return samples of swap Monte Carlo with exchanges between neighboring temperatures.

    Args:
        liquid: What is sampled.
        temperatures: Descending, epsilon_AA / k_B; neighbors must be close enough to exchange, and the first
            one high enough for chains that forget.
        n_samples: At each temperature.
        rng: Random numbers.
        n_ensembles: Independent ensembles, each with a copy at every temperature.
        sweeps_between: Sweeps of every copy between two samples.
        equilibration: Sweeps before the first; a tenth of them cools the copies from a hot state.

    Raises:
        InvalidInputError: If temperatures do not descend, or a number makes no sense.
    """
    ladder = [float(t) for t in temperatures]
    if not ladder or any(b >= a for a, b in pairwise(ladder)):
        raise InvalidInputError(f"temperatures must descend, got {ladder}")
    if n_samples < 1:
        raise InvalidInputError(f"n_samples must be at least 1, got {n_samples}")
    if sweeps_between < 1 or equilibration < 0 or n_ensembles < 1:
        raise InvalidInputError(
            f"sweeps_between is {sweeps_between}, equilibration {equilibration} and n_ensembles "
            f"{n_ensembles}; at least 1, 0 and 1 are needed"
        )
    n_ensembles = min(n_ensembles, n_samples)
    n_records = -(-n_samples // n_ensembles)
    per_record = max(sweeps_between // SWEEPS_PER_EXCHANGE, 1)
    n_warm = max(equilibration // SWEEPS_PER_EXCHANGE, 1)
    cooled = [
        equilibrated(liquid, t, n_ensembles, rng, n_sweeps=max(equilibration // 10, 50))
        for t in ladder[::-1]
    ]
    kernels = [ParticleMoves(liquid, t, n_sweeps=SWEEPS_PER_EXCHANGE) for t in ladder[::-1]]
    for kernel, (_, warm) in zip(kernels, cooled, strict=True):
        kernel.load_state_dict(warm.state_dict())
    found = []
    if len(ladder) == 1:
        state = warm_up(kernels[0], cooled[0][0], rng, n_warm)
        for _ in range(n_records):
            for _ in range(per_record):
                state = kernels[0].step(state, rng).state
            found.append(state.positions[:, None])
    else:
        betas = 1.0 / np.array(ladder[::-1])
        tempering = ParallelTempering(kernels, lambda x: -liquid.energies(x)[:, None] * betas)
        start = tempering.start(np.stack([state.positions for state, _ in cooled], axis=1))
        state = warm_up(tempering, start, rng, n_warm)
        with progress_bar("samples", total=n_records) as advance:
            for _ in range(n_records):
                for _ in range(per_record):
                    state = tempering.step(state, rng).state
                found.append(state.positions[:, ::-1])
                advance(1)
    positions = np.concatenate(found)[:n_samples].swapaxes(0, 1)
    ensembles = np.arange(n_samples, dtype=np.int64) % n_ensembles
    return TemperedSamples(tuple(ladder), np.ascontiguousarray(positions), ensembles)


def equilibrium_samples(
    liquid: Liquid,
    temperature: float,
    n_samples: int,
    rng: np.random.Generator,
    *,
    sweeps_between: int = SWEEPS_BETWEEN,
    equilibration: int | None = None,
) -> FloatArray:
    """Return samples of one temperature, in random order, (n_samples, n, dimension).

    Cold ones exchange with copies at higher temperatures, which are needed to equilibrate and thrown away.

    Args:
        liquid: What is sampled.
        temperature: epsilon_AA / k_B.
        n_samples: How many.
        rng: Random numbers.
        sweeps_between: Sweeps of a chain between two of its samples.
        equilibration: Sweeps before the first sample; None for enough.

    Raises:
        InvalidInputError: If a number makes no sense.
    """
    ladder = with_hotter(temperature)
    if equilibration is None:
        equilibration = EQUILIBRATION if len(ladder) > 1 else EQUILIBRATION // 8
    found = tempered_samples(
        liquid, ladder, n_samples, rng, sweeps_between=sweeps_between, equilibration=equilibration
    )
    return np.asarray(rng.permutation(found.at(temperature)))


def with_hotter(temperature: float) -> list[float]:
    """Return a temperature after those above it with which its copies have to exchange, descending."""
    if checked_temperature(temperature) >= FAST_ABOVE:
        return [float(temperature)]
    n = int(np.ceil(np.log(FAST_ABOVE / temperature) / np.log(LARGEST_RATIO)))
    return [*np.geomspace(FAST_ABOVE, temperature, n + 1)[:-1].tolist(), float(temperature)]


def stored_samples(
    directory: Path,
    liquid: Liquid,
    temperatures: Sequence[float],
    n_samples: int,
    *,
    seed: int,
    equilibration: int = EQUILIBRATION,
) -> TemperedSamples:
    """Return ``tempered_samples`` from a folder, where they are kept when they are made.

    Args:
        directory: The folder.
        liquid: What is sampled.
        temperatures: Descending.
        n_samples: At each temperature.
        seed: Of this series.
        equilibration: As of ``tempered_samples``.

    Raises:
        InvalidInputError: If the folder holds samples of something else.
    """
    n_ensembles = N_ENSEMBLES // N_PARTS
    per_part = -(-n_samples // N_ENSEMBLES) * n_ensembles
    ladder = np.array([float(t) for t in temperatures])
    parts = []
    with directory_lock(directory):
        for part in range(N_PARTS):
            path = directory / (
                f"T{ladder[0]:.3f}-{ladder[-1]:.3f}-{len(ladder)}x{per_part}"
                f"-after{equilibration}-seed{seed}-{part}.npz"
            )
            if path.exists():
                stored = read_arrays(path)
                x = liquid.checked(stored["positions"].reshape(-1, *stored["positions"].shape[2:]))
                if not np.allclose(stored["temperatures"], ladder, rtol=1e-9, atol=0.0):
                    raise InvalidInputError(
                        f"{path} holds samples of other temperatures; delete it"
                    )
                parts.append(x.reshape(stored["positions"].shape))
                continue
            found = tempered_samples(
                liquid,
                ladder.tolist(),
                per_part,
                np.random.default_rng([seed, part]),
                n_ensembles=n_ensembles,
                equilibration=equilibration,
            )
            with atomic_write(path) as file:
                np.savez_compressed(file, positions=found.positions, temperatures=ladder)
            parts.append(found.positions)
    # Records stay together, so that leaving out the last samples shortens all ensembles alike.
    records = [x.reshape(len(ladder), -1, n_ensembles, *x.shape[2:]) for x in parts]
    joined = np.concatenate(records, axis=2)
    positions = joined.reshape(len(ladder), -1, *joined.shape[3:])[:, :n_samples]
    return TemperedSamples(
        tuple(ladder.tolist()), positions, np.arange(n_samples, dtype=np.int64) % N_ENSEMBLES
    )
