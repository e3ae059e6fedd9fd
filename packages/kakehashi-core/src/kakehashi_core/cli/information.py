"""``kakehashi info NAME``: everything a plugin says about itself, without importing the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from kakehashi_core.cli.citing import citation_text
from kakehashi_core.cli.listing import listed_fields
from kakehashi_core.cli.output import echo_fields, echo_json, echo_remark, echo_title
from kakehashi_core.cli.plugin_lookup import matching_plugins
from kakehashi_core.cli.shipped_card import shipped_card
from kakehashi_core.errors import CheckpointError
from kakehashi_core.model_card import ModelCard
from kakehashi_core.registry import Plugin, State
from kakehashi_core.specs import GROUPS, Domain, PluginSpec


def run_info(name: str, *, as_json: bool) -> int:
    """Describe every plugin of that name, of whatever kind; 1 unless one of them is usable.

    Raises:
        UnknownNameError: If nobody registers the name.
    """
    found = matching_plugins(name, GROUPS)
    cards = [_card(plugin) for plugin in found]
    if as_json:
        echo_json([_as_data(p, card) for p, card in zip(found, cards, strict=True)])
    else:
        for plugin, card in zip(found, cards, strict=True):
            _describe(plugin, card)
    return 0 if any(plugin.state is State.OK for plugin in found) else 1


def _card(plugin: Plugin) -> ModelCard | None:
    if plugin.spec is None or not plugin.spec.checkpoint:
        return None
    try:
        return shipped_card(plugin.spec)
    except CheckpointError as error:
        echo_remark(f"warning: no model card for {plugin.name}: {error}")
        return None


def _as_data(plugin: Plugin, card: ModelCard | None) -> dict[str, Any]:
    spec = asdict(plugin.spec) if plugin.spec else None
    return {**listed_fields(plugin), "spec": spec, "card": asdict(card) if card else None}


def _describe(plugin: Plugin, card: ModelCard | None) -> None:
    echo_title(f"{plugin.name} ({plugin.kind})")
    echo_fields(
        {
            "state": f"{plugin.state}: {plugin.reason}" if plugin.reason else str(plugin.state),
            "distribution": f"{plugin.distribution} {plugin.version}",
            "entry point": plugin.value,
            **(_spec_fields(plugin.spec) if plugin.spec else {}),
        }
    )
    if card:
        echo_title(f"model card: {card.name}, {card.summary}")
        echo_fields(dict(card.rows()))


def _spec_fields(spec: PluginSpec) -> dict[str, str]:
    """Return the fields of a spec in words, those special to its kind after the common ones."""
    common = {field.name for field in fields(PluginSpec)}
    special = {
        field.name.replace("_", " "): _readable(getattr(spec, field.name))
        for field in fields(spec)
        if field.name not in common
    }
    return {
        "summary": spec.summary,
        "factory": spec.factory,
        **special,
        "domain": _domain_text(spec.domain),
        "units": _readable(spec.units),
        "devices": _readable(spec.devices),
        "dtypes": _readable(spec.dtypes),
        "checkpoint": spec.checkpoint,
        "citation": citation_text(spec.citation),
        "license of code": spec.code_license,
        "license of weights": spec.weights_license,
        "samples": _readable(spec.samples),
    }


def _domain_text(domain: Domain) -> str:
    stated = {label: _readable(value) for label, value in asdict(domain).items() if value}
    return "\n".join(f"{label}: {value}" for label, value in stated.items()) or "none stated"


MOST_ITEMS = 40
"""Longer lists, such as the positions of a sample, are counted."""


def _readable(value: object) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{key}: {_readable(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        if len(value) > MOST_ITEMS:
            return f"{len(value)} items"
        return ", ".join(_readable(item) for item in value)
    return "" if value is None else str(value)
