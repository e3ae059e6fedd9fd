"""Checks of samplers: a right one passes all of them, and each fault is found by its check."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_core.results import Estimate
from kakehashi_testing.errors import ConformanceError
from kakehashi_testing.sampler_checks import (
    check_error_bars,
    check_expectation_values,
    check_sampled_states,
    check_sampler_input,
    check_seeds,
)

quspin = pytest.importorskip("kakehashi_quspin", reason="these checks need kakehashi-quspin")
pytest.importorskip("scipy")


class Exact:
    """Independent samples of exp(-beta H) by matrices, with faults on demand."""

    def __init__(self, static: Any, n: int, *, beta: float, seed: int, fault: str = "") -> None:
        from scipy.linalg import expm

        if not beta >= 0.0 and fault != "any beta":
            raise InvalidInputError("beta")
        self.model = quspin.SpinModel.from_quspin(static, n)
        if fault == "refuses":
            raise UnsupportedError("nothing is supported")
        beta = beta * (1.3 if fault == "too cold" else 1.0)
        rho = expm(-beta * self.model.matrix()).real if np.isfinite(beta) else np.eye(1 << n)
        self.rho, self.n, self.fault = rho / np.trace(rho), n, fault
        self.rng = np.random.default_rng(0 if fault == "one seed" else seed)

    def sample(self, n: int) -> Any:
        p = self.rho.diagonal()
        states = (1 << self.n) - 1 - self.rng.choice(len(p), size=n, p=p)
        if self.fault == "reversed sites":
            bits = [int(format(s, f"0{self.n}b")[::-1], 2) for s in states]
            states = np.array(bits)
        return states.astype(np.int64 if self.fault == "signed" else np.uint32)

    def expt_value(self, operator: Any) -> Estimate:
        matrix = quspin.SpinModel.from_quspin(operator, self.n).matrix()
        mean = float(np.trace(self.rho @ matrix).real)
        error = 0.01
        shown = 0.3 * error if self.fault == "optimistic" else error
        return Estimate(mean=mean + error * self.rng.normal(), stderr=shown)

    def diagnostics(self) -> dict[str, float]:
        return {"tau_int": 0.5}

    def state_dict(self) -> Any:
        return {} if self.fault == "forgets" else self.rng.bit_generator.state

    def load_state_dict(self, state: Any) -> None:
        if state:
            self.rng.bit_generator.state = state


CHECKS = (
    check_sampled_states,
    check_expectation_values,
    check_error_bars,
    check_seeds,
    check_sampler_input,
)


@pytest.mark.parametrize("check", CHECKS)
def test_a_right_sampler_passes(check: Any) -> None:
    """Oracle: samples that are exact by construction."""
    check(Exact)


@pytest.mark.parametrize(
    ("fault", "check", "message"),
    [
        ("too cold", check_sampled_states, "chi-square"),
        ("reversed sites", check_sampled_states, "chi-square"),
        ("signed", check_sampled_states, "unsigned"),
        ("too cold", check_expectation_values, "exactly"),
        ("refuses", check_expectation_values, "refuses every model"),
        ("optimistic", check_error_bars, "spread"),
        ("one seed", check_seeds, "two seeds"),
        ("forgets", check_seeds, "load_state_dict"),
        ("any beta", check_sampler_input, "taken without"),
    ],
)
def test_faults_are_found(fault: str, check: Any, message: str) -> None:
    """Oracle: the fault that was put in."""

    def make(*args: Any, **options: Any) -> Exact:
        return Exact(*args, **options, fault=fault)

    with pytest.raises(ConformanceError, match=message):
        check(make)
