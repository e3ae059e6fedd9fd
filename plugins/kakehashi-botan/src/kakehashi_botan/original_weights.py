"""Weights of the original network: the published files, and our own files made from them.

The published files are not shipped. They are torch pickles and are opened by
``kakehashi_core.foreign_weights`` alone; everything else reads and writes safetensors with a manifest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from kakehashi_botan.original_form import OriginalBotan
from kakehashi_core.checkpoints import load_checkpoint, save_checkpoint
from kakehashi_core.devices import resolve_dtype
from kakehashi_core.errors import CheckpointError
from kakehashi_core.foreign_weights import import_state_dict

ARCHITECTURE = "original-botan"
"""What the manifest of our files calls this network."""

MAX_BYTES = 2_000_000

PUBLISHED: Mapping[str, str] = {
    "model1.pth": "f34147b3c42068dea5c5dfa50867295d60060cb59323b5588dbd5fa16a8c4783",
    "model2.pth": "b8ec67cd3ccc0b9edaa8eaeb6a0ee742fd60bbaa4b8056c2f7ff106c6e5367d9",
    "model3.pth": "773f1be31e286010b1b2211e4959976a880c29a382e2f376f17679274974d90a",
    "model4.pth": "896e3a4e32d413213f96d279509b682cbbd3e50aea3ae42dfccd08881dcaa53c",
    "model5.pth": "bab9b829e40dde950f26439ad7d5e38d0d358ee14ac0f2785e75cfca65d6d1b3",
    "model6.pth": "b36a81d1079b3f381d423a0c399f8d151835294dd50c9488cd93fb4670906ecd",
    "model7.pth": "199af57119aa38e6c4fbc0bfdce3fb1230771819ba3b79b903139528f6d5b24c",
    "model8.pth": "a72868a5e36e51c089096c133dfbf062234af926a8248f0c59fd60065bb06c39",
}
"""Name to SHA-256 of the eight published files, each pretrained on edge targets at T = 0.44."""

CITATION = "H. Shiba, M. Hanai, T. Suzumura, T. Shimokawabe, J. Chem. Phys. 158, 084503 (2023)"


def load_original(
    path: str | Path,
    *,
    sha256: str | Collection[str] | None = None,
    dtype: str | torch.dtype = "float32",
) -> OriginalBotan:
    """Turn a file of the published code into a network.

    Args:
        path: A ``.pth`` file with the float32 state dict, for instance one of the published eight.
        sha256: Accepted hash or hashes; ``PUBLISHED`` accepts the published eight only. None accepts any file
            of this layout: give a hash for files that you did not write yourself.
        dtype: Precision of the network, "float32" or "float64"; the weights are the same numbers.

    Raises:
        CheckpointError: If the file is missing, too large, not the one that is asked for, or not a float32
            state dict of exactly this network.

    Source:
        Shiba et al., J. Chem. Phys. 158, 084503 (2023); the files carry the Apache-2.0 license.
    """
    state = import_state_dict(
        path, shapes=parameter_shapes(), dtype=torch.float32, max_bytes=MAX_BYTES, sha256=sha256
    )
    return _network(state, dtype)


def convert_original(
    source: str | Path, target: str | Path, *, sha256: str | Collection[str] | None = None
) -> str:
    """Write our own file from one of the published code.

    Args:
        source: See ``load_original``.
        target: Ends in ".safetensors"; the manifest beside it records where the numbers come from.
        sha256: See ``load_original``.

    Returns:
        SHA-256 of the new tensor file, hexadecimal.

    Raises:
        CheckpointError: See ``load_original``.
    """
    source = Path(source)
    network = load_original(source, sha256=sha256)
    manifest = {
        "converted_from": {
            "file": source.name,
            "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        },
        "weights_license": "Apache-2.0",
        "citation": CITATION,
    }
    return save_network(target, network, manifest=manifest)


def save_network(
    path: str | Path, network: OriginalBotan, *, manifest: Mapping[str, Any] | None = None
) -> str:
    """Write the weights as safetensors with a manifest.

    Args:
        path: Ends in ".safetensors".
        network: What to save, on any device.
        manifest: What to record beside the weights, for instance a model card; JSON-able.

    Returns:
        SHA-256 of the tensor file, hexadecimal.

    Raises:
        CheckpointError: If a weight is not finite or the manifest cannot be written.
    """
    fields = {**(manifest or {}), "architecture": ARCHITECTURE}
    return save_checkpoint(path, network.state_dict(), manifest=fields)


def load_network(path: str | Path, *, dtype: str | torch.dtype = "float32") -> OriginalBotan:
    """Read a network that ``save_network`` wrote.

    Args:
        path: The ".safetensors" file.
        dtype: Precision of the network.

    Raises:
        CheckpointError: If the file or its manifest is damaged or belongs to another network.
    """
    checkpoint = load_checkpoint(path, shapes=parameter_shapes(), max_bytes=MAX_BYTES)
    architecture = checkpoint.manifest.get("architecture")
    if architecture != ARCHITECTURE:
        raise CheckpointError(
            f"{Path(path).name} holds the architecture {architecture!r}, expected {ARCHITECTURE!r}; load it "
            "with the model it was trained as"
        )
    return _network(checkpoint.tensors, dtype)


def parameter_shapes() -> dict[str, tuple[int, ...]]:
    """Return the published name and the shape of each parameter."""
    return {
        name: tuple(tensor.shape) for name, tensor in OriginalBotan(seed=0).state_dict().items()
    }


def _network(state: Mapping[str, torch.Tensor], dtype: str | torch.dtype) -> OriginalBotan:
    kind = resolve_dtype(dtype)
    network = OriginalBotan(dtype=kind, seed=0)
    # Up-casting is exact; load_state_dict alone would cast in silence.
    network.load_state_dict({name: tensor.to(kind) for name, tensor in state.items()})
    return network
