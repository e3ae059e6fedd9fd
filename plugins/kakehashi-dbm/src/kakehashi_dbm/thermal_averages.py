"""Averages of thermal states that chains have sampled, with errors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.chains import autocorrelation, effective_sample_size, jackknife, rhat
from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_core.results import Estimate
from kakehashi_dbm.engines import Engine, Spins
from kakehashi_dbm.spin_record import SpinRecord
from kakehashi_quspin.spin_model import SpinModel, hermitian_terms

FloatArray = npt.NDArray[np.float64]

ROUNDING = 1e-10
"""Smallest error that is reported, relative to the average: of what is conserved, or known exactly."""
N_BINS = 16
"""Bins of each chain, for errors of matrices."""


class ThermalAverages:
    """Averages at one temperature.

    Args:
        model: Spin model.
        engine: How its loop is read.
        n_chains: Chains that move together.

    Attributes:
        beta: Inverse temperature.
    """

    def __init__(self, model: SpinModel, engine: Engine, n_chains: int) -> None:
        self.beta = engine.beta
        self._model, self._engine = model, engine
        self._record = SpinRecord((n_chains, *engine.shape))
        self._energies = np.zeros((0, n_chains))

    @property
    def n_slices(self) -> int:
        """Slices in imaginary time."""
        return self._engine.n_slices

    @property
    def n_measurements(self) -> int:
        """Measurements of each chain."""
        return len(self._record)

    def add(self, positions: Spins) -> None:
        """Add one measurement: the positions of all chains."""
        self._record.append(positions)

    def measured(self) -> npt.NDArray[np.uint8]:
        """Return all measurements, packed."""
        return self._record.packed()

    def load_measured(self, packed: npt.ArrayLike) -> None:
        """Replace all measurements by what ``measured`` returned."""
        self._record.load(packed)
        self._energies = self._energies[:0]

    def energy(self) -> Estimate:
        """Return <H>."""
        return _estimate(self._energy_series())

    def expt_value(self, operator: Any) -> Estimate:
        """Return the average of a Hermitian operator.

        Args:
            operator: List as QuSpin writes it, in the convention of the basis of the model.

        Raises:
            InvalidInputError: If it is no such list, or not Hermitian.
            UnsupportedError: If the operator cannot be read off the samples; the message names the term.
        """
        return _estimate(self._series(operator))

    def correlations(self) -> tuple[FloatArray, FloatArray]:
        """Return <z_i z_j> of all pairs of sites and their standard errors, (n_sites, n_sites) each.

        z is what the letter means in the convention of the basis, sigma^z / 2 for ``pauli=0``.
        """
        self._ensure()
        n, n_chains = self._model.n_sites, self._energies.shape[1]
        length = max(1, len(self._record) // N_BINS)
        bins: list[FloatArray] = []
        total = np.zeros((n_chains, n, n))
        for k, positions in enumerate(self._record.since(0), start=1):
            s = self._engine.states(positions).astype(np.float32)
            total += np.matmul(s.transpose(0, 2, 1), s) / s.shape[1]
            if k % length == 0:
                bins.extend(total / length)
                total = np.zeros_like(total)
        found = self._pair_unit * np.array(bins)
        if len(found) < 2:
            return found.mean(axis=0), np.full((n, n), np.inf)
        return found.mean(axis=0), found.std(axis=0, ddof=1) / np.sqrt(len(found))

    def susceptibility(self, weights: npt.ArrayLike | None = None) -> Estimate:
        """Return the response of M = sum_i w_i z_i to its own field: d<M>/dh of H - h M, at h = 0.

        It is the integral over imaginary time of <M(tau) M> minus beta <M>^2; z as in ``correlations``.

        Args:
            weights: w, (n_sites,); None for ones. Alternating signs give the staggered response.

        Raises:
            InvalidInputError: If the number of weights is not that of the sites.
            UnsupportedError: If the network is not uniform in imaginary time.
        """
        n = self._model.n_sites
        w = np.ones(n) if weights is None else np.asarray(weights)
        if w.shape != (n,) or w.dtype.kind not in "iuf" or not np.isfinite(w).all():
            raise InvalidInputError(
                f"weights must be {n} finite real numbers, one for each site; got {w.dtype} of shape "
                f"{w.shape}"
            )
        self._need_uniform("susceptibilities")
        self._ensure()
        every = self._record.since(0)
        m = np.array([(self._engine.states(p) @ w).mean(axis=1) for p in every]).T
        m = m * math.sqrt(self._pair_unit)
        return jackknife(lambda square, mean: self.beta * (square - mean**2), m**2, m)

    def correlator(self, first: int, second: int) -> tuple[FloatArray, list[Estimate]]:
        """Return <z_i(tau) z_j> in imaginary time, from tau = 0 to beta / 2; z as in ``correlations``.

        Args:
            first: Site i.
            second: Site j.

        Returns:
            tau, (n_slices / 2 + 1,), and an estimate for each.

        Raises:
            InvalidInputError: If there is no such site.
            UnsupportedError: If the network is not uniform in imaginary time.
        """
        n = self._model.n_sites
        if not all(isinstance(i, int | np.integer) and 0 <= i < n for i in (first, second)):
            raise InvalidInputError(f"sites are 0 to {n - 1}, got {first} and {second}")
        self._need_uniform("correlators in imaginary time")
        self._ensure()
        states = [self._engine.states(p) for p in self._record.since(0)]
        later = np.array([s[..., first] for s in states], dtype=float)
        now = self._pair_unit * np.array([s[..., second] for s in states], dtype=float)
        numbers = range(self.n_slices // 2 + 1)
        found = [
            autocorrelation((np.roll(later, -m, axis=2) * now).mean(axis=2).T).estimate()
            for m in numbers
        ]
        return self.beta / self.n_slices * np.array(numbers), found

    def diagnostics(self) -> Mapping[str, float]:
        """Return acceptance (1: cluster updates), and of the energy tau_int, ESS and R-hat."""
        values = self._energy_series()
        several = len(values) > 1
        return {
            "acceptance": 1.0,
            "tau_int": autocorrelation(values).tau_int,
            "ESS": effective_sample_size(values) if several else np.nan,
            "R-hat": rhat(values) if several else np.nan,
        }

    def _ensure(self) -> None:
        """Measure, where nothing was measured yet."""
        if not len(self._record):
            raise InvalidInputError("nothing was measured yet; call run() first")

    @property
    def _pair_unit(self) -> float:
        """Return what a product of two letters z is in Pauli matrices."""
        return 0.25 if self._model.pauli == 0 else 1.0

    def _need_uniform(self, what: str) -> None:
        if not self._engine.is_uniform:
            raise UnsupportedError(
                f"{what} need a network that is uniform in imaginary time; learned layers are thermal at "
                "their ends only. Leave network= out."
            )

    def _energy_series(self) -> FloatArray:
        """Return the energy at every measurement, (n_chains, n_measurements)."""
        self._ensure()
        new = [self._engine.energies(p) for p in self._record.since(len(self._energies))]
        if new:
            self._energies = np.concatenate([self._energies, np.array(new)])
        return self._energies.T

    def _series(self, operator: Any) -> FloatArray:
        real = hermitian_terms(operator, self._model.n_sites, pauli=self._model.pauli)
        self._ensure()
        return np.array([self._engine.averages(p, real) for p in self._record.since(0)]).T


def _estimate(series: FloatArray) -> Estimate:
    """Return mean and error; no error is below what rounding leaves."""
    found = autocorrelation(series).estimate()
    return replace(found, stderr=max(found.stderr, ROUNDING * max(1.0, abs(found.mean))))
