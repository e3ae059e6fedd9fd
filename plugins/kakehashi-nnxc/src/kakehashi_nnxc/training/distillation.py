"""Teach a network of the four-layer form a known functional point by point, energies and first derivatives.

A network that starts as a copy of PW92, PBE or r2SCAN has sound potentials everywhere; the training on
molecules that follows only has to bend it a little. No molecule but those that are trained on is looked at:
their points and those of the atoms are scattered until they fill the part of the space of descriptors in
which molecules live, and a mesh covers what lies beyond.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_core.contracts import XCFamily
from kakehashi_core.progress import progress_bar
from kakehashi_nnxc.descriptors import DESCRIPTORS, SMALL, log_descriptors
from kakehashi_nnxc.four_layer_form import network, parameter_shapes
from kakehashi_nnxc.training.kernel_steps import regression_step

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]

TEACHERS: dict[str, str] = {"LDA": "lda,pw_mod", "GGA": "pbe", "MGGA": "r2scan"}
"""Family to the functional that the network copies, as libxc calls it."""

N_ROWS = {"LDA": 2, "GGA": 5, "MGGA": 7}

LOWEST_DENSITY = 3e-7
LOWEST_DENSITY_FOR_SLOPES = 1e-4
"""Below, the constant e of the form is felt and the chain rule used for the targets no longer holds."""

N_SCATTERED = 200_000
N_MESH_POINTS = 60_000
SCATTER = {"density": 0.35, "gradient": 0.35, "alpha": 0.5, "polarization": 0.1}
"""Standard deviations of the scatter of ln n, ln s, ln alpha and zeta."""

SLOPE_WEIGHT = 0.3
MESH_WEIGHT = 0.1
SLOPE_SCALE = 0.05
"""Transition of the Huber loss of slopes; targets near nuclei have a few very large values."""

POLISH_DAMPING = 1e-3
POLISH_MOMENTUM = 0.9
POLISH_STEP = 0.3

POLARIZATION_SCALE = 15.0

FERMI = (3 * np.pi**2) ** (1 / 3)
UNIFORM_KINETIC = 0.3 * FERMI**2


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What the network should return.

    Attributes:
        inputs: (n_points, n_descriptors) logarithms of the descriptors.
        outputs: (n_points,) y of the teacher.
        slopes: (n_points, n_descriptors) derivative of y with respect to the inputs; the column of the
            polarization is not used.
        slope_known: (n_points,) 1 where ``slopes`` holds, else 0.
        importance: (n_points,) |weight| n, the electrons that a point stands for.
    """

    inputs: FloatArray
    outputs: FloatArray
    slopes: FloatArray
    slope_known: FloatArray
    importance: FloatArray

    @classmethod
    def join(cls, parts: Sequence[Targets]) -> Targets:
        """Put several sets of points into one."""
        names = [item.name for item in fields(cls)]
        return cls(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})

    def only(self, points: npt.NDArray[Any]) -> Targets:
        """Return the points with these indices or where this mask is true."""
        return Targets(**{item.name: getattr(self, item.name)[points] for item in fields(self)})


def targets(
    variables: FloatArray, weights: FloatArray, spin: Literal[0, 1], family: XCFamily
) -> Targets:
    """Evaluate the teacher of a family at given points.

    Args:
        variables: Meta-GGA rows as in ``kakehashi_core.contracts.XCFunctional``, (n_var, n_points).
        weights: (n_points,) quadrature weights, bohr^3.
        spin: 0 or 1.
        family: "LDA", "GGA" or "MGGA".
    """
    from pyscf.dft import libxc

    from kakehashi_pyscf.density_variables import rho_from_variables

    rows = libxc.eval_xc1(
        TEACHERS[family], _rows_of_family(rho_from_variables(variables, spin), family), spin, 1
    )
    tensors = log_descriptors(torch.from_numpy(np.ascontiguousarray(variables)), spin, family)
    inputs, prefactor = (tensor.numpy() for tensor in tensors)
    total = variables[0] if spin == 0 else variables[0] + variables[1]
    outputs = -rows[0] * total / prefactor
    # A common factor on all densities, all gradients or all kinetic-energy densities moves ln u, ln s or
    # ln t: ln n = 3 ln u; ln sigma = 2 ln s + 8 ln u; ln tau = ln t + 5 ln u + const, for n >> e.
    by_kind = (rows[1:] * variables[: len(rows) - 1]).cumsum(axis=0)
    ends = {0: (0, 1, 2), 1: (1, 4, 6)}[spin][: len(DESCRIPTORS[family]) - 1]
    sums = np.diff(by_kind[list(ends)], axis=0, prepend=0.0)
    slopes = np.zeros_like(inputs)
    slopes[:, 0] = -np.tensordot((3.0, 8.0, 5.0)[: len(sums)], sums, 1) / prefactor - 4 * outputs
    for column, (value, power) in enumerate(zip(sums[1:], (2.0, 1.0), strict=False), start=2):
        slopes[:, column] = -power * value / prefactor
    return Targets(
        inputs=inputs,
        outputs=outputs,
        slopes=slopes,
        slope_known=(total > LOWEST_DENSITY_FOR_SLOPES).astype(np.float64),
        importance=np.abs(weights) * total,
    )


