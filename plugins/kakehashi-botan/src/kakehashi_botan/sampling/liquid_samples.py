"""Independent equilibrium samples of a liquid, made once and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from kakehashi_botan.array_archives import read_arrays
from kakehashi_botan.sampling.liquids import Liquid
from kakehashi_botan.sampling.monte_carlo import ParticleMoves, equilibrated
from kakehashi_core.errors import InvalidInputError
from kakehashi_core.files import atomic_write, directory_lock

FloatArray = npt.NDArray[np.float64]

N_CHAINS = 64
EQUILIBRATION = 800
SWEEPS_BETWEEN = 100
"""Sweeps; swap Monte Carlo of 43 particles forgets its energy within some tens of them at T = 0.45."""


def equilibrium_samples(
    liquid: Liquid,
    temperature: float,
    n_samples: int,
    rng: np.random.Generator,
    *,
    sweeps_between: int = SWEEPS_BETWEEN,
    equilibration: int = EQUILIBRATION,
) -> FloatArray:
    """Return samples of long swap Monte Carlo chains, in random order, (n_samples, n, dimension).

    Args:
        liquid: What is sampled.
        temperature: epsilon_AA / k_B.
        n_samples: How many.
        rng: Random numbers.
        sweeps_between: Sweeps of a chain between two of its samples.
        equilibration: Sweeps of the cooling from a hot state, and as many at the temperature.

    Raises:
        InvalidInputError: If a number makes no sense.
    """
    if n_samples < 1:
        raise InvalidInputError(f"n_samples must be at least 1, got {n_samples}")
    n_chains = min(N_CHAINS, n_samples)
    state, warm = equilibrated(liquid, temperature, n_chains, rng, n_sweeps=equilibration)
    kernel = ParticleMoves(liquid, temperature, n_sweeps=sweeps_between)
    kernel.load_state_dict(warm.state_dict())
    found = []
    for _ in range(-(-n_samples // n_chains)):
        state = kernel.step(state, rng).state
        found.append(state.positions)
    return np.asarray(rng.permutation(np.concatenate(found))[:n_samples])


def stored_samples(
    directory: Path, liquid: Liquid, temperature: float, n_samples: int, *, seed: int
) -> FloatArray:
    """Return the same from a folder, where they are kept when they are made.

    Args:
        directory: The folder.
        liquid: What is sampled.
        temperature: epsilon_AA / k_B.
        n_samples: How many.
        seed: Of this series; each temperature has random numbers of its own.

    Raises:
        InvalidInputError: If the folder holds samples of something else.
    """
    path = directory / f"T{temperature:.4f}-{n_samples}-seed{seed}.npz"
    with directory_lock(directory):
        if path.exists():
            x = read_arrays(path).get("positions")
            if x is None or len(x) != n_samples:
                raise InvalidInputError(f"{path} does not hold {n_samples} samples; delete it")
            return liquid.checked(x)
        rng = np.random.default_rng([seed, round(1e6 * temperature)])
        x = equilibrium_samples(liquid, temperature, n_samples, rng)
        with atomic_write(path) as file:
            np.savez_compressed(file, positions=x)
        return x
