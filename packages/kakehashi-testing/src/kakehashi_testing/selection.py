"""From the names on the command line to the plugins that are tested."""

from __future__ import annotations

from collections.abc import Iterable

from kakehashi_core import registry
from kakehashi_core.errors import InvalidInputError, unknown_name
from kakehashi_core.registry import Plugin, State, normalize_name


def select_plugins(names: Iterable[str]) -> tuple[Plugin, ...]:
    """Return the plugins called ``names``, of whatever kind, each once.

    Args:
        names: Registry names or ``"distribution:name"``. A name that several kinds use stands for
            all of them.

    Raises:
        UnknownNameError: If nobody registers a name; the message lists the closest ones.
        InvalidInputError: If a plugin is broken, incompatible, disabled or in conflict.
    """
    installed = registry.plugins()
    selected: dict[tuple[str, str], Plugin] = {}
    for name in names:
        for plugin in _matching(name, installed):
            selected[plugin.kind, plugin.qualified_name] = plugin
    return tuple(selected.values())


def _matching(name: str, installed: tuple[Plugin, ...]) -> list[Plugin]:
    distribution, _, bare = name.rpartition(":")
    matches = [
        plugin
        for plugin in installed
        if plugin.name == normalize_name(bare)
        and (
            not distribution or normalize_name(plugin.distribution) == normalize_name(distribution)
        )
    ]
    if not matches:
        known = {plugin.qualified_name if distribution else plugin.name for plugin in installed}
        raise unknown_name("plugin", name, known, "'kakehashi list' shows what is installed.")
    # A distribution in front of the name is exactly what resolves a conflict of bare names.
    bad = [
        plugin
        for plugin in matches
        if plugin.state is not State.OK
        and not (distribution and plugin.state is State.CONFLICT and len(matches) == 1)
    ]
    if bad:
        reasons = "; ".join(
            f"{plugin.kind} plugin {plugin.qualified_name!r} ({plugin.value}) is {plugin.state}: "
            f"{plugin.reason}"
            for plugin in bad
        )
        traceback = "".join(f"\n{plugin.traceback}" for plugin in bad if plugin.traceback)
        raise InvalidInputError(f"cannot test {name!r}: {reasons}{traceback}")
    return matches