def teacher_energy(
    variables: FloatArray, weights: FloatArray, spin: Literal[0, 1], family: XCFamily
) -> float:
    """Return the exchange-correlation energy of the teacher, hartree; arguments as for ``targets``."""
    from pyscf.dft import libxc

    from kakehashi_pyscf.density_variables import rho_from_variables

    rho = _rows_of_family(rho_from_variables(variables, spin), family)
    total = variables[0] if spin == 0 else variables[0] + variables[1]
    return float(np.dot(weights * total, libxc.eval_xc1(TEACHERS[family], rho, spin, 0)[0]))


def density_targets(densities: Mapping[str, Mapping[str, Any]], family: XCFamily) -> Targets:
    """Evaluate the teacher at the grid points of given species.

    Args:
        densities: As returned by ``fixed_densities.load_densities``.
        family: "LDA", "GGA" or "MGGA".
    """
    parts: list[Targets] = []
    for density in densities.values():
        variables, spin = np.asarray(density["variables"]), int(density["spin"])
        total = variables[0] if spin == 0 else variables[0] + variables[1]
        kept = total > LOWEST_DENSITY
        weights = np.asarray(density["weights"])[kept]
        parts.append(targets(variables[:, kept], weights, 1 if spin else 0, family))
    return _sound(Targets.join(parts))


def scattered_targets(
    densities: Mapping[str, Mapping[str, Any]],
    family: XCFamily,
    rng: np.random.Generator,
    n_points: int = N_SCATTERED,
) -> Targets:
    """Evaluate the teacher around the grid points of given species.

    Density, reduced gradient, iso-orbital indicator and polarization of points, drawn with probability
    proportional to the electrons that they stand for, are moved at random.

    Args:
        densities: As returned by ``fixed_densities.load_densities``.
        family: "LDA", "GGA" or "MGGA".
        rng: Draws points and moves.
        n_points: How many.
    """
    shapes = np.concatenate([_shape_of_density(d) for d in densities.values()], axis=1)
    shapes = shapes[:, shapes[0] > LOWEST_DENSITY]
    n, zeta, gradient, alpha, weight = shapes
    electrons = weight * n
    drawn = rng.choice(n.size, n_points, p=electrons / electrons.sum())

    def spread(values: FloatArray, width: float) -> FloatArray:
        return values[drawn] * np.exp(width * rng.standard_normal(n_points))

    polarization = zeta[drawn] + SCATTER["polarization"] * rng.standard_normal(n_points)
    polarization[rng.random(n_points) < 0.5] = 0.0
    alphas = spread(alpha, SCATTER["alpha"])
    anything = rng.random(n_points) < 0.25
    alphas[anything] = 3 * rng.random(int(anything.sum())) ** 2
    variables = _same_shape_in_both_channels(
        spread(n, SCATTER["density"]),
        np.clip(polarization, 0.0, 1.0),
        spread(gradient, SCATTER["gradient"]),
        alphas,
    )
    return _sound(targets(variables, weight[drawn], 1, family))


def mesh_targets(
    family: XCFamily, rng: np.random.Generator, n_points: int = N_MESH_POINTS
) -> Targets:
    """Evaluate the teacher where molecules rarely come: uniform gas, any polarization, large gradients.

    Both spin channels share the reduced gradient s and the iso-orbital indicator alpha, because the form
    sees only the total gradient and the total kinetic energy.
    """
    n = 10 ** rng.uniform(-5, 4, n_points)
    zeta = np.where(rng.random(n_points) < 0.5, 0.0, rng.uniform(0, 1, n_points))
    gradient = 10 ** rng.uniform(-3, 1.2, n_points)
    gradient[rng.random(n_points) < 0.1] = 0.0
    alpha = 10 ** rng.uniform(-2, 1.5, n_points)
    alpha[rng.random(n_points) < 0.3] = 0.0
    alpha[rng.random(n_points) < 0.1] = 1.0
    variables = _same_shape_in_both_channels(n, zeta, gradient, alpha)
    return _sound(targets(variables, np.zeros(n_points), 1, family))


