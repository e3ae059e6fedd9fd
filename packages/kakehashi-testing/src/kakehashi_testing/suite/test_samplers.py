"""Samplers of thermal spin states: frequencies, averages, error bars, seeds."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import pytest

from kakehashi_core import registry
from kakehashi_core.registry import Plugin


@pytest.fixture
def make(kakehashi_sampler: Plugin) -> Any:
    """Make the sampler under test as users of QuSpin do."""
    quspin = pytest.importorskip(
        "kakehashi_quspin", reason="checks of samplers need kakehashi-quspin"
    )
    pytest.importorskip("scipy")
    factory = registry.load_factory("samplers", kakehashi_sampler.qualified_name)
    if "beta" not in inspect.signature(factory).parameters:
        pytest.skip("it does not sample thermal states of spin models")
    return partial(quspin.sampler, kakehashi_sampler.qualified_name)


def test_sampled_states(make: Any) -> None:
    """Oracle: diag(exp(-beta H)) in QuSpin's order; chi-square, p > 1e-4."""
    from kakehashi_testing.sampler_checks import check_sampled_states

    check_sampled_states(make)


def test_expectation_values(make: Any) -> None:
    """Oracle: exact averages; five standard errors."""
    from kakehashi_testing.sampler_checks import check_expectation_values

    check_expectation_values(make)


def test_error_bars(make: Any) -> None:
    """Oracle: the spread over 20 seeds."""
    from kakehashi_testing.sampler_checks import check_error_bars

    check_error_bars(make)


def test_seeds(make: Any) -> None:
    """Oracle: the sampler with the same seed, and the one that was not stopped."""
    from kakehashi_testing.sampler_checks import check_seeds

    check_seeds(make)


def test_bad_input(make: Any) -> None:
    """Oracle: errors of kakehashi, before anything is sampled."""
    from kakehashi_testing.sampler_checks import check_sampler_input

    check_sampler_input(make)
