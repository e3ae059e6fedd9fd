"""Training of the invariant network on configurations with known propensities and bond changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_botan.invariant_form import (
    InvariantNetwork,
    NetworkInput,
    NetworkOutput,
    NetworkSettings,
    pair_kinds,
    side_by_side,
)
from kakehashi_botan.training.field_statistics import FieldStatistics, penalties
from kakehashi_core.random_streams import spawn, torch_generator
from kakehashi_core.training import GradientTraining, RandomBatches, create_fabric, train

IntArray = npt.NDArray[np.int64]
VALIDATE_EVERY = 100


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetworkSample:
    """A configuration and what is known of its future.

    Attributes:
        inputs: What the network reads, on the CPU.
        propensity: (n,), sigma_AA.
        changes: Of the pairs, (n_pairs,), sigma_AA.
        contacts: Numbers of the pairs that scores count: A-A, close to contact, (n_contacts,).
        temperature: epsilon_AA / k_B.
        n_runs: Runs behind the targets.
        ensemble: Number of the ensemble it belongs to.
        statistics: Targets of the penalties on spread and correlation; None for none.
    """

    inputs: NetworkInput
    propensity: torch.Tensor
    changes: torch.Tensor
    contacts: torch.Tensor
    temperature: float
    n_runs: int
    ensemble: int
    statistics: FieldStatistics | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How a network is trained.

    Attributes:
        steps: Optimizer steps.
        batch_size: Configurations of a step.
        learning_rate: Largest one of a single cycle.
        weight_decay: Of AdamW.
        end_weight: Weight of the end of a run, relative to a start.
        n_pairs: Pairs of each configuration that a step looks at, half of them contacts.
        species_weights: Of the mobility of each species.
        pair_weight: Of bond changes, against mobility.
        whole_weight: Of temperature and mean mobility.
        spread_weight: Of the penalty on a spread of mobility that differs from the true one.
        correlation_weight: Of the penalty on its spatial correlation.
        law_weight: Of the distance of the mean mobility of A from ``law`` at the estimated temperature.
        law: Polynomial in the temperature, lowest power first, sigma_AA.
        clip_norm: Largest norm of the gradient.
    """

    steps: int = 1500
    batch_size: int = 1
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    end_weight: float = 0.2
    n_pairs: int = 16_000
    species_weights: tuple[float, ...] = (1.0, 0.1)
    pair_weight: float = 1.0
    whole_weight: float = 0.5
    spread_weight: float = 0.0
    correlation_weight: float = 0.0
    law_weight: float = 0.0
    law: tuple[float, ...] = ()
    clip_norm: float = 1.0


def train_network(
    samples: Sequence[NetworkSample],
    settings: NetworkSettings,
    directory: Path,
    *,
    training: TrainingSettings | None = None,
    seed: int,
    identity: Mapping[str, Any],
    device: str = "cpu",
    validation: Callable[[InvariantNetwork], Mapping[str, float]] | None = None,
    patience: int | None = None,
    description: str = "network",
) -> InvariantNetwork:
    """Train one network; the same call goes on after an interruption.

    Args:
        samples: Configurations to learn from; scales of inputs and targets come from starts among them.
        settings: Shape of the network.
        directory: Run directory.
        training: How it is trained.
        seed: Of first weights and of the order of configurations.
        identity: What the samples are, JSON-able: a run with others is refused.
        device: "cpu", "cuda[:i]" or "auto".
        validation: Gives the metric "loss" of the network every ``VALIDATE_EVERY`` steps.
        patience: Stop after so many validations without improvement, and return to the best weights; None
            trains all steps and keeps the last.
        description: For the progress bar.
    """
    training = training or TrainingSettings()
    (draws, first), _ = spawn(seed, 2)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(torch_generator(first).initial_seed())
        network = InvariantNetwork(settings)
    set_scales(network, [s for s in samples if s.n_runs > 1])
    fabric = create_fabric(device=device)
    network.to(fabric.device)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=training.learning_rate, total_steps=training.steps + 1, pct_start=0.1
    )
    choose = _choice(samples, training)

    def loss(
        model: InvariantNetwork, numbers: IntArray
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor | float]]:
        chosen = [_fewer_pairs(samples[int(k)], training.n_pairs) for k in numbers]
        return batch_loss(model, chosen, training)

    trainable = GradientTraining(
        network,
        optimizer,
        loss=loss,
        batches=RandomBatches(choose, rng=draws),
        scheduler=scheduler,
        validation=validation,
        fabric=fabric,
        clip_norm=training.clip_norm,
        seed=seed,
    )
    train(
        trainable,
        directory,
        config={
            "network": asdict(settings),
            "training": {
                **asdict(training),
                "species_weights": list(training.species_weights),
                "law": list(training.law),
            },
            "seed": seed,
            "samples": dict(identity),
        },
        steps=training.steps,
        validate_every=VALIDATE_EVERY if validation is not None else None,
        patience=patience,
        restore_best=patience is not None,
        description=description,
    )
    return network.cpu().eval()