def _rows_of_family(rho: FloatArray, family: XCFamily) -> FloatArray:
    if family == "LDA":
        return np.ascontiguousarray(rho[..., 0, :])
    return np.ascontiguousarray(rho[..., : 4 if family == "GGA" else 5, :])


def _sound(points: Targets) -> Targets:
    # Rounding in nearly empty channels gives values that no functional means.
    return points.only(
        np.isfinite(points.slopes).all(1) & (points.outputs > 1e-3) & (points.outputs < 3.0)
    )


def _shape_of_density(density: Mapping[str, Any]) -> FloatArray:
    """Return rows n, zeta, s, alpha, |weight| of the total density."""
    v, spin = np.asarray(density["variables"]), int(density["spin"])
    n, sigma, tau = v if spin == 0 else (v[0] + v[1], v[2] + 2 * v[3] + v[4], v[5] + v[6])
    zeta = np.zeros_like(n) if spin == 0 else np.abs(v[0] - v[1]) / n
    gradient = np.sqrt(np.maximum(sigma, 0.0)) / (2 * FERMI * n ** (4 / 3))
    polarized = ((1 + zeta) ** (5 / 3) + (1 - zeta) ** (5 / 3)) / 2
    alpha = (tau - sigma / (8 * n)) / (UNIFORM_KINETIC * n ** (5 / 3) * polarized)
    return np.stack([n, zeta, gradient, np.maximum(alpha, 0.0), np.abs(density["weights"])])


def _same_shape_in_both_channels(
    n: FloatArray, zeta: FloatArray, gradient: FloatArray, alpha: FloatArray
) -> FloatArray:
    """Return spin-resolved variables (7, n_points) in which both channels have the given s and alpha."""
    rows: list[FloatArray] = []
    for density in (n * (1 + zeta) / 2, n * (1 - zeta) / 2):
        sigma = (2 * FERMI * gradient * (2 * density) ** (4 / 3)) ** 2 / 4
        von_weizsaecker = sigma / (8 * np.maximum(density, SMALL**4))
        uniform = UNIFORM_KINETIC * (2 * density) ** (5 / 3) / 2
        rows += [density, sigma, von_weizsaecker + alpha * uniform]
    cross = np.sqrt(rows[1] * rows[4])
    return np.stack([rows[0], rows[3], rows[1], cross, rows[4], rows[2], rows[5]])


