"""Models travel between processes."""

from __future__ import annotations

import pickle

import pytest

from kakehashi_core.registry import Plugin
from kakehashi_testing.evaluation import evaluator, load_model
from kakehashi_testing.model_checks import check_pickling


def test_spec_survives_pickling(kakehashi_plugin: Plugin) -> None:
    """Oracle: equality of the spec with its copy."""
    spec = kakehashi_plugin.spec
    assert spec is not None
    assert pickle.loads(pickle.dumps(spec)) == spec  # noqa: S301  our own bytes


def test_model_survives_pickling_and_deepcopy(kakehashi_plugin: Plugin) -> None:
    """Oracle: the numbers of the original model, to the last bit."""
    evaluate = evaluator(kakehashi_plugin)
    if evaluate is None:
        pytest.skip(f"the suite cannot run models of kind {kakehashi_plugin.kind} yet")
    check_pickling(load_model(kakehashi_plugin), evaluate)
