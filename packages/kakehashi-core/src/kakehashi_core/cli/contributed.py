"""Commands that packages contribute: which there are, and ``kakehashi bench`` and ``train``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kakehashi_core import registry
from kakehashi_core._entry_point_scan import normalize_name
from kakehashi_core.cli.output import echo_table
from kakehashi_core.errors import PluginLoadError, UnknownNameError, UnsupportedError, unknown_name
from kakehashi_core.registry import Plugin, State
from kakehashi_core.specs import CORE_VERBS, GROUPS, CommandSpec

_LAST = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ContributedCommand:
    """One plugin of kind "commands" under the verb that it belongs to.

    Attributes:
        label: The NAME that users type, see ``command_label``.
        plugin: The plugin; broken ones included.
        serves: Plugin kind whose models the command also answers to, or empty.
        position: Order in listings and in the demonstration.
    """

    label: str
    plugin: Plugin
    serves: str
    position: int

    @property
    def usable(self) -> bool:
        """True when the command can be called."""
        return self.plugin.state is State.OK


def command_label(name: str, verb: str) -> str:
    """Return the NAME that users type for a command.

    Entry points must be unique in their group, so the registry name of a command carries its verb
    as a prefix: "bench-scf" of the verb "bench" is called by ``kakehashi bench scf``.
    """
    return name.removeprefix(f"{verb}-")


def contributed_commands(verb: str) -> tuple[ContributedCommand, ...]:
    """Return the commands of one verb in order of position, then label.

    A command whose spec cannot be read is counted to the verb that its name starts with.
    """
    commands = []
    for plugin in registry.plugins("commands"):
        spec = plugin.spec
        if isinstance(spec, CommandSpec):
            belongs, serves, position = spec.verb == verb, spec.serves, spec.position
        else:
            belongs, serves, position = plugin.name.startswith(f"{verb}-"), "", _LAST
        if belongs:
            label = command_label(plugin.name, verb)
            commands.append(
                ContributedCommand(label=label, plugin=plugin, serves=serves, position=position)
            )
    return tuple(sorted(commands, key=lambda command: (command.position, command.label)))


def contributed_verbs() -> dict[str, str]:
    """Return the verbs that packages bring beyond those of core, and what they are for."""
    verbs: dict[str, list[str]] = {}
    for plugin in registry.plugins("commands"):
        spec = plugin.spec
        if isinstance(spec, CommandSpec) and spec.verb not in CORE_VERBS:
            verbs.setdefault(spec.verb, []).append(command_label(plugin.name, spec.verb))
    return {verb: ", ".join(sorted(labels)) for verb, labels in sorted(verbs.items())}


def run_contributed(verb: str, arguments: Sequence[str]) -> None:
    """Run the command, or the command for the model, that the first argument names.

    Args:
        verb: "bench", "train" or a word that a package brings.
        arguments: NAME and whatever follows it; empty to list what there is.

    Raises:
        UnknownNameError: If NAME is neither a command nor a model that a command serves.
        PluginLoadError: If the command or the model cannot be used.
        UnsupportedError: If no command of this verb is installed.
        SystemExit: Always after the command ran, with its exit code.
    """
    commands = contributed_commands(verb)
    if not commands:
        raise UnsupportedError(
            f"no {verb} command is installed. Installed: {_installed()}. A distribution brings one "
            f"by an entry point in the group {GROUPS['commands']!r}."
        )
    if not arguments:
        _list_commands(commands)
        return
    name, rest = arguments[0], list(arguments[1:])
    command = _command_called(name, commands)
    if command is None:
        command = _command_for_model(verb, name, commands)
        rest = [name, *rest]
    _run(verb, command, rest)


def _command_called(name: str, commands: Sequence[ContributedCommand]) -> ContributedCommand | None:
    distribution, _, label = name.rpartition(":")
    label = normalize_name(label)
    matches = [
        command
        for command in commands
        if command.label == label and distribution in {"", command.plugin.distribution}
    ]
    return matches[0] if matches else None


def _command_for_model(
    verb: str, name: str, commands: Sequence[ContributedCommand]
) -> ContributedCommand:
    serving = [command for command in commands if command.serves]
    answering = []
    for command in serving:
        try:
            registry.find(command.serves, name)
        except UnknownNameError:
            continue
        answering.append(command)
    if not answering:
        models = {model for command in serving for model in registry.entry_names(command.serves)}
        labels = {command.label for command in commands}
        hint = f"'kakehashi {verb}' without a name lists them."
        raise unknown_name(f"{verb} command or model", name, labels | models, hint)
    if len(answering) > 1:
        ways = " or ".join(f"'kakehashi {verb} {command.label} {name}'" for command in answering)
        raise PluginLoadError(f"several {verb} commands serve the model {name!r}; use {ways}")
    return answering[0]


def _run(verb: str, command: ContributedCommand, arguments: Sequence[str]) -> None:
    from kakehashi_core.cli.function_command import run_function

    # A bare name that is in conflict raises here, which names the ways out.
    usable_name = command.plugin.qualified_name if command.usable else command.plugin.name
    factory = registry.load_factory("commands", usable_name)
    summary = command.plugin.spec.summary if command.plugin.spec else ""
    run_function(
        factory,
        arguments,
        program=f"kakehashi {verb} {command.label}",
        summary=summary,
        takes_model=bool(command.serves),
    )


def _installed() -> str:
    found = {f"{plugin.distribution} {plugin.version}".strip() for plugin in registry.plugins()}
    return ", ".join(sorted(found)) or "no kakehashi plugin"


def _list_commands(commands: Sequence[ContributedCommand]) -> None:
    rows = []
    for command in commands:
        plugin = command.plugin
        summary = plugin.reason or (plugin.spec.summary if plugin.spec else "")
        models = ", ".join(registry.entry_names(command.serves)) if command.serves else ""
        rows.append([command.label, str(plugin.state), plugin.distribution, models, summary])
    echo_table(("name", "state", "distribution", "models", "summary"), rows, state_column=1)
