"""Derivatives of a small network N(x) = tanh(W_L silu(... silu(W_1 x + b_1))) by its inputs, by hand.

Activations are stored (features, points): products of a 32 x 32 matrix with such an array reach most of
the machine's peak. First derivatives take one reverse pass that reuses the sigmoids. Second ones take the
Jacobians J_l = dz_l/dx of the arguments of the activations, and

    d2z_L/dx_i dx_j = sum_l sum_h (dz_L/dh_l) silu''(z_l) J_l,i J_l,j

so that no derivative of the reverse pass is needed: 2 + n_inputs passes through the matrices in place of the
2 + 2 n_inputs of a differentiated reverse pass.

Source:
    Chain rule; tested against torch.autograd.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

BLOCK_POINTS = 1024
"""Points at once on a CPU: the activations of a width-32 network stay in the second-level cache."""


@dataclass(frozen=True, kw_only=True)
class NetworkDerivatives:
    """Value and derivatives of a network at points.

    Attributes:
        value: (n_points,).
        first: Input to derivative, (n_points,).
        second: (i, j) with i <= j to second derivative; empty at order 1.
    """

    value: torch.Tensor
    first: dict[int, torch.Tensor]
    second: dict[tuple[int, int], torch.Tensor]


def network_derivatives(
    layers: Sequence[tuple[torch.Tensor, torch.Tensor]],
    inputs: torch.Tensor,
    *,
    varying: Sequence[int],
    order: int,
) -> NetworkDerivatives:
    """Differentiate a network by some of its inputs.

    Args:
        layers: Weights (n_out, n_in) and biases (n_out,) of all layers; the last has one output.
        inputs: (n_inputs, n_points).
        varying: Inputs to differentiate by, in ascending order.
        order: 1 or 2.
    """
    n_points, n_varying = inputs.shape[1], len(varying)
    pairs = [(i, j) for i in range(n_varying) for j in range(i, n_varying)] if order == 2 else []
    out = inputs.new_empty(1 + n_varying + len(pairs), n_points)
    block = BLOCK_POINTS if inputs.device.type == "cpu" else n_points
    for start in range(0, n_points, block):
        _differentiate(
            layers, inputs[:, start : start + block], varying, pairs, out[:, start : start + block]
        )
    rows = iter(out)
    return NetworkDerivatives(
        value=next(rows),
        first={i: next(rows) for i in varying},
        second={(varying[i], varying[j]): next(rows) for i, j in pairs},
    )


def _differentiate(
    layers: Sequence[tuple[torch.Tensor, torch.Tensor]],
    inputs: torch.Tensor,
    varying: Sequence[int],
    pairs: Sequence[tuple[int, int]],
    out: torch.Tensor,
) -> None:
    """Fill the rows value, first derivatives, second derivatives of ``pairs``."""
    n_varying, n_points = len(varying), inputs.shape[1]
    *hidden, (last_weight, last_bias) = layers
    entry = hidden[0][0][:, list(varying)]
    x = inputs
    slopes: list[torch.Tensor] = []
    curvatures: list[torch.Tensor] = []
    jacobians: list[torch.Tensor] = []
    for layer, (weight, bias) in enumerate(hidden):
        if pairs and layer:
            before = jacobians[-1] if jacobians else entry[:, :, None]
            bent = slopes[-1][:, None, :] * before
            jacobians.append((weight @ bent.flatten(1)).view(-1, n_varying, n_points))
        z = torch.addmm(bias[:, None], weight, x)
        s = torch.sigmoid(z)
        x = z * s
        # silu' = s + x (1 - s),  silu'' = s (1 - s) (2 + z - 2 x)
        slopes.append((s + x).addcmul_(x, s, value=-1.0))
        if pairs:
            curvatures.append(z.add_(x, alpha=-2.0).add_(2.0).mul_(s.addcmul_(s, s, value=-1.0)))
    value = torch.tanh(torch.addmm(last_bias[:, None], last_weight, x)).squeeze(0)
    value_slope = 1.0 - value * value
    second = out.new_zeros(len(pairs), n_points)
    adjoint = last_weight.T.expand(-1, n_points)
    for layer in range(len(hidden) - 1, -1, -1):
        if pairs:
            weights = adjoint * curvatures[layer]
            if layer:
                _add_contraction(second, weights, jacobians[layer - 1])
            else:
                products = torch.stack([entry[:, i] * entry[:, j] for i, j in pairs])
                second.addmm_(products, weights)
        adjoint = adjoint * slopes[layer]
        adjoint = (hidden[layer][0] if layer else entry).T @ adjoint
    out[0] = value
    torch.mul(adjoint, value_slope, out=out[1 : 1 + n_varying])
    for row, (i, j) in enumerate(pairs):
        out[1 + n_varying + row] = value_slope * (
            second[row] - 2.0 * value * adjoint[i] * adjoint[j]
        )


def _add_contraction(second: torch.Tensor, weights: torch.Tensor, jacobian: torch.Tensor) -> None:
    """Add sum_h weights_h J_hi J_hj to the rows (i <= j) of ``second``."""
    n_varying = jacobian.shape[1]
    row = 0
    for i in range(n_varying):
        weighted = weights * jacobian[:, i]
        n_rows = n_varying - i
        second[row : row + n_rows] += (weighted[:, None, :] * jacobian[:, i:]).sum(0)
        row += n_rows
