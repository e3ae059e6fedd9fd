"""The functionals that are registered by name, with their shipped weights.

Their options are those of ``registry.load``, for instance ``registry.load("xc", "kh-mgga", device="cuda")``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict, cast

from kakehashi_core.checkpoints import Checkpoint, load_packaged_checkpoint
from kakehashi_core.contracts import XCFamily
from kakehashi_core.model_card import ModelCard
from kakehashi_nnxc import constrained_form, four_layer_form
from kakehashi_nnxc.constrained_form import ConstrainedFunctional
from kakehashi_nnxc.four_layer_form import Activation, FourLayerFunctional

PACKAGE = "kakehashi_nnxc"


class _Identity(TypedDict):
    name: str
    card: ModelCard
    sha256: str


def weight_path(name: str) -> str:
    """Return where in the package the weights of a functional are."""
    return f"weights/{name}.safetensors"


def nn_lsda(*, device: str = "cpu") -> FourLayerFunctional:
    """Load the neural local spin-density functional with the weights of this distribution.

    Args:
        device: Where hosts evaluate it, "cpu", "cuda[:i]" or "auto"; they bring points there and results
            back, and stay on the CPU with everything else.

    Returns:
        The four-layer form on (u, phi) with smooth activations.

    Raises:
        CheckpointError: If the installed weight file is damaged.
        InvalidInputError: If there is no device of that name.
        UnsupportedError: If this machine has no such device.
    """
    return _four_layer("nn-lsda", "LDA", device)


def nn_gga(*, device: str = "cpu") -> FourLayerFunctional:
    """Load the neural GGA, the four-layer form on (u, phi, s); otherwise as ``nn_lsda``."""
    return _four_layer("nn-gga", "GGA", device)


def nn_mgga(*, device: str = "cpu") -> FourLayerFunctional:
    """Load the neural meta-GGA, the four-layer form on (u, phi, s, t); otherwise as ``nn_lsda``."""
    return _four_layer("nn-mgga", "MGGA", device)


def nn_nra(*, device: str = "cpu") -> FourLayerFunctional:
    """Load the near-region functional, the form on (u, phi, s, t, R); otherwise as ``nn_lsda``.

    R is the density convolved with exp(-r / 0.2 bohr).
    """
    return _four_layer("nn-nra", "NONLOCAL", device)


def kh_mgga(*, device: str = "cpu") -> ConstrainedFunctional:
    """Load the constrained neural meta-GGA with the weights of this distribution.

    Args:
        device: As for ``nn_lsda``.

    Returns:
        r2SCAN bent by two bounded networks, with its own first and second derivatives.

    Raises:
        CheckpointError: If the installed weight file is damaged.
        InvalidInputError: If there is no device of that name.
        UnsupportedError: If this machine has no such device.
    """
    return _constrained("kh-mgga", "MGGA", device)


def kh_nra(*, device: str = "cpu") -> ConstrainedFunctional:
    """Load the constrained functional with the near-region channel; otherwise as ``kh_mgga``."""
    return _constrained("kh-nra", "NONLOCAL", device)


def _constrained(name: str, family: XCFamily, device: str) -> ConstrainedFunctional:
    shapes = constrained_form.parameter_shapes(family)
    checkpoint, identity = _packaged(name, shapes)
    return ConstrainedFunctional(
        family=family, parameters=checkpoint.tensors, device=device, **identity
    )


def _four_layer(name: str, family: XCFamily, device: str) -> FourLayerFunctional:
    shapes = four_layer_form.parameter_shapes(family)
    checkpoint, identity = _packaged(name, shapes)
    activation = cast(Activation, checkpoint.manifest["activation"])
    return FourLayerFunctional(
        family=family,
        parameters=checkpoint.tensors,
        activation=activation,
        device=device,
        **identity,
    )


def _packaged(name: str, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Checkpoint, _Identity]:
    checkpoint = load_packaged_checkpoint(PACKAGE, weight_path(name), shapes=shapes)
    card = ModelCard.from_manifest(checkpoint.manifest)
    return checkpoint, {"name": name, "card": card, "sha256": checkpoint.sha256}
