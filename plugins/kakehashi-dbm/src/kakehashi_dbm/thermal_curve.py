"""Energy, specific heat, entropy and free energy at all temperatures, from energies at a few.

One smooth curve is fitted to all energies; its value and slope at infinite temperature are known exactly. The
specific heat is its slope, the partition function its integral, with errors from the fit.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev

from kakehashi_core.errors import InvalidInputError, refuse_unknown_options
from kakehashi_core.results import Estimate
from kakehashi_dbm.arguments import number, spin_model
from kakehashi_dbm.thermal_sampler import ThermalDBM
from kakehashi_quspin.spin_model import SpinModel

FloatArray = npt.NDArray[np.float64]

N_NODES = 10
BEYOND = 1.6
"""Energies reach so much further than the curve is wanted: slopes are least known at its end."""
LEAST_FREEDOM = 1
"""Energies more than coefficients."""
N_QUADRATURE = 120


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ThermalCurve:
    """E(beta) = E(0) + E'(0) s u + u^2 sum_k a_k T_k(2 u / u_max - 1), with u = beta / (beta + s).

    Attributes:
        n_sites: Number of spins.
        start: E(0) and E'(0), exact.
        scale: s.
        largest_beta: Where the energies end.
        coefficients: a_k.
        simpler: a_k with the last one left out of the fit: what that changes is part of the errors.
        covariance: Of the a_k.
        misfit: Squared deviations per degree of freedom.
    """

    n_sites: int
    start: tuple[float, float]
    scale: float
    largest_beta: float
    coefficients: FloatArray = field(repr=False)
    simpler: FloatArray = field(repr=False)
    covariance: FloatArray = field(repr=False)
    misfit: float

    @classmethod
    def fit(cls, model: SpinModel, betas: Sequence[float], energies: Sequence[Estimate]) -> Self:
        """Fit a curve; its degree is what the errors of the energies allow for.

        Args:
            model: For what is known at beta = 0.
            betas: Inverse temperatures, positive, (n,).
            energies: Of all sites together, with errors, (n,).

        Raises:
            InvalidInputError: If there are fewer than four energies, or one has no error.

        Source:
            H. Akaike, IEEE Trans. Autom. Control 19, 716 (1974), for the degree.
        """
        b = np.asarray(betas, dtype=float)
        values = np.array([e.mean for e in energies])
        errors = np.array([e.stderr for e in energies])
        if len(b) < 4 or len(b) != len(values) or not (b > 0.0).all():
            raise InvalidInputError(
                f"at least four energies at positive beta are needed, got {len(values)} at {len(b)}"
            )
        if not (errors > 0.0).all():
            raise InvalidInputError("every energy needs an error, to weigh it against the others")
        coefficients = np.array(list(model.terms.values()))
        start = (model.constant, -float((coefficients**2).sum()))
        scale = 1.0 / max(float(np.abs(coefficients).max()), 1e-12)
        last = float(b.max())
        fits = []
        for degree in range(2, len(b) - LEAST_FREEDOM + 1):
            known, design = _design(b, scale, last, degree)
            target = (values - known @ np.array(start)) / errors
            weighted = design / errors[:, None]
            found, *_ = np.linalg.lstsq(weighted, target, rcond=None)
            fits.append((found, weighted, float(((target - weighted @ found) ** 2).sum())))
        # Akaike's criterion, and one degree more: with fewer, what is left out exceeds the errors.
        scores = [squares + 2.0 * len(found) for found, _, squares in fits]
        found, weighted, squares = fits[min(int(np.argmin(scores)) + 1, len(fits) - 1)]
        misfit = squares / (len(b) - len(found))
        return cls(
            n_sites=model.n_sites,
            start=start,
            scale=scale,
            largest_beta=last,
            coefficients=found,
            simpler=np.append(fits[len(found) - 3][0], 0.0) if len(found) > 2 else found,
            # A curve that misses the energies knows less than their errors say.
            covariance=np.linalg.pinv(weighted.T @ weighted) * max(misfit, 1.0),
            misfit=misfit,
        )

    def betas(self, largest: float, n: int) -> FloatArray:
        """Return inverse temperatures from where the curve starts to bend up to the largest, (n,)."""
        return np.geomspace(min(0.1 * largest, 0.5 / self.scale), largest, n)

    def energy(self, beta: float) -> Estimate:
        """Return <H>."""
        known, design = self._at(beta)
        return self._estimate(float(known @ np.array(self.start)), design)

    def specific_heat(self, beta: float) -> Estimate:
        """Return -beta^2 dE / dbeta, of all sites together."""
        step = 1e-4 * self.scale
        high, low = self._at(beta + step), self._at(max(beta - step, 0.0))
        width = min(2.0 * step, beta + step)
        known, design = (-(beta**2) * (h - x) / width for h, x in zip(high, low, strict=True))
        return self._estimate(float(known @ np.array(self.start)), design)

    def log_partition(self, beta: float) -> Estimate:
        """Return ln Z = N ln 2 - integral of E."""
        known, design = self._integral(beta)
        value = self.n_sites * math.log(2.0) - float(known @ np.array(self.start))
        return self._estimate(value, -design)

    def entropy(self, beta: float) -> Estimate:
        """Return S = ln Z + beta E."""
        here, there = self._at(beta), self._integral(beta)
        known, design = (beta * h - t for h, t in zip(here, there, strict=True))
        value = self.n_sites * math.log(2.0) + float(known @ np.array(self.start))
        return self._estimate(value, design)

    def free_energy(self, beta: float) -> Estimate:
        """Return F = -ln Z / beta.

        Raises:
            InvalidInputError: If beta is zero.
        """
        if beta <= 0.0:
            raise InvalidInputError(f"the free energy needs a positive beta, got {beta!r}")
        found = self.log_partition(beta)
        return Estimate(mean=-found.mean / beta, stderr=found.stderr / beta)

    def _at(self, beta: float) -> tuple[FloatArray, FloatArray]:
        if not 0.0 <= beta <= self.largest_beta * (1.0 + 1e-3):
            raise InvalidInputError(
                f"the curve goes from beta = 0 to {self.largest_beta:g}, got {beta!r}"
            )
        known, design = _design(
            np.array([beta]), self.scale, self.largest_beta, len(self.coefficients)
        )
        return known[0], design[0]

    def _integral(self, beta: float) -> tuple[FloatArray, FloatArray]:
        """Return integrals of what the curve is linear in, from 0 to beta."""
        self._at(beta)
        nodes, weights = np.polynomial.legendre.leggauss(N_QUADRATURE)
        points, factors = 0.5 * beta * (nodes + 1.0), 0.5 * beta * weights
        known, design = _design(points, self.scale, self.largest_beta, len(self.coefficients))
        return factors @ known, factors @ design

    def _estimate(self, known: float, design: FloatArray) -> Estimate:
        left_out = float(design @ (self.coefficients - self.simpler))
        variance = float(design @ self.covariance @ design) + left_out**2
        return Estimate(
            mean=known + float(design @ self.coefficients), stderr=math.sqrt(max(variance, 0.0))
        )


def thermal_curve(
    model: SpinModel,
    largest_beta: float,
    *,
    n_measurements: int = 400,
    n_nodes: int = N_NODES,
    seed: int = 0,
    **options: Any,
) -> ThermalCurve:
    """Sample energies at several temperatures and fit a curve to them.

    Args:
        model: Spin model, see ``ThermalDBM``.
        largest_beta: Where the curve ends.
        n_measurements: Of each chain at each temperature.
        n_nodes: Temperatures; more where the energy bends sharply, as in an ordered phase.
        seed: Of the first one; further ones count up.
        options: For ``ThermalDBM``.

    Raises:
        InvalidInputError: If a number makes no sense.
    """
    spin_model(model)
    if number("largest_beta", largest_beta, least=0.0) == 0.0:
        raise InvalidInputError("largest_beta must be positive")
    known = inspect.signature(ThermalDBM).parameters.keys() - {"model", "beta", "seed"}
    refuse_unknown_options("ThermalDBM", options, known)
    betas = chebyshev_betas(model, BEYOND * largest_beta, n_nodes)
    energies = []
    for k, beta in enumerate(betas):
        sampler = ThermalDBM(model, beta=float(beta), seed=seed + k, **options)
        sampler.run(n_measurements)
        energies.append(sampler.energy())
    return ThermalCurve.fit(model, list(betas), energies)


def chebyshev_betas(model: SpinModel, largest_beta: float, n_nodes: int) -> FloatArray:
    """Return inverse temperatures that crowd toward both ends of u = beta / (beta + s), (n_nodes,)."""
    scale = 1.0 / max(abs(c) for c in model.terms.values())
    last = largest_beta / (largest_beta + scale)
    u = 0.5 * last * (1.0 - np.cos(np.pi * (np.arange(n_nodes) + 1.0) / n_nodes))
    return np.asarray(scale * u / (1.0 - u))


def _design(
    betas: FloatArray, scale: float, last: float, degree: int
) -> tuple[FloatArray, FloatArray]:
    """Return what E(0) and E'(0) are multiplied with, (n, 2), and what the a_k are, (n, degree)."""
    u = betas / (betas + scale)
    largest = last / (last + scale)
    known = np.stack([np.ones_like(u), scale * u], axis=1)
    design = chebyshev.chebvander(2.0 * u / largest - 1.0, degree - 1) * (u**2)[:, None]
    return known, np.asarray(design)
