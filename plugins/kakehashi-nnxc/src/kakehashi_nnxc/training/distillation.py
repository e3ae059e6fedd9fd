"""Teach the network a known functional point by point, energies and first derivatives.

A network that starts as a copy of r2SCAN has sound potentials everywhere; the fit of energies that follows
only has to bend it a little.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_core.progress import progress_bar
from kakehashi_nnxc.descriptors import SMALL, log_descriptors
from kakehashi_nnxc.four_layer_form import network, parameter_shapes

logger = logging.getLogger(__name__)

POINTS_PER_SPECIES = 6000
LOWEST_DENSITY = 3e-7
LOWEST_DENSITY_FOR_DERIVATIVES = 1e-4
"""Below, the constant e of the form is felt and the chain rule used for the targets no longer holds."""

N_MESH_POINTS = 150_000
DERIVATIVE_WEIGHT = 0.3
MESH_WEIGHT = 0.1
DERIVATIVE_SCALE = 0.05
"""Transition of the Huber loss of derivatives; targets near nuclei have a few very large values."""


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What the network should return.

    Attributes:
        inputs: (n_points, 4) logarithms of the descriptors.
        outputs: (n_points,) y of the base functional.
        slopes: (n_points, 4) derivative of y with respect to the inputs; zero where unknown.
        slope_known: (n_points,) 1 where ``slopes`` holds, else 0.
        importance: (n_points,) |weight| n^(4/3) phi, the share of a point in the energy.
    """

    inputs: npt.NDArray[np.float64]
    outputs: npt.NDArray[np.float64]
    slopes: npt.NDArray[np.float64]
    slope_known: npt.NDArray[np.float64]
    importance: npt.NDArray[np.float64]


def molecular_targets(
    densities: Mapping[str, Mapping[str, Any]], rng: np.random.Generator
) -> Targets:
    """Collect random grid points of every species.

    Args:
        densities: As returned by ``densities.load_densities``.
        rng: Chooses the points.
    """
    parts: list[Targets] = []
    for density in densities.values():
        variables, spin = np.asarray(density["variables"]), int(density["spin"])
        total = variables[0] if spin == 0 else variables[0] + variables[1]
        points = rng.permutation(np.flatnonzero(total > LOWEST_DENSITY))[:POINTS_PER_SPECIES]
        parts.append(
            _targets(
                variables[:, points],
                np.asarray(density["xc_rows"])[:, points],
                np.asarray(density["weights"])[points],
                spin,
            )
        )
    return Targets(
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("inputs", "outputs", "slopes", "slope_known", "importance")
        }
    )


def _targets(
    variables: npt.NDArray[np.float64],
    rows: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    spin: int,
) -> Targets:
    inputs, prefactor_tensor = log_descriptors(
        torch.from_numpy(np.ascontiguousarray(variables)), 1 if spin else 0, "MGGA"
    )
    prefactor = prefactor_tensor.numpy()
    total = variables[0] if spin == 0 else variables[0] + variables[1]
    outputs = -rows[0] * total / prefactor
    slopes = np.zeros((outputs.size, 4))
    known = np.zeros(outputs.size)
    if spin == 0:
        # ln n = 3 ln u; ln sigma = 2 ln s + 8 ln u; ln tau = ln t + 5 ln u + const, for n >> e.
        by_density, by_sigma, by_tau = (rows[i + 1] * variables[i] for i in range(3))
        slopes[:, 0] = -(3 * by_density + 8 * by_sigma + 5 * by_tau) / prefactor - 4 * outputs
        slopes[:, 2] = -2 * by_sigma / prefactor
        slopes[:, 3] = -by_tau / prefactor
        known = (total > LOWEST_DENSITY_FOR_DERIVATIVES).astype(np.float64)
    return Targets(
        inputs=inputs.numpy(),
        outputs=outputs,
        slopes=slopes,
        slope_known=known,
        importance=np.abs(weights) * prefactor,
    )


