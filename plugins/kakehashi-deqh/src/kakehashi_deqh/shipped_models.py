"""The models that come with this package."""

from __future__ import annotations

from pathlib import Path

from kakehashi_deqh.hamiltonian_model import HamiltonianModel
from kakehashi_deqh.predictor import HamiltonianPredictor


def deqh_water(
    *,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    tensor_products: str = "standard",
) -> HamiltonianPredictor:
    """Return the predictor of water, PBE/def2-SVP.

    Args:
        checkpoint: Other weights of the same form.
        device: "cpu", "cuda[:i]" or "auto".
        tensor_products: "standard", or "cuequivariance" for GPUs (an extra of this package).
    """
    return _predictor("deqh-water", checkpoint, device, tensor_products)


def _predictor(
    name: str, checkpoint: str | Path | None, device: str, tensor_products: str
) -> HamiltonianPredictor:
    model = (
        HamiltonianModel.packaged(name) if checkpoint is None else HamiltonianModel.load(checkpoint)
    )
    return HamiltonianPredictor(model, device=device, tensor_products=tensor_products)
