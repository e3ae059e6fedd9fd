"""Carried and weighted samples against long runs: averages, g(r), free energies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline
from scipy.stats import f as f_distribution

from kakehashi_botan.sampling.flow import Flow
from kakehashi_botan.sampling.liquid_samples import EQUILIBRATION, TemperedSamples, stored_samples
from kakehashi_botan.sampling.liquids import Liquid
from kakehashi_botan.sampling.pair_distribution import pair_distribution
from kakehashi_botan.sampling.reweighting import WeightedSamples
from kakehashi_botan.training.flow_training import refined
from kakehashi_core.errors import InvalidInputError
from kakehashi_core.results import Estimate

FloatArray = npt.NDArray[np.float64]

BETWEEN = 2
"""Temperatures of the reference between neighbors of the ladder: nodes of the integral of <U>."""
G_BINS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class RungCheck:
    """Weighted samples of one temperature beside swap Monte Carlo there.

    Attributes:
        start: Where the samples come from.
        end: What they are weighted for.
        effective_share: Kish.
        plain_share: The same of samples that are not carried, in the limit of many: Z(b2)^2 over
            Z(b1) Z(2 b2 - b1), b the inverse temperatures, from integrating the energy.
        energy: <U> per particle, weighted.
        energy_reference: Of swap Monte Carlo.
        heat_capacity: Var(U) / (N T^2), weighted.
        heat_capacity_reference: Of swap Monte Carlo.
        pair_chi_square: Of g(r), weighted against swap Monte Carlo, with the covariance of its bins between
            independent ensembles.
        pair_bins: Degrees of freedom of it.
        pair_p: Probability of a larger one, by Hotelling's distribution with as many ensembles.
        log_ratio: ln Z(end)/Z(start), from the weights.
        log_ratio_reference: From integrating the energy over the inverse temperature.
    """

    start: float
    end: float
    effective_share: float
    plain_share: Estimate
    energy: Estimate
    energy_reference: Estimate
    heat_capacity: Estimate
    heat_capacity_reference: Estimate
    pair_chi_square: float
    pair_bins: int
    pair_p: float
    log_ratio: Estimate
    log_ratio_reference: Estimate

    def z_scores(self) -> dict[str, float]:
        """Return differences in combined standard errors."""
        pairs = {
            "energy": (self.energy, self.energy_reference),
            "heat capacity": (self.heat_capacity, self.heat_capacity_reference),
            "log Z ratio": (self.log_ratio, self.log_ratio_reference),
        }
        return {
            name: (a.mean - b.mean) / float(np.hypot(a.stderr, b.stderr))
            for name, (a, b) in pairs.items()
        }


def check_rungs(
    flow: Flow,
    ladder: Sequence[float],
    directory: Path,
    *,
    n_samples: int = 3000,
    n_reference: int = 3000,
    equilibration: int = EQUILIBRATION,
    seed: int = 11,
) -> list[RungCheck]:
    """Carry samples from each temperature to the next and compare.

    Args:
        flow: What carries.
        ladder: Descending temperatures.
        directory: Keeps the samples; a call that was interrupted goes on there.
        n_samples: Samples that are carried.
        n_reference: Samples of swap Monte Carlo, with exchanges, at each temperature.
        equilibration: Sweeps before the first of them.
        seed: Of the carried ones; the references, which are independent of them, take the next.
    """
    liquid = flow.liquid
    rungs = [float(t) for t in ladder]
    starts = stored_samples(
        directory,
        liquid,
        refined(rungs[:-1], 1) if len(rungs) > 2 else rungs[:1],
        n_samples,
        seed=seed,
        equilibration=equilibration,
    )
    reference = stored_samples(
        directory,
        liquid,
        reference_temperatures(rungs),
        n_reference,
        seed=seed + 1,
        equilibration=equilibration,
    )
    return [_check(flow, starts, reference, start, end) for start, end in pairwise(rungs)]


def reference_temperatures(ladder: Sequence[float]) -> list[float]:
    """Return where swap Monte Carlo runs to check the steps of a ladder, descending."""
    # One temperature further, for the share without a flow at the last step.
    beyond = 1.0 / (2.0 / ladder[-1] - 1.0 / ladder[-2])
    return [*refined(ladder, BETWEEN), *refined([ladder[-1], beyond], 1)[1:]]


def _check(
    flow: Flow, starts: TemperedSamples, reference: TemperedSamples, start: float, end: float
) -> RungCheck:
    liquid = flow.liquid
    n = liquid.n_particles
    weighted = replace(flow.weighted(starts.at(start), start, end), groups=starts.ensembles)
    energies = liquid.energies(weighted.positions)
    there = reference.at(end)
    uniform = WeightedSamples(there, np.zeros(len(there)), reference.ensembles)
    exact = liquid.energies(there)
    chi_square, n_bins, probability = _pair_test(liquid, weighted, uniform)
    ratio = integrated_log_ratio(liquid, reference, start, end)
    return RungCheck(
        start=start,
        end=end,
        effective_share=weighted.effective_share,
        plain_share=_plain_share(liquid, reference, start, end),
        energy=weighted.expectation(energies / n),
        energy_reference=uniform.expectation(exact / n),
        heat_capacity=_heat_capacity(weighted, energies, n * end**2),
        heat_capacity_reference=_heat_capacity(uniform, exact, n * end**2),
        pair_chi_square=chi_square,
        pair_bins=n_bins,
        pair_p=probability,
        log_ratio=weighted.log_mean_weight_estimate(),
        log_ratio_reference=ratio,
    )


def _plain_share(liquid: Liquid, reference: TemperedSamples, start: float, end: float) -> Estimate:
    beyond = 1.0 / (2.0 / end - 1.0 / start)
    ratio = integrated_log_ratio(liquid, reference, start, end)
    # ln Z from b1 to 2 b2 - b1 is the sum of both.
    further = integrated_log_ratio(liquid, reference, end, beyond)
    share = float(np.exp(ratio.mean - further.mean))
    error = share * float(np.hypot(ratio.stderr, further.stderr))
    return Estimate(mean=share, stderr=error, n_samples=ratio.n_samples)


def _heat_capacity(samples: WeightedSamples, energies: FloatArray, unit: float) -> Estimate:
    # The mean first: the square of the rest is then linear in the weights up to second order.
    mean = samples.weights @ energies
    return samples.expectation(np.square(energies - mean) / unit)


def _pair_test(
    liquid: Liquid, first: WeightedSamples, second: WeightedSamples
) -> tuple[float, int, float]:
    means: list[FloatArray] = []
    covariance: FloatArray = np.zeros((G_BINS, G_BINS))
    least = np.inf
    for samples in (first, second):
        _, g = pair_distribution(liquid, samples.positions, n_bins=G_BINS)
        mean = samples.weights @ g
        parts = samples.group_sums(samples.weights[:, None] * (g - mean))
        least = min(least, len(parts))
        means.append(mean)
        covariance = covariance + parts.T @ parts * (len(parts) / (len(parts) - 1))
    # Bins that hardly any pair reaches have no Gaussian errors.
    kept = np.minimum(*means) > 0.02
    difference = (means[0] - means[1])[kept]
    matrix = covariance[np.ix_(kept, kept)]
    found, p = float(difference @ np.linalg.solve(matrix, difference)), int(kept.sum())
    # Both series have estimated covariances: the degrees of freedom of the smaller one are a lower bound.
    freedom = least - 1
    ratio = found * (freedom - p + 1) / (freedom * p)
    return found, p, float(f_distribution.sf(ratio, p, freedom - p + 1))


def integrated_log_ratio(
    liquid: Liquid, samples: TemperedSamples, start: float, end: float
) -> Estimate:
    """Return ln Z(end)/Z(start) as minus the integral of <U> over the inverse temperature.

    Args:
        liquid: What is sampled.
        samples: At temperatures close enough for a cubic spline of <U>; its error is the scatter of the
            integral over independent ensembles.
        start: First temperature.
        end: Last temperature.

    Raises:
        InvalidInputError: If the samples do not reach both temperatures.
    """
    betas = 1.0 / np.array(samples.temperatures)
    limits = 1.0 / start, 1.0 / end
    if min(limits) < betas[0] * (1.0 - 1e-9) or max(limits) > betas[-1] * (1.0 + 1e-9):
        raise InvalidInputError(
            f"samples from T = {samples.temperatures[0]:g} to {samples.temperatures[-1]:g} say nothing about "
            f"{start:g} to {end:g}"
        )
    energies = np.stack([liquid.energies(x) for x in samples.positions])
    numbers = np.unique(samples.ensembles)
    # Each ensemble has its own average at every temperature; all of them change together by exchanges.
    means = np.stack([energies[:, samples.ensembles == k].mean(axis=1) for k in numbers], axis=1)
    integrals = -CubicSpline(betas, means).integrate(*limits)
    error = integrals.std(ddof=1) / np.sqrt(len(numbers)) if len(numbers) > 1 else np.inf
    return Estimate(
        mean=float(integrals.mean()), stderr=float(error), n_samples=len(samples.ensembles)
    )
