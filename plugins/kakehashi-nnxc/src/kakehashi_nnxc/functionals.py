"""The functionals that are registered by name, with their shipped weights."""

from __future__ import annotations

from kakehashi_core.checkpoints import load_packaged_checkpoint
from kakehashi_core.model_card import ModelCard
from kakehashi_nnxc.four_layer_form import FourLayerFunctional, parameter_shapes

PACKAGE = "kakehashi_nnxc"
NN_MGGA_WEIGHTS = "weights/nn-mgga.safetensors"


def nn_mgga() -> FourLayerFunctional:
    """Load the neural meta-GGA with the weights of this distribution.

    Returns:
        The four-layer form on (u, phi, s, t) with smooth activations.

    Raises:
        CheckpointError: If the installed weight file is damaged.
    """
    checkpoint = load_packaged_checkpoint(PACKAGE, NN_MGGA_WEIGHTS, shapes=parameter_shapes("MGGA"))
    return FourLayerFunctional(
        name="nn-mgga",
        family="MGGA",
        parameters=checkpoint.tensors,
        activation="silu",
        card=ModelCard.from_manifest(checkpoint.manifest),
        sha256=checkpoint.sha256,
    )
