"""Find plugins by name across kinds, in whatever state they are."""

from __future__ import annotations

from collections.abc import Iterable

from kakehashi_core import registry
from kakehashi_core._entry_point_scan import normalize_distribution, normalize_name
from kakehashi_core.errors import PluginLoadError, unknown_name
from kakehashi_core.registry import Plugin, State
from kakehashi_core.specs import GROUPS

MODEL_KINDS = tuple(kind for kind in GROUPS if kind != "commands")
"""Kinds whose plugins are models, in the order of ``specs.GROUPS``."""


def matching_plugins(name: str, kinds: Iterable[str]) -> tuple[Plugin, ...]:
    """Return every plugin of that name, usable or not; at least one.

    Args:
        name: Registry name or ``"distribution:name"``; the latter settles a conflict.
        kinds: Plugin kinds to search.

    Raises:
        UnknownNameError: If no plugin of these kinds has the name.
    """
    distribution, _, bare = name.rpartition(":")
    distribution, bare = normalize_distribution(distribution), normalize_name(bare)
    candidates = [plugin for kind in kinds for plugin in registry.plugins(kind)]
    found = [
        plugin
        for plugin in candidates
        if plugin.name == bare and (not distribution or plugin.distribution == distribution)
    ]
    if not found:
        known = {p.qualified_name if distribution else p.name for p in candidates}
        raise unknown_name("plugin", name, known, "'kakehashi list' shows what is installed.")
    return tuple(_selected(plugin) if distribution else plugin for plugin in found)


def usable_plugins(name: str, kinds: Iterable[str]) -> tuple[Plugin, ...]:
    """Return every plugin of that name in state OK; at least one.

    Raises:
        UnknownNameError: If no plugin of these kinds has the name.
        PluginLoadError: If none of them can be used; the message is that of the first.
    """
    found = matching_plugins(name, kinds)
    usable = tuple(plugin for plugin in found if plugin.state is State.OK)
    return usable or (registry.find(found[0].kind, name),)


def _selected(plugin: Plugin) -> Plugin:
    if plugin.state is not State.CONFLICT:
        return plugin
    try:
        return registry.find(plugin.kind, plugin.qualified_name)
    except PluginLoadError:  # the distribution itself registers the name twice
        return plugin