def mesh_targets(
    base_functional: str, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Sample descriptors that molecules rarely visit: uniform gas, any polarization, large gradients.

    Both spin channels share the reduced gradient s and the iso-orbital indicator alpha, because the form
    sees only the total gradient and the total kinetic energy.

    Returns:
        Inputs (n_points, 4) and outputs (n_points,).
    """
    from pyscf.dft import libxc

    from kakehashi_pyscf.density_variables import rho_from_variables

    n = 10 ** rng.uniform(-5, 2.3, N_MESH_POINTS)
    zeta = np.where(rng.random(N_MESH_POINTS) < 0.5, 0.0, rng.uniform(0, 1, N_MESH_POINTS))
    fermi = 2 * (3 * np.pi**2) ** (1 / 3)
    gradient = fermi * 10 ** rng.uniform(-3, 1.2, N_MESH_POINTS)
    gradient[rng.random(N_MESH_POINTS) < 0.1] = 0.0
    alpha = 10 ** rng.uniform(-2, 1.5, N_MESH_POINTS)
    alpha[rng.random(N_MESH_POINTS) < 0.3] = 0.0
    alpha[rng.random(N_MESH_POINTS) < 0.1] = 1.0
    rows: list[npt.NDArray[np.float64]] = []
    for density in (n * (1 + zeta) / 2, n * (1 - zeta) / 2):
        sigma = (gradient * (2 * density) ** (4 / 3)) ** 2 / 4
        von_weizsaecker = sigma / (8 * np.maximum(density, SMALL**4))
        uniform = 0.3 * (3 * np.pi**2) ** (2 / 3) * (2 * density) ** (5 / 3) / 2
        rows += [density, sigma, von_weizsaecker + alpha * uniform]
    variables = np.stack(
        [rows[0], rows[3], rows[1], np.sqrt(rows[1] * rows[4]), rows[4], rows[2], rows[5]]
    )
    inputs, prefactor = log_descriptors(torch.from_numpy(variables), 1, "MGGA")
    energy = libxc.eval_xc1(base_functional, rho_from_variables(variables, 1), 1, 0)[0]
    outputs = -energy * n / prefactor.numpy()
    sound = np.isfinite(outputs) & (outputs > 1e-3) & (outputs < 3.0)
    return inputs.numpy()[sound], outputs[sound]


def initial_parameters(seed: int) -> dict[str, torch.Tensor]:
    """Draw weights uniformly within 1/sqrt(fan-in), float32."""
    generator = torch.Generator().manual_seed(seed)
    shapes = parameter_shapes("MGGA")
    return {
        name: (torch.rand(shape, generator=generator) * 2 - 1)
        / shapes[name.replace("bias", "weight")][1] ** 0.5
        for name, shape in shapes.items()
    }


def distill(
    parameters: dict[str, torch.Tensor],
    targets: Targets,
    mesh: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    *,
    n_steps: int,
    rng: np.random.Generator,
    activation: str = "silu",
    learning_rate: float = 3e-3,
    batch: int = 3072,
    mesh_batch: int = 768,
) -> dict[str, torch.Tensor]:
    """Fit the network to the targets with Adam and a one-cycle schedule, float32.

    Args:
        parameters: Start; not changed.
        targets: Points of molecules; drawn with probability ~ sqrt(importance).
        mesh: Inputs and outputs of ``mesh_targets``.
        n_steps: Number of steps.
        rng: Draws the batches.
        activation: Activation of the form.
        learning_rate: Peak of the schedule.
        batch: Molecular points per step.
        mesh_batch: Mesh points per step.

    Returns:
        New parameters, float32.
    """
    leaves = {k: v.detach().clone().requires_grad_(True) for k, v in parameters.items()}
    optimizer = torch.optim.Adam(list(leaves.values()), lr=learning_rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=n_steps, pct_start=0.05
    )
    x_all, y_all, slopes_all, known_all, mesh_x, mesh_y = (
        torch.as_tensor(a, dtype=torch.float32)
        for a in (targets.inputs, targets.outputs, targets.slopes, targets.slope_known, *mesh)
    )
    cumulative = np.cumsum(np.sqrt(targets.importance))
    cumulative /= cumulative[-1]
    with progress_bar("distillation", total=n_steps) as advance:
        for step in range(n_steps):
            drawn = np.searchsorted(cumulative, rng.random(batch))
            points = torch.from_numpy(np.minimum(drawn, cumulative.size - 1))
            mesh_points = torch.from_numpy(rng.integers(0, mesh_y.numel(), mesh_batch))
            x = x_all[points].requires_grad_(True)
            y = network(leaves, x, activation)
            (slopes,) = torch.autograd.grad(y.sum(), x, create_graph=True)
            energy_loss = ((y - y_all[points]) ** 2).mean()
            huber = torch.nn.functional.smooth_l1_loss(
                slopes, slopes_all[points], beta=DERIVATIVE_SCALE, reduction="none"
            )
            # Column 1 belongs to the polarization, along which closed shells say nothing.
            slope_loss = (huber[:, [0, 2, 3]].sum(1) * known_all[points]).mean()
            mesh_y_now = network(leaves, mesh_x[mesh_points], activation)
            mesh_loss = ((mesh_y_now - mesh_y[mesh_points]) ** 2).mean()
            loss = energy_loss + DERIVATIVE_WEIGHT * slope_loss + MESH_WEIGHT * mesh_loss
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            advance(1)
            if step % 1000 == 0 or step == n_steps - 1:
                logger.info(
                    "step %d: rms error of y %.2e, slope loss %.2e, mesh %.2e",
                    step,
                    energy_loss.item() ** 0.5,
                    slope_loss.item(),
                    mesh_loss.item() ** 0.5,
                )
    return {key: leaf.detach() for key, leaf in leaves.items()}
