"""Functionals by the names that users type, with what identifies them and what they were trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kakehashi_core import registry
from kakehashi_core.checkpoints import manifest_path, read_manifest, read_packaged_manifest
from kakehashi_core.errors import InvalidInputError, unknown_name
from kakehashi_core.specs import Domain, PluginSpec
from kakehashi_nnxc.evaluation.species_calculations import CHECKPOINT_ENDING, load_checkpointed
from kakehashi_nnxc.reaction_sets import g2
from kakehashi_nnxc.reaction_sets.identity import molecular_identity

COMPARISON = ("pbe", "r2scan", "m06l", "b3lyp")
"""The functionals of the published comparison, by libxc's names."""

PAPER_MOLECULES = ("H2O", "NH3", "NO")
"""What the published functionals were trained on."""

PREFERRED_FILE = "NNmGGA"
"""What is taken from a folder of published files."""

_SUGGESTED = (
    *COMPARISON,
    "m06-l",
    "tpss",
    "scan",
    "revpbe",
    "rpbe",
    "blyp",
    "pbe0",
    "b97m-v",
    "pw91",
)


@dataclass(frozen=True, kw_only=True)
class EvaluatedFunctional:
    """One functional of a comparison.

    Attributes:
        name: Canonical name.
        description: What a task needs to load it; part of the key of every stored result, so that results
            of other weights under the same name are not taken for these.
        trained: Identities of the species whose energies it was trained on, see ``molecular_identity``;
            None where its checkpoint does not say.
        domain: Where it may be trusted.
    """

    name: str
    description: Mapping[str, Any]
    trained: frozenset[str] | None = frozenset()
    domain: Domain = field(default_factory=Domain)


def evaluated_functional(name: str) -> EvaluatedFunctional:
    """Return a functional of the registry, of libxc, or of a checkpoint of your own.

    Args:
        name: Registry or libxc name; "m06-l" and "M06L" are the same. Or a path that ends in ".safetensors".

    Raises:
        UnknownNameError: If nobody knows the name; the closest ones are listed.
        PluginLoadError: If the plugin behind the name cannot be used.
        InvalidInputError: If it is the path of a checkpoint that is not there.
        CheckpointError: If its weight file is damaged.
    """
    if name.endswith(CHECKPOINT_ENDING):
        return checkpoint_functional(name)
    from kakehashi_pyscf.functional_library import libxc_knows

    normal = registry.normalize_name(name.strip())
    if normal.rpartition(":")[2] in registry.entry_names("xc"):
        return _registered(normal)
    compact = normal.replace("-", "")
    for candidate in (compact, normal):
        if candidate and libxc_knows(candidate):
            return EvaluatedFunctional(name=candidate, description={"name": candidate})
    raise unknown_name(
        "functional",
        name,
        (*registry.entry_names("xc"), *_SUGGESTED),
        "Every name that libxc knows is allowed as well.",
    )


def published_functional(path: str | Path) -> EvaluatedFunctional:
    """Return a functional of the published weight files.

    Args:
        path: One of the files, or a folder with a file NNmGGA.

    Raises:
        InvalidInputError: If there is no such file.
        CheckpointError: If it is not one of the published files.
    """
    from kakehashi_nnxc.published_weights import load_published

    path = Path(path)
    if path.is_dir():
        path = path / PREFERRED_FILE
    _check_exists(path)
    name = load_published(path).name
    data = path.read_bytes()
    return EvaluatedFunctional(
        name=name,
        description={
            "name": name,
            "sha256": hashlib.sha256(data).hexdigest(),
            "file": np.frombuffer(data, dtype=np.uint8),
        },
        trained=_identities(PAPER_MOLECULES),
    )


def checkpoint_functional(path: str | Path) -> EvaluatedFunctional:
    """Return a functional that you trained yourself, named after its file.

    Args:
        path: Checkpoint of the constrained or the four-layer form, with its manifest beside it.

    Raises:
        InvalidInputError: If there is no such file.
        CheckpointError: If it is damaged, or of another form.
    """
    path = Path(path)
    _check_exists(path)
    manifest = read_manifest(path)
    load_checkpointed(path)
    name = registry.normalize_name(path.name.removesuffix(CHECKPOINT_ENDING))
    return EvaluatedFunctional(
        name=name,
        description={
            "name": name,
            "sha256": str(manifest["sha256"]),
            "file": np.frombuffer(path.read_bytes(), dtype=np.uint8),
            "manifest": manifest_path(path).read_text("utf-8"),
        },
        trained=trained_identities(manifest),
    )


def trained_identities(manifest: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the identities of the trained species that the manifest of a checkpoint names.

    Args:
        manifest: Its field "training_identities" holds identities; without it, "training_species" holds
            names of the G2 set.

    Returns:
        None if the manifest does not say what the weights were trained on.
    """
    if "training_identities" in manifest:
        return frozenset(str(identity) for identity in manifest["training_identities"])
    if "training_species" not in manifest:
        return None
    return _identities(manifest["training_species"])


def _registered(name: str) -> EvaluatedFunctional:
    spec: PluginSpec | None = registry.find("xc", name).spec
    registry.load("xc", name)  # what cannot be loaded fails here, not hours later in a worker
    if spec is None or not spec.checkpoint:
        return EvaluatedFunctional(name=name, description={"name": name})
    package = spec.factory.partition(":")[0].partition(".")[0]
    manifest = read_packaged_manifest(package, spec.checkpoint)
    return EvaluatedFunctional(
        name=name,
        description={"name": name, "sha256": str(manifest["sha256"])},
        trained=trained_identities(manifest),
        domain=spec.domain,
    )


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise InvalidInputError(f"there is no file {path}")


def _identities(names: Iterable[str]) -> frozenset[str]:
    molecules = (g2.molecule(name) for name in names)
    return frozenset(molecular_identity(m) for m in molecules if not m.is_atom)
