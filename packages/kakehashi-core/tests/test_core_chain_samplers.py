"""Kernels behind the sampler contract, and in scripts; a Gaussian of known width."""

from __future__ import annotations

import numpy as np
import pytest

from kakehashi_core.chains import ChainSampler, Metropolis, ScriptKernel
from kakehashi_core.contracts import Sampler
from kakehashi_core.errors import InvalidInputError

WIDTH = 1.7


def log_weight(x):
    return -0.5 * np.square(x[:, 0] / WIDTH)


def propose(x, scale, rng):
    return x + scale * rng.normal(size=x.shape)


class GaussianSampler(ChainSampler):
    def __init__(self, n_chains=20, **options):
        kernel = Metropolis(log_weight, propose)
        super().__init__(kernel, lambda rng: rng.normal(size=(n_chains, 1)), **options)

    def series(self, operator):
        return self.applied(operator if callable(operator) else lambda x: x[:, 0] ** 2)

    def arguments(self):
        return {"width": WIDTH}

    def expt_value(self, operator):
        return self.autocorrelation(operator).estimate()


def test_averages_are_those_of_the_gaussian():
    """Oracle: the variance of the Gaussian."""
    sampler = GaussianSampler(warmup=100, seed=1)
    assert isinstance(sampler, Sampler)
    found = sampler.energy()
    assert abs(found.mean - WIDTH**2) < 4 * found.stderr < 0.5
    assert 0.2 < sampler.diagnostics()["acceptance"] < 0.8
    assert sampler.sample(33).shape == (33, 1)
    assert sampler.measured().shape[1:] == (20, 1)


def test_a_saved_sampler_goes_on_to_the_last_bit():
    first, second = GaussianSampler(warmup=5, seed=2), GaussianSampler(warmup=5, seed=3)
    first.sample(50)
    second.load_state_dict(first.state_dict())
    np.testing.assert_array_equal(first.sample(70), second.sample(70))
    assert first.energy() == second.energy()


def test_wrong_states_and_numbers_are_refused():
    sampler = GaussianSampler(seed=4)
    state = dict(sampler.state_dict())
    for changed, message in (
        ({**state, "arguments": {**state["arguments"], "width": 2.0}}, "width"),
        ({**state, "positions": np.zeros((3, 1))}, "shape"),
        ({k: v for k, v in state.items() if k != "rng"}, "no rng"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            sampler.load_state_dict(changed)
    with pytest.raises(InvalidInputError, match="thin"):
        GaussianSampler(thin=0)
    for call in (sampler.run, sampler.sample):
        with pytest.raises(InvalidInputError, match="at least 1"):
            call(0)
    with pytest.raises(InvalidInputError, match="one number for each"):
        sampler.expt_value(lambda x: x)


@pytest.mark.parametrize("vectorized", [False, True])
def test_a_kernel_in_a_script(vectorized):
    """Oracle: the variance of the Gaussian, and the log-weight of the state that is returned."""
    kernel = ScriptKernel(Metropolis(log_weight, propose), vectorized=vectorized)
    rng = np.random.default_rng(5)
    state, logw = kernel.warmup(np.zeros((30, 1)) if vectorized else np.zeros(1), rng)
    squares = []
    for _ in range(800 if vectorized else 12_000):
        state, logw, accepted = kernel.step(state, logw, rng)
        squares.append(np.square(state).mean())
    assert np.mean(squares) == pytest.approx(WIDTH**2, rel=0.12)
    if vectorized:
        np.testing.assert_array_equal(logw, log_weight(state))
        assert accepted.shape == (30,)
    else:
        assert isinstance(logw, float)
        assert isinstance(accepted, bool)
    with pytest.raises(InvalidInputError, match="one number for each"):
        kernel.step(state, np.zeros(7), rng)
    with pytest.raises(InvalidInputError, match="at least"):
        kernel.warmup(state, rng, n_steps=-1)