def batch_loss(
    network: InvariantNetwork, samples: Sequence[NetworkSample], training: TrainingSettings
) -> tuple[torch.Tensor, dict[str, torch.Tensor | float]]:
    """Return the loss of some configurations, and its parts.

    Mobility counts within each configuration and species only; means have a head of their own.
    """
    device = network.field_scale.device
    inputs = side_by_side([s.inputs for s in samples]).to(device)
    output = network(inputs)
    propensity = torch.cat([s.propensity for s in samples]).to(device)
    changes = torch.cat([s.changes for s in samples]).to(device)
    parts = {
        "mobility loss": _field_loss(network, output, inputs, propensity, training.species_weights),
        "bond loss": _change_loss(network, output, inputs, changes),
    }
    loss = parts["mobility loss"] + training.pair_weight * parts["bond loss"]
    if network.settings.global_width:
        parts["whole loss"] = _whole_loss(network, output, samples)
        loss = loss + training.whole_weight * parts["whole loss"]
        if training.law_weight:
            parts["law loss"] = _law_loss(network, output, training.law)
            loss = loss + training.law_weight * parts["law loss"]
    if training.spread_weight or training.correlation_weight:
        parts["spread penalty"], parts["correlation penalty"] = _penalties(output, inputs, samples)
        loss = loss + training.spread_weight * parts["spread penalty"]
        loss = loss + training.correlation_weight * parts["correlation penalty"]
    return loss, {name: part.detach() for name, part in parts.items()}


def set_scales(network: InvariantNetwork, samples: Sequence[NetworkSample]) -> None:
    """Set the buffers of a network from means and spreads over configurations."""
    n_species = network.settings.n_species

    def over(values: Iterable[torch.Tensor]) -> torch.Tensor:
        return torch.stack(list(values)).mean(dim=0)

    for species in range(n_species):
        rows = [s.inputs.descriptors[s.inputs.types == species] for s in samples]
        network.center[species] = over(r.mean(dim=0) for r in rows)
        # What never varies must not be divided by zero.
        spread = over(r.std(dim=0) for r in rows)
        network.scale[species] = torch.where(spread > 1e-5, spread, torch.ones_like(spread))
        network.field_scale[species] = over(
            s.propensity[s.inputs.types == species].std() for s in samples
        )
    for kind in range(len(network.change_scale)):
        chosen = [
            s.changes[pair_kinds(s.inputs.types, s.inputs.pair_index, n_species) == kind]
            for s in samples
        ]
        network.change_center[kind] = over(c.mean() for c in chosen)
        network.change_scale[kind] = over(c.std() for c in chosen)
    wholes = torch.cat([s.inputs.configuration for s in samples])
    network.global_center.copy_(wholes.mean(dim=0))
    network.global_scale.copy_(wholes.std(dim=0).clamp(min=1e-6))
    if network.settings.global_width or network.settings.conditioned:
        targets = torch.stack([whole_target(s, n_species) for s in samples])
        network.whole_center.copy_(targets.mean(dim=0))
        network.whole_scale.copy_(targets.std(dim=0).clamp(min=1e-6))
        network.temperature_center.copy_(network.whole_center[0])
        network.temperature_scale.copy_(network.whole_scale[0])


def whole_target(sample: NetworkSample, n_species: int) -> torch.Tensor:
    """Return temperature and mean mobility of each species, (1 + n_species,)."""
    means = [sample.propensity[sample.inputs.types == k].mean() for k in range(n_species)]
    return torch.stack([torch.tensor(sample.temperature, dtype=means[0].dtype), *means])


