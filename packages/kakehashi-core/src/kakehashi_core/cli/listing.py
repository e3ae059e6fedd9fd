"""``kakehashi list``: one line per plugin."""

from __future__ import annotations

from kakehashi_core import registry
from kakehashi_core.cli.output import echo_json, echo_remark, echo_table
from kakehashi_core.cli.plugin_lookup import MODEL_KINDS
from kakehashi_core.registry import Plugin

COLUMNS = ("name", "kind", "state", "distribution", "version", "summary")


def run_list(*, kind: str | None, as_json: bool) -> None:
    """Print all models, or all plugins of one kind, with their state.

    Raises:
        UnknownNameError: If there is no such kind.
    """
    kinds = MODEL_KINDS if kind is None else (kind.strip().lower().replace("-", "_"),)
    found = [plugin for one in kinds for plugin in registry.plugins(one)]
    if as_json:
        echo_json([listed_fields(plugin) for plugin in found])
    elif found:
        echo_table(COLUMNS, [_row(plugin) for plugin in found], state_column=2)
    else:
        what = "model" if kind is None else f"plugin of kind {kinds[0]!r}"
        echo_remark(f"no {what} is installed; for a start: pip install kakehashi-nnxc")


def listed_fields(plugin: Plugin) -> dict[str, str]:
    """Return what a listing says about a plugin; the keys are stable."""
    return {
        "name": plugin.name,
        "kind": plugin.kind,
        "state": str(plugin.state),
        "distribution": plugin.distribution,
        "version": plugin.version,
        "summary": plugin.spec.summary if plugin.spec else "",
        "reason": plugin.reason,
        "value": plugin.value,
    }


def _row(plugin: Plugin) -> list[str]:
    fields = listed_fields(plugin)
    row = [fields[column] for column in COLUMNS]
    if plugin.reason:  # why a plugin cannot be used matters more than what it would be
        row[-1] = plugin.reason
    return row
