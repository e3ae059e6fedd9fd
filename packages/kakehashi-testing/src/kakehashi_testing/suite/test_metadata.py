"""A spec says everything a user needs before trusting the model."""

from __future__ import annotations

from kakehashi_core.registry import Plugin
from kakehashi_core.specs import XCSpec
from kakehashi_testing.evaluation import load_model
from kakehashi_testing.model_checks import (
    check_entry_point,
    check_functional_matches_spec,
    check_spec,
)


def test_entry_point_and_spec_agree(kakehashi_plugin: Plugin) -> None:
    """Oracle: the entry point itself."""
    check_entry_point(kakehashi_plugin)


def test_spec_is_complete(kakehashi_plugin: Plugin) -> None:
    """Oracle: the list of fields that STYLE and the registry require; JSON serialization."""
    assert kakehashi_plugin.spec is not None
    check_spec(kakehashi_plugin.spec)


def test_factory_resolves(kakehashi_plugin: Plugin) -> None:
    """Oracle: the registry, which raises with the cause when the factory cannot be used."""
    assert load_model(kakehashi_plugin) is not None


def test_functional_is_what_its_spec_announces(kakehashi_xc: Plugin) -> None:
    """Oracle: family, hybrid and max_deriv of the spec."""
    assert isinstance(kakehashi_xc.spec, XCSpec)
    check_functional_matches_spec(load_model(kakehashi_xc), kakehashi_xc.spec)
