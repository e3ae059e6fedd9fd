"""Training of transport fields: continuity equation, flow matching on samples, and the energy.

Between temperatures the density is exp(-U/T)/Z. A field that carries it along exactly satisfies, at every
temperature and at every configuration,

    div v - grad U . v / T = (U - <U>)/T        for dx/dlambda = v, lambda = -ln T.

``fit_continuity`` minimizes the variance of the difference of both sides over samples: what is left is what
makes weights differ. The field is linear in its weights, so this is one linear least-squares problem. The
other losses are for gradient steps: ``energy_loss`` (reverse Kullback-Leibler divergence, samples of the
hot end), ``data_loss`` (forward, samples of the cold end) and ``matching_loss`` (pairs of both).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment

from kakehashi_botan.sampling.flow import integrate
from kakehashi_botan.sampling.liquids import Liquid
from kakehashi_botan.sampling.transport_field import TransportField
from kakehashi_core.errors import InvalidInputError

FloatArray = npt.NDArray[np.float64]

RIDGE = 1e-3
CHUNK_SAMPLES = 64
LARGEST_ENERGY = 50.0
"""Of a pair, epsilon: beyond it the energy enters losses through its logarithm, so that one overlap does not
decide a step. Weights of samples never see this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinuityFit:
    """How well a field satisfies the continuity equation.

    Attributes:
        temperatures: Where samples were.
        explained: Share of the variance of U that the field takes up, on the samples of the fit.
        explained_unseen: The same on the samples that were held back.
    """

    temperatures: tuple[float, ...]
    explained: tuple[float, ...]
    explained_unseen: tuple[float, ...]


