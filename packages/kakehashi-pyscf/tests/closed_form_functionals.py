"""Functionals in closed form that libxc also has: the oracle of the bridge's tests."""

from __future__ import annotations

import math

import torch

from kakehashi_core import GaussianKernel

SLATER = -0.75 * (3 / math.pi) ** (1 / 3)
KAPPA = 0.804
MU = 0.06672455060314922 * math.pi**2 / 3


def _per_channel(unpolarized, variables, spin, n_rows):
    """Exact spin scaling of exchange: E[n_a, n_b] = (E[2 n_a] + E[2 n_b]) / 2."""
    if spin == 0:
        return unpolarized(*variables[:n_rows])
    scale = (2.0, 4.0, 2.0)
    rows = ((0, 2, 5), (1, 4, 6))
    return sum(
        unpolarized(*(scale[k] * variables[row] for k, row in enumerate(channel[:n_rows]))) / 2
        for channel in rows
    )


class SlaterExchange:
    """libxc "lda,"."""

    name, family, hybrid, max_deriv = "test-slater", "LDA", 0.0, 2

    def energy_density(self, variables, spin):
        if spin == 1:
            return sum(SLATER * (2 * n) ** (4 / 3) / 2 for n in variables[:2])
        return SLATER * variables[0] ** (4 / 3)


class PBEExchange:
    """libxc "pbe,"."""

    name, family, hybrid, max_deriv = "test-pbe-x", "GGA", 0.0, 2

    def energy_density(self, variables, spin):
        def unpolarized(n, sigma):
            p = sigma / (4 * (3 * math.pi**2) ** (2 / 3) * n ** (8 / 3))
            return SLATER * n ** (4 / 3) * (1 + KAPPA - KAPPA / (1 + MU * p / KAPPA))

        return _per_channel(unpolarized, variables, spin, 2)


class KineticCorrection:
    """Slater exchange with a bounded dependence on tau, so that every meta-GGA path carries signal."""

    name, family, hybrid, max_deriv = "test-tau", "MGGA", 0.0, 2

    def energy_density(self, variables, spin):
        def unpolarized(n, sigma, tau):
            x = tau / (n ** (5 / 3) + tau)
            p = sigma / (n ** (8 / 3) + sigma)
            return SLATER * n ** (4 / 3) * (1 + 0.1 * x + 0.05 * p * x)

        return _per_channel(unpolarized, variables, spin, 3)


class Unsound(SlaterExchange):
    """Returns NaN."""

    name = "test-nan"

    def energy_density(self, variables, spin):
        return super().energy_density(variables, spin) * torch.nan


class NearRegion:
    """Slater exchange with a smooth, bounded dependence on R, sigma and tau: every path carries signal."""

    name, family, hybrid, max_deriv = "test-near-region", "NONLOCAL", 0.0, 2
    convolution = GaussianKernel.exponential(0.2)

    def energy_density(self, variables, spin):
        if spin == 0:
            n, sigma, tau, convolved = variables
            exchange = SLATER * n ** (4 / 3)
        else:
            n = variables[0] + variables[1]
            sigma = variables[2] + 2 * variables[3] + variables[4]
            tau, convolved = variables[5] + variables[6], variables[7]
            exchange = sum(SLATER * (2 * channel) ** (4 / 3) / 2 for channel in variables[:2])
        q = torch.tanh(convolved / (0.2 * n))
        x = tau / (n ** (5 / 3) + tau)
        p = sigma / (n ** (8 / 3) + sigma)
        return exchange * (1 + 0.3 * q + 0.1 * x * q + 0.05 * p * x)


class WithoutKernel(NearRegion):
    """Forgets to say what it convolves the density with."""

    name, convolution = "test-without-kernel", None
