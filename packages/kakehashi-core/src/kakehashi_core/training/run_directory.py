"""The files of one training run: its configuration and two generations of checkpoints.

Checkpoints are written in turn to two places, so that the last but one is still there when the last one
turns out to be damaged.
"""

from __future__ import annotations

import json
import platform
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from kakehashi_core.checkpoints import (
    load_checkpoint,
    manifest_path,
    read_manifest,
    save_checkpoint,
)
from kakehashi_core.errors import CheckpointError, InvalidInputError
from kakehashi_core.files import write_json
from kakehashi_core.training.state_tree import decode, encode

CONFIG_NAME = "config.json"
PURPOSE = "kakehashi-training-state"
STATE_VERSION = 1
_PLACES = ("checkpoint-0.safetensors", "checkpoint-1.safetensors")
_MAX_BYTES = 2**40  # our own files, hashed; the limit of foreign ones does not apply


@dataclass(frozen=True, kw_only=True)
class StoredState:
    """What a checkpoint of a run held.

    Attributes:
        generation: Number of the checkpoint, counted from the start of the run.
        state: The nested state.
    """

    generation: int
    state: Any


def save_state(directory: Path, state: object, *, generation: int) -> None:
    """Write a checkpoint of the run; the one before stays untouched.

    Args:
        directory: The run directory, locked by this process.
        state: Nested state.
        generation: One more than that of the last checkpoint.

    Raises:
        InvalidInputError: If the state holds something that cannot be stored.
        CheckpointError: If it is too large for a manifest.
    """
    import torch

    tree, tensors = encode(state)
    save_checkpoint(
        directory / _PLACES[generation % len(_PLACES)],
        tensors or {"empty": torch.zeros(0)},
        manifest={
            "purpose": PURPOSE,
            "state_version": STATE_VERSION,
            "generation": generation,
            "state": tree,
        },
    )


def load_state(directory: Path) -> StoredState | None:
    """Return the newest checkpoint that is intact, or None if the run has none yet.

    A damaged one is passed over with a warning.

    Raises:
        CheckpointError: If there are checkpoints and none is intact.
    """
    damaged: list[str] = []
    manifests: dict[Path, dict[str, Any]] = {}
    for place in _PLACES:
        path = directory / place
        if not path.exists():
            continue
        try:
            manifests[path] = _checked(path, read_manifest(path, max_bytes=_MAX_BYTES))
        except CheckpointError as error:
            damaged.append(f"{path.name}: {error}")
    if not manifests:
        if damaged:
            raise CheckpointError(
                f"no checkpoint of the run in {directory} is intact ({'; '.join(damaged)}). Restore the "
                "files, or remove the directory to start again."
            )
        return None
    path, manifest = max(manifests.items(), key=lambda item: int(item[1]["generation"]))
    if damaged:
        warnings.warn(
            f"a checkpoint of the run in {directory} is damaged ({'; '.join(damaged)}); the run goes on "
            f"from {path.name}, generation {manifest['generation']}",
            UserWarning,
            stacklevel=4,
        )
    shapes = {name: tuple(entry["shape"]) for name, entry in manifest["tensors"].items()}
    tensors = load_checkpoint(path, shapes=shapes, max_bytes=_MAX_BYTES).tensors
    return StoredState(generation=manifest["generation"], state=decode(manifest["state"], tensors))


def remove_leftovers(directory: Path) -> None:
    """Remove what writers that died have left; the caller holds the lock, so none is at work."""
    for name in (CONFIG_NAME, *_PLACES, *(manifest_path(place).name for place in _PLACES)):
        for pattern in (f".{name}.*.tmp", f".{name}.next.*.tmp"):
            for leftover in directory.glob(pattern):
                leftover.unlink(missing_ok=True)


def record_config(directory: Path, config: Mapping[str, Any], rules: Mapping[str, Any]) -> None:
    """Write the configuration at the start of a run; compare it when the run goes on.

    Args:
        directory: The run directory.
        config: What the user's training depends on.
        rules: Those options of the loop that change the numbers.

    Raises:
        InvalidInputError: If the configuration cannot be written as JSON, or is another one than at the
            start; the message lists the differences.
    """
    path = directory / CONFIG_NAME
    now = {"config": _normal(config), "rules": _normal(rules)}
    if not path.exists():
        if any((directory / place).exists() for place in _PLACES):
            raise CheckpointError(
                f"{directory} holds checkpoints but no {CONFIG_NAME}, so it is unknown what they belong to. "
                "Restore the file, or train in a new directory."
            )
        write_json(path, {**now, "versions": _versions()})
        return
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        before = {"config": stored["config"], "rules": stored["rules"]}
    except (ValueError, LookupError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error!r}). Restore it, or train in a new directory."
        ) from error
    changes = _differences(before, now, "")
    if changes:
        raise InvalidInputError(
            f"the run in {directory} was started with another configuration: {'; '.join(changes[:10])}"
            f"{f'; and {len(changes) - 10} more' if len(changes) > 10 else ''}. Use the recorded values "
            f"({CONFIG_NAME}), or train in a new directory."
        )


def _checked(path: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    if manifest.get("purpose") != PURPOSE:
        raise CheckpointError(f"{path.name} is no checkpoint of a training run")
    version = manifest["state_version"]
    if version != STATE_VERSION:
        raise CheckpointError(
            f"{path.name} has state version {version}, this kakehashi-core knows {STATE_VERSION}; train "
            "with the version that started the run, or in a new directory"
        )
    return manifest


def _normal(data: Mapping[str, Any]) -> Any:
    """Return data as they will be read back from JSON."""
    try:
        return json.loads(json.dumps(dict(data), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"the configuration cannot be written as JSON: {error}. Allowed are strings, finite numbers, "
            "booleans, None, lists and mappings of these."
        ) from error


def _differences(before: Any, now: Any, where: str) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        found = []
        for key in dict.fromkeys([*before, *now]):
            inner = f"{where}.{key}" if where else str(key)
            if key not in now:
                found.append(f"{inner} was {before[key]!r}, now it is absent")
            elif key not in before:
                found.append(f"{inner} was absent, now it is {now[key]!r}")
            else:
                found += _differences(before[key], now[key], inner)
        return found
    same = type(before) is type(now) and before == now
    return [] if same else [f"{where} was {before!r}, now it is {now!r}"]


def _versions() -> dict[str, Any]:
    import torch

    names = ("kakehashi-core", "torch", "numpy", "lightning-fabric")
    versions: dict[str, Any] = {"python": platform.python_version()}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {**versions, "torch_threads": torch.get_num_threads()}
