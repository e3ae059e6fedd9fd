"""Gauss-Newton steps for a network of the four-layer form, solved in the space of points.

For a batch of points the Gram matrix of the Jacobian is a sum over layers of products of two small Gram
matrices, so steps with thousands of points cost about as much as a Cholesky factorization: seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from kakehashi_nnxc.four_layer_form import activations


@dataclass(frozen=True, kw_only=True)
class Jacobian:
    """The derivative of y at points with respect to all weights, as factors.

    Attributes:
        outputs: (n_points,) y.
        layer_inputs: For each layer (n_points, n_in + 1); the last column is one, for the bias.
        sensitivities: For each layer (n_points, n_out), derivative of y with respect to its pre-activations.
    """

    outputs: torch.Tensor
    layer_inputs: tuple[torch.Tensor, ...]
    sensitivities: tuple[torch.Tensor, ...]

    @classmethod
    def at(
        cls, parameters: Mapping[str, torch.Tensor], inputs: torch.Tensor, activation: str
    ) -> Jacobian:
        """Evaluate at (n_points, n_descriptors) logarithms."""
        hidden, output = activations(activation)
        x, layer_inputs, linear = inputs, [], []
        with torch.enable_grad():
            for layer in range(1, 5):
                weight, bias = parameters[f"fc{layer}.weight"], parameters[f"fc{layer}.bias"]
                layer_inputs.append(torch.cat([x.detach(), torch.ones_like(x[:, :1])], dim=1))
                h = torch.nn.functional.linear(x, weight, bias)
                linear.append(h if h.requires_grad else h.requires_grad_(True))
                x = (hidden if layer < 4 else output)(h)
            y = x.squeeze(-1)
            sensitivities = torch.autograd.grad(y.sum(), linear)
        return cls(
            outputs=y.detach(), layer_inputs=tuple(layer_inputs), sensitivities=sensitivities
        )

    def gram(self) -> torch.Tensor:
        """Return J J^T, (n_points, n_points)."""
        pairs = zip(self.layer_inputs, self.sensitivities, strict=True)
        total = torch.zeros((), dtype=self.outputs.dtype)
        for x, g in pairs:
            total = (x @ x.T).mul_(g @ g.T).add_(total)
        return total

    def transposed(self, values: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return J^T values by name of the parameter."""
        out: dict[str, torch.Tensor] = {}
        pairs = zip(self.layer_inputs, self.sensitivities, strict=True)
        for layer, (x, g) in enumerate(pairs, start=1):
            both = (g * values[:, None]).T @ x
            out[f"fc{layer}.weight"], out[f"fc{layer}.bias"] = both[:, :-1], both[:, -1]
        return out

    def times(self, move: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return J move, (n_points,)."""
        pairs = zip(self.layer_inputs, self.sensitivities, strict=True)
        total = torch.zeros_like(self.outputs)
        for layer, (x, g) in enumerate(pairs, start=1):
            change = x[:, :-1] @ move[f"fc{layer}.weight"].T + move[f"fc{layer}.bias"]
            total += (change * g).sum(1)
        return total


def regression_step(
    parameters: Mapping[str, torch.Tensor],
    inputs: torch.Tensor,
    targets: torch.Tensor,
    *,
    damping: float,
    momentum: float,
    previous: Mapping[str, torch.Tensor] | None,
    activation: str = "silu",
) -> tuple[dict[str, torch.Tensor], float]:
    """Return the step that lowers the squared error of a batch, and the root mean square error before it.

    Args:
        parameters: Network, float64.
        inputs: (n_points, n_descriptors).
        targets: (n_points,) wanted y.
        damping: Added to the diagonal of the Gram matrix, in units of its mean.
        momentum: Share of the previous step from which this one starts.
        previous: The step before.
        activation: Activation of the form.

    Source:
        The projection with momentum of SPRING (G. Goldshlager, N. Abrahamsen, L. Lin, J. Comput. Phys. 516,
        113351 (2024)), here for a regression.
    """
    jacobian = Jacobian.at(parameters, inputs, activation)
    error = targets - jacobian.outputs
    rms = float((error**2).mean().sqrt())
    wanted = error if previous is None else error - momentum * jacobian.times(previous)
    gram = jacobian.gram()
    gram.diagonal().add_(damping * gram.diagonal().mean())
    factor = torch.linalg.cholesky(gram)
    solved = torch.cholesky_solve(wanted[:, None], factor)[:, 0]
    step = jacobian.transposed(solved)
    if previous is not None:
        step = {name: tensor + momentum * previous[name] for name, tensor in step.items()}
    return step, rms
