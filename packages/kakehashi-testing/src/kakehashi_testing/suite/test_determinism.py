"""The same input gives the same output."""

from __future__ import annotations

import pytest

from kakehashi_core.registry import Plugin
from kakehashi_testing.evaluation import evaluator, load_model
from kakehashi_testing.model_checks import Evaluate, check_deterministic, check_thread_count


def _evaluate(plugin: Plugin) -> Evaluate:
    evaluate = evaluator(plugin)
    if evaluate is None:
        pytest.skip(f"the suite cannot run models of kind {plugin.kind} yet")
    return evaluate


def test_same_input_twice(kakehashi_plugin: Plugin) -> None:
    """Oracle: the first evaluation, to the last bit."""
    check_deterministic(load_model(kakehashi_plugin), _evaluate(kakehashi_plugin))


def test_one_against_two_threads(kakehashi_plugin: Plugin) -> None:
    """Oracle: one thread; two threads may sum in another order."""
    check_thread_count(load_model(kakehashi_plugin), _evaluate(kakehashi_plugin))
