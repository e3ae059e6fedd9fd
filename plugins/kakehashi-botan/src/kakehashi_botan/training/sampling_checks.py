"""Carried and weighted samples against long runs: averages, g(r), free energies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

from kakehashi_botan.sampling.flow import Flow
from kakehashi_botan.sampling.liquid_samples import stored_samples
from kakehashi_botan.sampling.liquids import Liquid
from kakehashi_botan.sampling.pair_distribution import pair_distribution
from kakehashi_botan.sampling.reweighting import WeightedSamples
from kakehashi_core.results import Estimate

FloatArray = npt.NDArray[np.float64]

N_NODES = 4
"""Of Gauss-Legendre between two temperatures; three give the same to 1e-4."""
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
        pair_chi_square: Of g(r), weighted against swap Monte Carlo, with the covariance of its bins.
        pair_bins: Degrees of freedom of it.
        pair_p: Probability of a larger one.
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
    n_samples: int = 4000,
    n_reference: int = 4000,
    seed: int = 11,
) -> list[RungCheck]:
    """Carry samples from each temperature to the next and compare.

    Args:
        flow: What carries.
        ladder: Descending temperatures.
        directory: Keeps the samples; a call that was interrupted goes on there.
        n_samples: Samples that are carried.
        n_reference: Samples of swap Monte Carlo at the end of each step.
        seed: Of the carried ones; the references take the next.
    """
    liquid = flow.liquid
    found = []
    for start, end in pairwise(ladder):
        x = stored_samples(directory, liquid, start, n_samples, seed=seed)
        reference = stored_samples(directory, liquid, end, n_reference, seed=seed + 1)
        found.append(_check(flow, x, reference, start, end, directory, n_samples, seed))
    return found


def _check(
    flow: Flow,
    x: FloatArray,
    reference: FloatArray,
    start: float,
    end: float,
    directory: Path,
    n_samples: int,
    seed: int,
) -> RungCheck:
    liquid = flow.liquid
    n = liquid.n_particles
    weighted = flow.weighted(x, start, end)
    energies = liquid.energies(weighted.positions)
    uniform = WeightedSamples(reference, np.zeros(len(reference)))
    exact = liquid.energies(reference)
    chi_square, n_bins = _pair_chi_square(liquid, weighted, uniform)
    ratio = integrated_log_ratio(
        liquid, start, end, directory, n_samples=n_samples // 2, seed=seed + 2
    )
    return RungCheck(
        start=start,
        end=end,
        effective_share=weighted.effective_share,
        plain_share=_plain_share(liquid, ratio, start, end, directory, n_samples // 2, seed + 2),
        energy=weighted.expectation(energies / n),
        energy_reference=uniform.expectation(exact / n),
        heat_capacity=_heat_capacity(weighted, energies, n * end**2),
        heat_capacity_reference=_heat_capacity(uniform, exact, n * end**2),
        pair_chi_square=chi_square,
        pair_bins=n_bins,
        pair_p=float(chi2.sf(chi_square, n_bins)),
        log_ratio=weighted.log_mean_weight_estimate(),
        log_ratio_reference=ratio,
    )


def _plain_share(
    liquid: Liquid,
    ratio: Estimate,
    start: float,
    end: float,
    directory: Path,
    n_samples: int,
    seed: int,
) -> Estimate:
    beyond = 1.0 / (2.0 / end - 1.0 / start)
    further = integrated_log_ratio(liquid, end, beyond, directory, n_samples=n_samples, seed=seed)
    # ln Z from b1 to 2 b2 - b1 is the sum of both.
    share = float(np.exp(ratio.mean - further.mean))
    error = share * float(np.hypot(ratio.stderr, further.stderr))
    return Estimate(mean=share, stderr=error, n_samples=n_samples)


def _heat_capacity(samples: WeightedSamples, energies: FloatArray, unit: float) -> Estimate:
    # The mean first: the square of the rest is then linear in the weights up to second order.
    mean = samples.weights @ energies
    return samples.expectation(np.square(energies - mean) / unit)


def _pair_chi_square(
    liquid: Liquid, first: WeightedSamples, second: WeightedSamples
) -> tuple[float, int]:
    means: list[FloatArray] = []
    covariance: FloatArray = np.zeros((G_BINS, G_BINS))
    for samples in (first, second):
        _, g = pair_distribution(liquid, samples.positions, n_bins=G_BINS)
        mean = samples.weights @ g
        spread = samples.weights[:, None] * (g - mean)
        means.append(mean)
        covariance = covariance + spread.T @ spread
    # Bins that hardly any pair reaches have no Gaussian errors.
    kept = np.minimum(*means) > 0.02
    difference = (means[0] - means[1])[kept]
    matrix = covariance[np.ix_(kept, kept)]
    return float(difference @ np.linalg.solve(matrix, difference)), int(kept.sum())


def integrated_log_ratio(
    liquid: Liquid, start: float, end: float, directory: Path, *, n_samples: int, seed: int
) -> Estimate:
    """Return ln Z(end)/Z(start) as minus the integral of <U> over the inverse temperature.

    Args:
        liquid: What is sampled.
        start: First temperature.
        end: Last temperature.
        directory: Keeps the samples.
        n_samples: At each node of the integral.
        seed: Of the samples.
    """
    nodes, weights = np.polynomial.legendre.leggauss(N_NODES)
    low, high = 1.0 / start, 1.0 / end
    total, variance = 0.0, 0.0
    for node, weight in zip(nodes, weights, strict=True):
        beta = 0.5 * (low + high) + 0.5 * (high - low) * node
        x = stored_samples(directory, liquid, 1.0 / beta, n_samples, seed=seed)
        energies = liquid.energies(x)
        share = 0.5 * (high - low) * weight
        total -= share * energies.mean()
        variance += share**2 * energies.var() / len(energies)
    return Estimate(mean=float(total), stderr=float(np.sqrt(variance)), n_samples=n_samples)
