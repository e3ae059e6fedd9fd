"""The model card of a shipped checkpoint; the weights stay unread and torch unimported."""

from __future__ import annotations

from kakehashi_core.checkpoints import read_packaged_manifest
from kakehashi_core.errors import CheckpointError
from kakehashi_core.model_card import ModelCard
from kakehashi_core.specs import PluginSpec


def shipped_card(spec: PluginSpec) -> ModelCard:
    """Return the card in the manifest of the default checkpoint.

    Args:
        spec: Spec with a ``checkpoint``, a path inside the import package of its factory.

    Raises:
        CheckpointError: If there is no valid manifest inside the package, or no card in it.
    """
    package = spec.factory.partition(":")[0].partition(".")[0]
    try:
        return ModelCard.from_manifest(read_packaged_manifest(package, spec.checkpoint))
    except ImportError as error:
        raise CheckpointError(
            f"{spec.name}: the package {package!r} of its checkpoint cannot be imported ({error})"
        ) from error
