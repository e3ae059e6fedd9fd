"""The functionals that are registered by name, with their shipped weights."""

from __future__ import annotations

from typing import cast

from kakehashi_core.checkpoints import load_packaged_checkpoint
from kakehashi_core.contracts import XCFamily
from kakehashi_core.model_card import ModelCard
from kakehashi_nnxc import constrained_form, four_layer_form
from kakehashi_nnxc.constrained_form import ConstrainedFunctional
from kakehashi_nnxc.four_layer_form import Activation, FourLayerFunctional

PACKAGE = "kakehashi_nnxc"


def weight_path(name: str) -> str:
    """Return where in the package the weights of a functional are."""
    return f"weights/{name}.safetensors"


def nn_lsda() -> FourLayerFunctional:
    """Load the neural local spin-density functional with the weights of this distribution.

    Returns:
        The four-layer form on (u, phi) with smooth activations.

    Raises:
        CheckpointError: If the installed weight file is damaged.
    """
    return _four_layer("nn-lsda", "LDA")


def nn_gga() -> FourLayerFunctional:
    """Load the neural GGA, the four-layer form on (u, phi, s); otherwise as ``nn_lsda``."""
    return _four_layer("nn-gga", "GGA")


def nn_mgga() -> FourLayerFunctional:
    """Load the neural meta-GGA, the four-layer form on (u, phi, s, t); otherwise as ``nn_lsda``."""
    return _four_layer("nn-mgga", "MGGA")


def nn_nra() -> FourLayerFunctional:
    """Load the near-region functional, the form on (u, phi, s, t, R); otherwise as ``nn_lsda``.

    R is the density convolved with exp(-r / 0.2 bohr).
    """
    return _four_layer("nn-nra", "NONLOCAL")


def kh_mgga() -> ConstrainedFunctional:
    """Load the constrained neural meta-GGA with the weights of this distribution.

    Returns:
        r2SCAN bent by two bounded networks.

    Raises:
        CheckpointError: If the installed weight file is damaged.
    """
    return _constrained("kh-mgga", "MGGA")


def kh_nra() -> ConstrainedFunctional:
    """Load the constrained functional with the near-region channel; otherwise as ``kh_mgga``."""
    return _constrained("kh-nra", "NONLOCAL")


def _constrained(name: str, family: XCFamily) -> ConstrainedFunctional:
    checkpoint = load_packaged_checkpoint(
        PACKAGE, weight_path(name), shapes=constrained_form.parameter_shapes(family)
    )
    return ConstrainedFunctional(
        name=name,
        family=family,
        parameters=checkpoint.tensors,
        card=ModelCard.from_manifest(checkpoint.manifest),
        sha256=checkpoint.sha256,
    )


def _four_layer(name: str, family: XCFamily) -> FourLayerFunctional:
    checkpoint = load_packaged_checkpoint(
        PACKAGE, weight_path(name), shapes=four_layer_form.parameter_shapes(family)
    )
    return FourLayerFunctional(
        name=name,
        family=family,
        parameters=checkpoint.tensors,
        activation=cast(Activation, checkpoint.manifest["activation"]),
        card=ModelCard.from_manifest(checkpoint.manifest),
        sha256=checkpoint.sha256,
    )
