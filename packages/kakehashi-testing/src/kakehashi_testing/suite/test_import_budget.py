"""Listing plugins stays free."""

from __future__ import annotations

from kakehashi_core.registry import Plugin
from kakehashi_testing.process_state import check_import_budget


def test_listing_imports_nothing_heavy(kakehashi_plugin: Plugin) -> None:
    """Oracle: sys.modules of a fresh process after the registry listed this plugin."""
    check_import_budget(kakehashi_plugin.qualified_name)
