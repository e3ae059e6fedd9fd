"""Checks of samplers of thermal spin states, against exact diagonalization of small models.

Needs kakehashi-quspin. ``make(static, n_sites, beta=..., seed=...)`` makes the sampler under test; it raises
``UnsupportedError`` for models that it does not treat::

    from functools import partial
    from kakehashi_quspin import sampler
    from kakehashi_testing.sampler_checks import check_sampled_states
    check_sampled_states(partial(sampler, "thermal-dbm"))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.contracts import Sampler
from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_testing.errors import ConformanceError

FloatArray = npt.NDArray[np.float64]
OperatorList = list[list[Any]]
Make = Callable[..., Sampler]

N_SITES = 4
BETA = 0.9
N_STATES = 6000
LEAST_P = 1e-4
MOST_SIGMA = 5.0
MODEL_ERROR = 0.02
"""Share of the spectral width by which a network may be off besides its error bar."""
N_SEEDS = 20
PULLS = (0.65, 1.45)
"""Bounds of the standard deviation of pulls over that many seeds."""

MODELS: dict[str, OperatorList] = {
    # Different on every site, so that a wrong order of sites or a wrong sign of z is seen.
    "Ising in a field": [
        ["zz", [[-1.0, 0, 1], [0.6, 1, 2], [-0.4, 2, 3]]],
        ["z", [[-0.7, 0], [0.3, 3]]],
        ["x", [[-0.8, 0], [-0.5, 1], [-0.9, 2], [-0.6, 3]]],
    ],
    "XXZ in a field": [
        ["xx", [[-0.5, 0, 1], [-0.7, 1, 2], [-0.4, 2, 3]]],
        ["yy", [[-0.5, 0, 1], [-0.7, 1, 2], [-0.4, 2, 3]]],
        ["zz", [[0.3, 0, 1], [-0.5, 1, 2], [0.4, 2, 3]]],
        ["z", [[-0.6, 0], [0.4, 2]]],
    ],
}


def check_sampled_states(make: Make, *, seed: int = 1) -> None:
    """Compare how often states are sampled with diag(exp(-beta H)), in QuSpin's order of basis integers.

    Args:
        make: See the module.
        seed: Of the sampler.

    Raises:
        ConformanceError: If chi-square has a probability below 1e-4, or states are no basis integers.
    """
    from scipy.stats import chi2

    for name, static, made in _treated(make, seed):
        states = np.asarray(made.sample(N_STATES))
        if states.shape != (N_STATES,) or states.dtype.kind != "u":
            raise ConformanceError(
                f"{name}: sample({N_STATES}) gives {states.dtype} of shape {states.shape}; basis integers of "
                "QuSpin are unsigned, (n,)"
            )
        if states.max() >= 1 << N_SITES:
            raise ConformanceError(f"{name}: {states.max()} is no state of {N_SITES} sites")
        weights = _thermal(static)[1].diagonal()
        # Row 0 of a matrix in QuSpin's order is all spins up, the largest integer.
        p = weights[::-1] / weights.sum()
        kept = states[:: max(1, math.ceil(2.0 * float(made.diagnostics()["tau_int"])))]
        expected = len(kept) * p
        counts = np.bincount(kept.astype(np.int64), minlength=1 << N_SITES)
        statistic = float(((counts - expected) ** 2 / expected).sum())
        # A network that is off by a share of itself adds this much.
        slack = 1.0 + MODEL_ERROR**2 * len(kept) / (1 << N_SITES)
        if chi2.sf(statistic / slack, (1 << N_SITES) - 1) < LEAST_P:
            worst = int(np.abs((counts - expected) / np.sqrt(expected)).argmax())
            raise ConformanceError(
                f"{name}: states are not those of exp(-beta H): chi-square is {statistic:.1f} for "
                f"{(1 << N_SITES) - 1} degrees of freedom; state {worst:0{N_SITES}b} was found "
                f"{counts[worst]} times and expected {expected[worst]:.0f} times. Site 0 is the highest bit, "
                "bit 1 is up"
            )


def check_expectation_values(make: Make, *, seed: int = 1) -> None:
    """Compare averages of operators with exact ones, in units of their error bars.

    Raises:
        ConformanceError: If one is further off than five standard errors and the error of a network.
    """
    for name, static, made in _treated(make, seed):
        for operator in (static, [["zz", [[1.0, 0, 3]]]], [["z", [[1.0, 0]]]]):
            found = made.expt_value(operator)
            rho = _thermal(static)[1]
            matrix = _matrix(operator)
            exact = float((np.trace(rho @ matrix) / np.trace(rho)).real)
            width = float(np.ptp(np.linalg.eigvalsh(matrix)))
            if abs(found.mean - exact) > MOST_SIGMA * found.stderr + MODEL_ERROR * width:
                raise ConformanceError(
                    f"{name}: <{operator[0][0]} ...> is {found}, exactly {exact:.6g}"
                )


def check_error_bars(make: Make, *, seed: int = 1) -> None:
    """Compare the spread of energies over seeds with their error bars.

    Raises:
        ConformanceError: If pulls of 20 seeds have a standard deviation outside 0.65 to 1.45.
    """
    for name, static, _ in _treated(make, seed):
        energies = [
            make(static, N_SITES, beta=BETA, seed=seed + k).expt_value(static)
            for k in range(N_SEEDS)
        ]
        if all(e.stderr == 0.0 for e in energies):
            continue  # exact sums
        mean = float(np.mean([e.mean for e in energies]))
        pulls = np.array([(e.mean - mean) / e.stderr for e in energies])
        spread = float(pulls.std(ddof=1))
        if not PULLS[0] < spread < PULLS[1]:
            raise ConformanceError(
                f"{name}: energies of {N_SEEDS} seeds spread by {spread:.2f} of their error bars; "
                f"{PULLS[0]} to {PULLS[1]} is honest"
            )


def check_seeds(make: Make, *, seed: int = 1) -> None:
    """Compare two samplers with one seed, with another seed, and one that took over a saved state.

    Raises:
        ConformanceError: If equal seeds give different states, different ones the same, or a saved state goes
            on differently.
    """
    for name, static, first in _treated(make, seed):
        second, other = (make(static, N_SITES, beta=BETA, seed=s) for s in (seed, seed + 1))
        states = first.sample(64)
        if not np.array_equal(states, second.sample(64)):
            raise ConformanceError(f"{name}: one seed gives two different sequences of states")
        if np.array_equal(states, other.sample(64)):
            raise ConformanceError(f"{name}: two seeds give the same sequence of states")
        saved = first.state_dict()
        other.load_state_dict(saved)
        if not np.array_equal(first.sample(64), other.sample(64)):
            raise ConformanceError(
                f"{name}: after load_state_dict states are not those of the sampler that was saved"
            )


def check_sampler_input(make: Make) -> None:
    """Offer what makes no sense: negative temperatures, unknown letters, lists that are not Hermitian.

    Raises:
        ConformanceError: If it is taken, or the error is none of kakehashi's own.
    """
    good = MODELS["Ising in a field"]
    cases: list[tuple[str, OperatorList, float]] = [
        ("beta = -1", good, -1.0),
        ("beta = nan", good, math.nan),
        ("the letter q", [["q", [[1.0, 0]]]], 1.0),
        ("a list that is not Hermitian", [["+-", [[1.0, 0, 1]]]], 1.0),
        ("a site that is not there", [["z", [[1.0, 7]]]], 1.0),
    ]
    for what, static, beta in cases:
        try:
            make(static, N_SITES, beta=beta, seed=1)
        except (InvalidInputError, UnsupportedError):
            continue
        except Exception as error:
            raise ConformanceError(
                f"{what} raises {type(error).__name__} ({error}); InvalidInputError tells the user more"
            ) from error
        raise ConformanceError(f"{what} is taken without an error")


def _treated(make: Make, seed: int) -> Iterator[tuple[str, OperatorList, Sampler]]:
    """Yield the models that the sampler treats."""
    refused = []
    for name, static in MODELS.items():
        try:
            made = make(static, N_SITES, beta=BETA, seed=seed)
        except UnsupportedError as error:
            refused.append(f"{name}: {error}")
            continue
        if not isinstance(made, Sampler):
            raise ConformanceError(
                f"{type(made).__name__} is no Sampler: sample, expt_value, diagnostics, state_dict and "
                "load_state_dict are needed"
            )
        yield name, static, made
    if len(refused) == len(MODELS):
        raise ConformanceError(
            "the sampler refuses every model of the suite: " + "; ".join(refused)
        )


def _matrix(static: OperatorList) -> FloatArray:
    from kakehashi_quspin.spin_model import SpinModel

    return np.asarray(SpinModel.from_quspin(static, N_SITES).matrix())


def _thermal(static: OperatorList) -> tuple[FloatArray, FloatArray]:
    """Return H and exp(-beta H), real parts of diagonals being weights."""
    from scipy.linalg import expm

    h = _matrix(static)
    return h, np.asarray(expm(-BETA * h).real)