def initial_parameters(seed: int, family: XCFamily = "MGGA") -> dict[str, torch.Tensor]:
    """Draw weights uniformly within 1/sqrt(fan-in), float32.

    Those of ln phi are larger: it goes from 0 to 0.23 only, and open shells must not look like closed ones.
    """
    generator = torch.Generator().manual_seed(seed)
    shapes = parameter_shapes(family)
    parameters = {
        name: (torch.rand(shape, generator=generator) * 2 - 1)
        / shapes[name.replace("bias", "weight")][1] ** 0.5
        for name, shape in shapes.items()
    }
    parameters["fc1.weight"][:, 1] *= POLARIZATION_SCALE
    return parameters


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Points from which batches are drawn, float32, with the number drawn for each step."""

    inputs: torch.Tensor
    outputs: torch.Tensor
    slopes: torch.Tensor
    slope_known: torch.Tensor
    cumulative: FloatArray
    batch: int

    @classmethod
    def of(cls, points: Targets, batch: int, *, by_importance: bool) -> Pool:
        """Prepare points; ``by_importance`` draws in proportion to the electrons at a point."""
        share = points.importance if by_importance else np.ones(len(points.outputs))
        cumulative = np.cumsum(share)
        tensors = (points.inputs, points.outputs, points.slopes, points.slope_known)
        x, y, slopes, known = (torch.as_tensor(a, dtype=torch.float32) for a in tensors)
        return cls(
            inputs=x,
            outputs=y,
            slopes=slopes,
            slope_known=known,
            cumulative=cumulative / cumulative[-1],
            batch=batch,
        )

    def draw(self, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
        """Return inputs, outputs, slopes and slope_known of a batch."""
        found = np.searchsorted(self.cumulative, rng.random(self.batch))
        points = torch.from_numpy(np.minimum(found, self.cumulative.size - 1))
        return tuple(t[points] for t in (self.inputs, self.outputs, self.slopes, self.slope_known))


def distill(
    parameters: Mapping[str, torch.Tensor],
    points: Targets,
    scattered: Targets,
    mesh: Targets,
    *,
    n_steps: int,
    rng: np.random.Generator,
    activation: str = "silu",
    learning_rate: float = 3e-3,
    batches: tuple[int, int, int] = (1536, 1536, 512),
) -> dict[str, torch.Tensor]:
    """Fit the network to the targets with Adam and a one-cycle schedule, float32.

    Args:
        parameters: Start; not changed.
        points: Points of species; drawn in proportion to the electrons at a point.
        scattered: Points around them.
        mesh: Points of the mesh; count less.
        n_steps: Number of steps.
        rng: Draws the batches.
        activation: Activation of the form.
        learning_rate: Peak of the schedule.
        batches: Points of each kind in a step.

    Returns:
        New parameters, float32.
    """
    leaves = {k: v.detach().clone().requires_grad_(True) for k, v in parameters.items()}
    optimizer = torch.optim.Adam(list(leaves.values()), lr=learning_rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=n_steps, pct_start=0.05
    )
    pools = [
        Pool.of(points, batches[0], by_importance=True),
        Pool.of(scattered, batches[1], by_importance=False),
        Pool.of(mesh, batches[2], by_importance=False),
    ]
    importance = torch.repeat_interleave(
        torch.tensor([1.0, 1.0, MESH_WEIGHT]), torch.tensor(batches)
    )
    importance /= importance.sum()
    # Along the polarization nothing is known from scaling.
    columns = [k for k in range(pools[0].inputs.shape[1]) if k != 1]
    with progress_bar("distillation", total=n_steps) as advance:
        for step in range(n_steps):
            drawn = [pool.draw(rng) for pool in pools]
            x, y_target, slope_target, known = (
                torch.cat(part) for part in zip(*drawn, strict=True)
            )
            x.requires_grad_(True)
            y = network(leaves, x, activation)
            (slopes,) = torch.autograd.grad(y.sum(), x, create_graph=True)
            error = (y - y_target) ** 2
            huber = torch.nn.functional.smooth_l1_loss(
                slopes, slope_target, beta=SLOPE_SCALE, reduction="none"
            )
            slope_error = huber[:, columns].sum(1) * known
            loss = ((error + SLOPE_WEIGHT * slope_error) * importance).sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            advance(1)
            if step % 500 == 0 or step == n_steps - 1:
                rms = [
                    part.mean().item() ** 0.5 for part in torch.split(error.detach(), list(batches))
                ]
                logger.info(
                    "step %d: rms error of y %.2e (points), %.2e (scattered), %.2e (mesh), slope loss %.2e",
                    step,
                    *rms,
                    slope_error.mean().item(),
                )
    return {key: leaf.detach() for key, leaf in leaves.items()}


def polish(
    parameters: Mapping[str, torch.Tensor],
    points: Targets,
    scattered: Targets,
    mesh: Targets,
    *,
    n_steps: int,
    rng: np.random.Generator,
    activation: str = "silu",
    batches: tuple[int, int, int] = (1500, 1200, 300),
) -> dict[str, torch.Tensor]:
    """Lower the error of the values with Gauss-Newton steps on random batches, float64.

    Args:
        parameters: Start; not changed.
        points: Points of species; drawn in proportion to the electrons at a point.
        scattered: Points around them.
        mesh: Points of the mesh.
        n_steps: Number of steps; the last third gets smaller and smaller.
        rng: Draws the batches.
        activation: Activation of the form.
        batches: Points of each kind in a step.

    Returns:
        New parameters, float64.
    """
    current = {name: tensor.detach().to(torch.float64) for name, tensor in parameters.items()}
    pools = [
        Pool.of(points, batches[0], by_importance=True),
        Pool.of(scattered, batches[1], by_importance=False),
        Pool.of(mesh, batches[2], by_importance=False),
    ]
    step: dict[str, torch.Tensor] | None = None
    with progress_bar("polish", total=n_steps) as advance:
        for index in range(n_steps):
            drawn = [pool.draw(rng) for pool in pools]
            inputs = torch.cat([batch[0] for batch in drawn]).to(torch.float64)
            outputs = torch.cat([batch[1] for batch in drawn]).to(torch.float64)
            step, rms = regression_step(
                current,
                inputs,
                outputs,
                damping=POLISH_DAMPING,
                momentum=POLISH_MOMENTUM,
                previous=step,
                activation=activation,
            )
            length = POLISH_STEP * min(1.0, 3 * (n_steps - index) / n_steps)
            current = {name: tensor + length * step[name] for name, tensor in current.items()}
            advance(1)
            if index % 10 == 0 or index == n_steps - 1:
                logger.info("polish %d: rms error of y %.2e", index, rms)
    return current
