"""Annealing down a ladder of temperatures: a population that is carried, weighted, resampled and moved.

Without a flow this is annealed importance sampling, and with resampling population annealing; with a flow,
every step first carries the samples toward the next temperature.

Source:
    R. M. Neal, Stat. Comput. 11, 125 (2001); K. Hukushima, Y. Iba, AIP Conf. Proc. 690, 200 (2003);
    J. Machta, Phys. Rev. E 82, 026704 (2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from kakehashi_botan.sampling.flow import Flow, check_flow
from kakehashi_botan.sampling.liquids import Liquid
from kakehashi_botan.sampling.monte_carlo import ParticleMoves
from kakehashi_botan.sampling.reweighting import WeightedSamples, systematic
from kakehashi_core.chains import ChainState
from kakehashi_core.errors import InvalidInputError
from kakehashi_core.progress import progress_bar
from kakehashi_core.results import Estimate

FloatArray = npt.NDArray[np.float64]

RESAMPLE_BELOW = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """What happened between two temperatures.

    Attributes:
        start: Temperature before.
        end: Temperature after.
        effective_share: Kish effective size over the number of samples, of the weights of this step alone.
        log_ratio: ln Z(end) - ln Z(start), configurational.
        resampled: Whether the population was resampled afterwards.
        n_families: Members of the first population that have descendants.
    """

    start: float
    end: float
    effective_share: float
    log_ratio: float
    resampled: bool
    n_families: int


@dataclass(frozen=True, slots=True, eq=False)
class Annealed:
    """The end of an annealing.

    Attributes:
        samples: Weighted samples of the last temperature; descendants of one member are one group.
        rungs: One for each step.
        families: Which member of the first population each one descends from, (n_samples,).
        n_moves: Monte Carlo moves of one particle that each member made.
        n_carried: Flow maps of each member.
    """

    samples: WeightedSamples
    rungs: tuple[Rung, ...]
    families: npt.NDArray[np.int64]
    n_moves: int
    n_carried: int

    @property
    def log_ratio(self) -> float:
        """Logarithm of Z(last)/Z(first)."""
        return float(sum(rung.log_ratio for rung in self.rungs))

    def log_ratio_estimate(self) -> Estimate:
        """Return ``log_ratio`` with its error, from how unequally the weight is spread over families."""
        n = len(self.families)
        shares = np.bincount(self.families, weights=self.samples.weights, minlength=n)
        error = float(np.sqrt(np.square(shares - 1.0 / n).sum() * (n / max(n - 1, 1))))
        return Estimate(mean=self.log_ratio, stderr=error if n > 1 else np.inf, n_samples=n)

    @property
    def effective_size(self) -> float:
        """Effective number of independent samples, descendants of one member counted as one."""
        shares = np.bincount(self.families, weights=self.samples.weights)
        return float(1.0 / np.square(shares).sum())


def anneal(
    liquid: Liquid,
    positions: npt.ArrayLike,
    temperatures: Sequence[float],
    rng: np.random.Generator,
    *,
    flow: Flow | None = None,
    n_sweeps: int = 20,
    swaps: float = 0.2,
    resample_below: float = RESAMPLE_BELOW,
) -> Annealed:
    """Bring samples of the first temperature to the last one.

    Args:
        liquid: What is sampled.
        positions: Equilibrium samples of the first temperature, (n_samples, n, dimension).
        temperatures: Descending.
        rng: Random numbers.
        flow: Carries samples between neighboring temperatures; None leaves them where they are.
        n_sweeps: Monte Carlo sweeps at every new temperature; 0 for none.
        swaps: Share of exchanges of particles among their moves.
        resample_below: Resample when the effective share falls below this; 0 never does, 1 always.

    Raises:
        InvalidInputError: If temperatures do not descend or are outside the range of the flow, or the flow
            is for another liquid, or a number makes no sense.
    """
    ladder = [float(t) for t in temperatures]
    if len(ladder) < 2 or any(b >= a for a, b in pairwise(ladder)):
        raise InvalidInputError(f"at least two temperatures are needed, descending; got {ladder}")
    if n_sweeps < 0 or not 0.0 <= resample_below <= 1.0:
        raise InvalidInputError(
            f"n_sweeps is {n_sweeps} and resample_below {resample_below}; they must be at least 0, and a "
            "share between 0 and 1"
        )
    if flow is not None:
        check_flow(flow)
        if flow.liquid != liquid:
            raise InvalidInputError(
                f"the flow was trained for another liquid: {flow.liquid}, not {liquid}"
            )
        for temperature in ladder:
            flow.check_temperature(temperature)
    x = liquid.checked(positions)
    energies = liquid.energies(x)
    log_weights = np.zeros(len(x))
    family = np.arange(len(x))
    rungs: list[Rung] = []
    n_moves = 0
    scale: dict[str, object] | None = None
    with progress_bar("annealing", total=len(ladder) - 1) as advance:
        for start, end in pairwise(ladder):
            determinants: FloatArray = np.zeros(len(x))
            before = energies
            if flow is not None:
                carried = flow(x, start, end)
                x, determinants = carried.positions, carried.log_determinants
                energies = liquid.energies(x)
            step = before / start - energies / end + determinants
            share = WeightedSamples(x, step).effective_share
            log_ratio = float(logsumexp(log_weights + step) - logsumexp(log_weights))
            log_weights = log_weights + step
            weighted = WeightedSamples(x, log_weights)
            resample = weighted.effective_share < resample_below
            if resample:
                kept = systematic(weighted.weights, len(x), rng)
                x, energies, family = x[kept], energies[kept], family[kept]
                log_weights = np.zeros(len(x))
            rungs.append(
                Rung(
                    start=start,
                    end=end,
                    effective_share=share,
                    log_ratio=log_ratio,
                    resampled=bool(resample),
                    n_families=len(np.unique(family)),
                )
            )
            if n_sweeps:
                moves = ParticleMoves(liquid, end, swaps=swaps, n_sweeps=1)
                if scale is not None:
                    moves.scale.load_state_dict(scale)
                state = ChainState(x, -energies / end)
                for _ in range(n_sweeps):
                    one = moves.step(state, rng)
                    state = one.state
                    # Learning from thousands of moves of all members biases nothing measurable.
                    moves.adapt(one)
                scale = moves.scale.state_dict()
                x, energies = state.positions, -end * state.log_weights
                n_moves += n_sweeps * liquid.n_particles
            advance(1)
    n_carried = len(rungs) if flow is not None else 0
    return Annealed(
        WeightedSamples(x, log_weights, family), tuple(rungs), family, n_moves, n_carried
    )
