"""Loading, running and failing leave the process as it was."""

from __future__ import annotations

import pytest

from kakehashi_core.registry import Plugin
from kakehashi_testing.process_state import STAGES, check_process_untouched, observe


@pytest.fixture(scope="module")
def changes(kakehashi_plugin: Plugin) -> dict[str, dict[str, str]]:
    """Changes by stage, from a fresh process: a first import can only be watched once."""
    return observe(kakehashi_plugin.kind, kakehashi_plugin.qualified_name)


@pytest.mark.parametrize("stage", STAGES)
def test_process_is_left_as_found(stage: str, changes: dict[str, dict[str, str]]) -> None:
    """Oracle: dtype, threads, random states, grad mode, filters, environment before and after."""
    if stage not in changes:
        pytest.skip("the suite cannot run models of this kind yet")
    check_process_untouched({stage: changes[stage]})
