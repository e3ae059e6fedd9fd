"""Training of effective models: exact log-weights, their gradients, and growth layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_core.errors import InvalidInputError, unknown_name
from kakehashi_core.random_streams import spawn
from kakehashi_slmc.attention_model import AttentionSettings, EquivariantAttention
from kakehashi_slmc.distance_shells import DistanceShells

FloatArray = npt.NDArray[np.float64]
Variant = Literal["full", "paper"]
VARIANTS = ("full", "paper")

PAPER_HEAD = 2
"""Shells of the linear head that reproduces the published acceptance without attention, 0.21. The paper does
not say in public how many it has."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TrainingSample:
    """Configurations with exact log-weights.

    Attributes:
        spins: (n_samples, n_sites, 3).
        log_weights: (n_samples,).
        gradients: Derivatives of log W by S, (n_samples, n_sites, 3); None if they are not known.
    """

    spins: FloatArray
    log_weights: FloatArray
    gradients: FloatArray | None = None

    def __post_init__(self) -> None:
        """Check that everything belongs together and is finite."""
        n = len(self.log_weights)
        shapes = [self.spins.shape[:1], *([] if self.gradients is None else [self.gradients.shape])]
        if shapes[0] != (n,) or (self.gradients is not None and shapes[1] != self.spins.shape):
            raise InvalidInputError(
                f"{self.spins.shape} spins and {n} log-weights do not belong together"
            )
        if not np.isfinite(self.spins).all():
            raise InvalidInputError("a spin is not finite; leave such configurations out")
        if self.gradients is not None and not np.isfinite(self.gradients).all():
            raise InvalidInputError("a gradient is not finite; leave such configurations out")
        if not np.isfinite(self.log_weights).all():
            raise InvalidInputError("a log-weight is not finite; leave such configurations out")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionTraining:
    """How a network is trained.

    Attributes:
        steps: Optimizer steps for each depth.
        batch_size: Configurations of a step.
        learning_rate: Largest one of a single cycle, for the first layer.
        grown_learning_rate: The same for further layers.
        weight_decay: Of AdamW.
        gradient_weight: Of squared tangential differences of gradients, against those of log-weights.
        clip_norm: Largest norm of a gradient of the loss.
    """

    steps: int = 1000
    batch_size: int = 64
    learning_rate: float = 1.2e-2
    grown_learning_rate: float = 4.5e-3
    weight_decay: float = 1e-6
    gradient_weight: float = 0.1
    clip_norm: float = 50.0

    def __post_init__(self) -> None:
        """Refuse numbers that train nothing."""
        for name, least in (("steps", 1), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise InvalidInputError(
                    f"{name} must be at least {least}, got {getattr(self, name)}"
                )
        for name in ("weight_decay", "gradient_weight"):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise InvalidInputError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("learning_rate", "grown_learning_rate", "clip_norm"):
            if not 0.0 < getattr(self, name) < np.inf:
                raise InvalidInputError(f"{name} must be positive, got {getattr(self, name)}")


def train_attention(
    shells: DistanceShells,
    sample: TrainingSample,
    *,
    n_layers: int,
    variant: Variant = "full",
    n_shells: int | None = None,
    n_head: int | None = None,
    training: AttentionTraining | None = None,
    seed: int,
) -> list[EquivariantAttention]:
    """Train networks of 1, 2, ... n_layers layers, each grown from the one before.

    Args:
        shells: Classes of pairs.
        sample: What is learned from.
        n_layers: Largest depth.
        variant: "paper" reads effective spins with the two nearest shells, with which the published
            acceptances agree; "full" with all.
        n_shells: Terms of the averages in queries, keys and values; None for the site itself and all shells.
        n_head: Shells of the linear model that reads the effective spins; None for those of the variant.
        training: How.
        seed: Of first weights and of batches.

    Returns:
        One network for each depth, shallow ones first.

    Raises:
        UnknownNameError: If there is no such variant.
        InvalidInputError: If a number of layers or shells makes no sense, or the sample is empty.
    """
    if variant not in VARIANTS:
        raise unknown_name("variant", variant, VARIANTS)
    for name, number, most in (
        ("n_layers", n_layers, None),
        ("n_shells", n_shells, shells.n_shells + 1),
        ("n_head", n_head, shells.n_shells),
        ("n_samples", len(sample.log_weights), None),
    ):
        if number is not None and (number < 1 or (most is not None and number > most)):
            limit = "at least 1" if most is None else f"between 1 and {most}"
            raise InvalidInputError(f"{name} must be {limit}, got {number}")
    training = training or AttentionTraining()
    if n_head is None:
        n_head = {"full": shells.n_shells, "paper": min(PAPER_HEAD, shells.n_shells)}[variant]
    settings = AttentionSettings(
        n_layers=1,
        n_shells=shells.n_shells + 1 if n_shells is None else n_shells,
        n_head=n_head,
    )
    generators, _ = spawn(seed, n_layers + 1)
    network = EquivariantAttention(shells, settings, seed=int(generators[0].integers(2**31)))
    networks: list[EquivariantAttention] = []
    for depth in range(1, n_layers + 1):
        if depth > 1:
            network = networks[-1].grown(shells, seed=int(generators[0].integers(2**31)))
        network.fit_head(torch.tensor(sample.spins), torch.tensor(sample.log_weights))
        peak = training.learning_rate if depth == 1 else training.grown_learning_rate
        _train(network, sample, training, peak=peak, rng=generators[depth])
        network.fit_head(torch.tensor(sample.spins), torch.tensor(sample.log_weights))
        networks.append(network)
    return networks


def residual_variance(log_weights: FloatArray, effective: FloatArray) -> float:
    """Return the variance of log W - log W_eff, the number that decides the acceptance."""
    return float(np.var(np.asarray(log_weights) - np.asarray(effective)))


def expected_acceptance(variance: float) -> float:
    """Return erfc(sigma / 2), the acceptance of decorrelated proposals for a Gaussian residual."""
    from scipy.special import erfc

    return float(erfc(0.5 * np.sqrt(variance)))


def _train(
    network: EquivariantAttention,
    sample: TrainingSample,
    training: AttentionTraining,
    *,
    peak: float,
    rng: np.random.Generator,
) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=peak, weight_decay=training.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=peak, total_steps=training.steps
    )
    spins, targets = torch.tensor(sample.spins), torch.tensor(sample.log_weights)
    gradients = None if sample.gradients is None else torch.tensor(sample.gradients)
    for _ in range(training.steps):
        chosen = torch.as_tensor(rng.integers(len(targets), size=training.batch_size))
        loss = _loss(
            network,
            spins[chosen],
            targets[chosen],
            None if gradients is None else gradients[chosen],
            training.gradient_weight,
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), training.clip_norm)
        optimizer.step()
        schedule.step()


def _loss(
    network: EquivariantAttention,
    spins: torch.Tensor,
    targets: torch.Tensor,
    gradients: torch.Tensor | None,
    gradient_weight: float,
) -> torch.Tensor:
    if gradients is None:
        return torch.mean((network(spins) - targets) ** 2)
    leaf = spins.clone().requires_grad_(True)
    found = network(leaf)
    (own,) = torch.autograd.grad(found.sum(), leaf, create_graph=True)
    difference = own - gradients
    along = (difference * spins).sum(dim=-1, keepdim=True)
    square = ((difference - along * spins) ** 2).sum(dim=(1, 2)).mean()
    return torch.mean((found - targets) ** 2) + gradient_weight * square