def species_centered(values: torch.Tensor, inputs: NetworkInput, n_species: int) -> torch.Tensor:
    """Return values less the mean of their species in their configuration, (n,)."""
    group = inputs.membership * n_species + inputs.types
    n_groups = inputs.n_configurations * n_species
    sums = values.new_zeros(n_groups).index_add(0, group, values)
    counts = values.new_zeros(n_groups).index_add(0, group, torch.ones_like(values))
    return values - (sums / counts.clamp(min=1.0))[group]


def _field_loss(
    network: InvariantNetwork,
    output: NetworkOutput,
    inputs: NetworkInput,
    propensity: torch.Tensor,
    species_weights: Sequence[float],
) -> torch.Tensor:
    n = network.settings.n_species
    error = species_centered(output.field - propensity, inputs, n)
    square = (error / network.field_scale[inputs.types]) ** 2
    terms = [
        weight * square[inputs.types == species].mean()
        for species, weight in zip(range(n), species_weights, strict=True)
        if bool((inputs.types == species).any())
    ]
    return torch.stack(terms).sum()


def _change_loss(
    network: InvariantNetwork, output: NetworkOutput, inputs: NetworkInput, changes: torch.Tensor
) -> torch.Tensor:
    kind = pair_kinds(inputs.types, inputs.pair_index, network.settings.n_species)
    return (((output.changes - changes) / network.change_scale[kind]) ** 2).mean()


def _whole_loss(
    network: InvariantNetwork, output: NetworkOutput, samples: Sequence[NetworkSample]
) -> torch.Tensor:
    targets = torch.stack([whole_target(s, network.settings.n_species) for s in samples])
    error = (output.whole - targets.to(output.whole)) / network.whole_scale
    return (error**2).mean()


def _law_loss(
    network: InvariantNetwork, output: NetworkOutput, law: Sequence[float]
) -> torch.Tensor:
    """Return how far mean mobility and temperature are from the relation between them."""
    temperature, mean = output.whole[:, 0], output.whole[:, 1]
    expected = sum(c * temperature**k for k, c in enumerate(law))
    return (((mean - expected) / network.whole_scale[1]) ** 2).mean()


def _penalties(
    output: NetworkOutput, inputs: NetworkInput, samples: Sequence[NetworkSample]
) -> tuple[torch.Tensor, torch.Tensor]:
    found = []
    for number, sample in enumerate(samples):
        if sample.statistics is not None:
            own = inputs.membership == number
            target = sample.statistics.to(output.field.device)
            found.append(torch.stack(penalties(output.field[own], inputs.types[own], target)))
    total = torch.stack(found).mean(dim=0) if found else output.field.new_zeros(2)
    return total[0], total[1]


def _choice(
    samples: Sequence[NetworkSample], training: TrainingSettings
) -> Callable[[np.random.Generator], IntArray]:
    """Return what draws configurations: an ensemble first, then its start or the end of a run."""
    ensembles = sorted({s.ensemble for s in samples})
    members = [[k for k, s in enumerate(samples) if s.ensemble == e] for e in ensembles]
    weights = []
    for group in members:
        raw = np.array([1.0 if samples[k].n_runs > 1 else training.end_weight for k in group])
        weights.append(raw / raw.sum())

    def choose(rng: np.random.Generator) -> IntArray:
        picked = rng.integers(len(members), size=training.batch_size)
        return np.array([rng.choice(members[e], p=weights[e]) for e in picked])

    return choose


def _fewer_pairs(sample: NetworkSample, n_pairs: int) -> NetworkSample:
    """Return a sample with random pairs only: half of them contacts, drawn with replacement."""
    half = n_pairs // 2
    contacts = sample.contacts[torch.randint(len(sample.contacts), (half,))]
    others = torch.randint(len(sample.changes), (n_pairs - half,))
    kept = torch.cat([contacts, others])
    inputs = replace(
        sample.inputs,
        pair_index=sample.inputs.pair_index[:, kept],
        pair_lengths=sample.inputs.pair_lengths[kept],
    )
    return replace(sample, inputs=inputs, changes=sample.changes[kept])