def fit_continuity(
    field: TransportField,
    samples: Mapping[float, npt.ArrayLike],
    *,
    ridge: float = RIDGE,
    held_back: float = 0.2,
) -> ContinuityFit:
    """Set the weights of a field by linear least squares.

    Args:
        field: Its weights are replaced.
        samples: Temperature to equilibrium samples, (n_samples, n, dimension).
        ridge: Penalty on the weights, in units of the mean square of what they multiply.
        held_back: Share of the samples of each temperature that the fit does not see, the last ones.

    Raises:
        InvalidInputError: If there are fewer samples than make sense.
    """
    if not samples:
        raise InvalidInputError("no samples were given")
    parts = [_part(field, positions, t, held_back) for t, positions in samples.items()]
    n_rows = sum(part.n_seen for part in parts)
    size = len(field.pair_weights) * parts[0].features.shape[1]
    matrix, right = np.zeros((size, size)), np.zeros(size)
    for part in parts:
        seen, wanted = part.features[: part.n_seen], part.target[: part.n_seen]
        # Weights of all degrees see the same features: one small product for each temperature.
        matrix += np.kron(np.outer(part.powers, part.powers), seen.T @ seen) / n_rows
        right += np.kron(part.powers, seen.T @ wanted) / n_rows
    scale = np.sqrt(np.diag(matrix)) + 1e-100
    matrix = matrix / np.outer(scale, scale) + ridge * np.eye(size)
    weights = np.linalg.solve(matrix, right / scale) / scale
    set_weights(field, weights)
    return ContinuityFit(
        temperatures=tuple(float(t) for t in samples),
        explained=tuple(part.explained(weights, slice(0, part.n_seen)) for part in parts),
        explained_unseen=tuple(part.explained(weights, slice(part.n_seen, None)) for part in parts),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Rows of the least-squares problem of one temperature."""

    features: FloatArray
    target: FloatArray
    powers: FloatArray
    n_seen: int

    def explained(self, weights: FloatArray, rows: slice) -> float:
        wanted = self.target[rows]
        found = self.features[rows] @ (self.powers @ weights.reshape(len(self.powers), -1))
        return float(1.0 - (wanted - found).var() / wanted.var()) if len(wanted) > 1 else math.nan


def _part(
    field: TransportField, positions: npt.ArrayLike, temperature: float, held_back: float
) -> _Part:
    x = field.liquid.checked(positions)
    if len(x) < 10:
        raise InvalidInputError(f"T = {temperature:g} has {len(x)} samples; at least 10 are needed")
    n_seen = len(x) - int(held_back * len(x))
    features, target = _features(field, x, temperature), field.liquid.energies(x) / temperature
    # The constant <U> and the mean of every feature drop out of a variance.
    features -= features[:n_seen].mean(axis=0)
    return _Part(
        features=features,
        target=target - target[:n_seen].mean(),
        powers=field.powers(temperature).numpy(),
        n_seen=n_seen,
    )


def energy_loss(
    field: TransportField, hot: torch.Tensor, start: float, end: float, *, n_steps: int = 8
) -> torch.Tensor:
    """Return the mean of U(x1)/T1 - U(x0)/T0 - log det; its minimum is -ln Z1/Z0 (reverse KL).

    Args:
        field: What is trained.
        hot: Samples of ``start``, (n_samples, n, dimension).
        start: Temperature of the samples.
        end: Temperature of the target.
        n_steps: Steps of the integration.
    """
    return -_log_weights(field, hot, start, end, n_steps).mean()


def data_loss(
    field: TransportField, cold: torch.Tensor, start: float, end: float, *, n_steps: int = 8
) -> torch.Tensor:
    """Return the same for the way back from samples of ``end`` to ``start`` (forward KL)."""
    return -_log_weights(field, cold, end, start, n_steps).mean()


def variance_loss(
    field: TransportField, hot: torch.Tensor, start: float, end: float, *, n_steps: int = 8
) -> torch.Tensor:
    """Return the variance of the log-weights, which decides the effective size; zero for a perfect flow."""
    return _log_weights(field, hot, start, end, n_steps).var()


def matching_loss(
    field: TransportField,
    hot: torch.Tensor,
    cold: torch.Tensor,
    start: float,
    end: float,
    place: float,
) -> torch.Tensor:
    """Return the mean squared difference of the field and straight paths between paired samples.

    Pairs should come from ``paired``.

    Args:
        field: What is trained.
        hot: Samples of ``start``.
        cold: Their partners among samples of ``end``, same shape.
        start: Temperature of ``hot``.
        end: Temperature of ``cold``.
        place: Where on the way, 0 at ``start`` to 1 at ``end``; to be drawn anew for each batch.
    """
    edge = field.liquid.edge
    shift = cold - hot
    shift = shift - edge * torch.round(shift / edge)
    distance = math.log(start / end)
    velocity, _ = field(hot + place * shift, start * math.exp(-place * distance))
    difference: torch.Tensor = velocity - shift / distance
    return difference.square().sum(-1).mean()


def paired(liquid: Liquid, hot: FloatArray, cold: FloatArray, *, candidates: int = 8) -> FloatArray:
    """Return for every hot sample the closest of some cold ones, moved and renumbered to lie close.

    Each cold sample is shifted as a whole and its particles are assigned within their species so that the sum
    of squared distances is smallest; independent pairs would leave hardly any mean velocity to learn.

    Args:
        liquid: What the samples are of.
        hot: (n_samples, n, dimension).
        cold: (n_cold, n, dimension).
        candidates: How many cold samples each hot one is compared with.
    """
    groups = [np.flatnonzero(liquid.types == a) for a in range(len(liquid.composition))]
    found = np.empty_like(hot)
    for number, x in enumerate(hot):
        best = np.inf
        for k in range(min(candidates, len(cold))):
            y, cost = _aligned(x, cold[(number * candidates + k) % len(cold)], groups, liquid.edge)
            if cost < best:
                best, found[number] = cost, y
    return found


def _aligned(
    x: FloatArray, y: FloatArray, groups: list[npt.NDArray[np.int64]], edge: float
) -> tuple[FloatArray, float]:
    moved = y.copy()
    cost = np.inf
    for _ in range(3):
        for group in groups:
            d = x[group][:, None] - moved[group][None]
            d -= edge * np.rint(d / edge)
            _, column = linear_sum_assignment(np.square(d).sum(-1))
            moved[group] = moved[group[column]]
        d = x - moved
        d -= edge * np.rint(d / edge)
        moved = moved + d.mean(axis=0)
        cost = float(np.square(d - d.mean(axis=0)).sum())
    return moved, cost


def _log_weights(
    field: TransportField, positions: torch.Tensor, start: float, end: float, n_steps: int
) -> torch.Tensor:
    x, determinants, _ = integrate(field, positions, start, end, n_steps)
    before = bounded_energies(field, positions)
    found: torch.Tensor = before / start - bounded_energies(field, x) / end + determinants
    return found


def bounded_energies(field: TransportField, positions: torch.Tensor) -> torch.Tensor:
    """Return potential energies, (n_samples,), differentiable, that overlaps do not blow up."""
    liquid = field.liquid
    r = field.geometry(positions).distance
    terms = torch.as_tensor(liquid.terms, device=positions.device)
    twelve, six, square, slope, constant = terms[:, field.types[:, None], field.types]
    inside = r * r < square
    sixth = r.clamp(min=0.1) ** -6
    pair = (twelve * sixth - six) * sixth - constant - slope * r
    pair = torch.where(inside, pair, torch.zeros_like(pair))
    large = pair > LARGEST_ENERGY
    bounded = LARGEST_ENERGY * (1.0 + torch.log(pair.clamp(min=LARGEST_ENERGY) / LARGEST_ENERGY))
    return 0.5 * torch.where(large, bounded, pair).sum((1, 2))


def _features(field: TransportField, x: FloatArray, temperature: float) -> FloatArray:
    with torch.no_grad():
        parts = [
            field.residual_features(torch.as_tensor(x[k : k + CHUNK_SAMPLES]), temperature)
            for k in range(0, len(x), CHUNK_SAMPLES)
        ]
    return torch.cat(parts).numpy()


def set_weights(field: TransportField, weights: FloatArray) -> None:
    """Set the weights of a field from one array: degree by degree, pairs before vectors."""
    degrees = torch.as_tensor(weights).reshape(len(field.pair_weights), -1)
    n_pair = field.pair_weights[0].numel()
    with torch.no_grad():
        field.pair_weights.copy_(degrees[:, :n_pair].reshape(field.pair_weights.shape))
        field.vector_weights.copy_(degrees[:, n_pair:].reshape(field.vector_weights.shape))
