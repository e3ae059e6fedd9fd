"""Clebsch-Gordan products of features by name of what computes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from kakehashi_core.errors import UnsupportedError, unknown_name
from kakehashi_deqh.equivariant_layers import KINDS, N_COMPONENTS, Couplings, coupled

TensorProduct = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Two features, (N_COMPONENTS, n, n_channels), to their product channel by channel, the same shape."""
BACKENDS = ("standard", "cuequivariance")


def tensor_product(backend: str = "standard") -> TensorProduct:
    """Return the product of two features, summed over all ways to couple.

    Args:
        backend: "standard", coefficients that are not zero on CPUs and matrix products of all of them on
            GPUs; or "cuequivariance", NVIDIA's kernels for GPUs, with many channels. Results agree to
            round-off.

    Raises:
        UnknownNameError: If there is no such backend.
        UnsupportedError: If cuequivariance is not installed.
    """
    if backend == "standard":
        return _standard
    if backend == "cuequivariance":
        return _Segmented()
    raise unknown_name("backend of tensor products", backend, BACKENDS)


def _standard(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    table = Couplings.standard(left.dtype, left.device)
    return coupled(left.flatten(1), right.flatten(1), table).reshape(left.shape)


class _Segmented:
    """Segmented polynomials of cuequivariance; one is built for each kind of input."""

    def __init__(self) -> None:
        try:
            import cuequivariance_torch  # noqa: F401
        except ImportError:
            raise UnsupportedError(
                "tensor products by cuequivariance need it: "
                "pip install 'kakehashi-deqh[cuequivariance]', on GPUs cuequivariance-ops-torch-cu12 as well"
            ) from None
        self._built: dict[tuple[int, torch.dtype, torch.device], Any] = {}

    def __call__(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        _, n, channels = left.shape
        key = channels, left.dtype, left.device
        if key not in self._built:
            self._built[key] = _polynomial(*key)
        flat = [x.permute(1, 0, 2).flatten(1) for x in (left, right)]
        (found,) = self._built[key](flat)
        product: torch.Tensor = found.reshape(n, N_COMPONENTS, channels).permute(1, 0, 2)
        return product


def _polynomial(n_channels: int, dtype: torch.dtype, device: torch.device) -> Any:
    import cuequivariance as cue
    import cuequivariance_torch as cuet

    table = Couplings.standard(torch.float64, torch.device("cpu")).numbers
    product = cue.SegmentedTensorProduct.from_subscripts("iu,ju,ku+ijk")
    for operand in range(3):
        for _, ir in KINDS:
            product.add_segment(operand, (ir.dim, n_channels))
    slices = KINDS.slices()
    for c, out in enumerate(slices):
        for a, first in enumerate(slices):
            for b, second in enumerate(slices):
                coefficients = table[out, first, second]
                if bool(coefficients.any()):
                    product.add_path(a, b, c, c=coefficients.permute(1, 2, 0).numpy())
    # The kernels want segments of channels alone.
    fast = device.type == "cuda"
    product = product.flatten_coefficient_modes() if fast else product
    return cuet.SegmentedPolynomial(
        cue.SegmentedPolynomial.eval_last_operand(product),
        method="uniform_1d" if fast else "naive",
        math_dtype=dtype,
    ).to(device)
