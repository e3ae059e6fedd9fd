"""From ensembles to a propensity model: readings, linear member, networks, calibration."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_botan.displacements import displacement_lengths
from kakehashi_botan.graphs import CONTACT
from kakehashi_botan.invariant_form import InvariantNetwork, NetworkSettings
from kakehashi_botan.network_inputs import network_input
from kakehashi_botan.pearson_scores import pearson
from kakehashi_botan.propensity_model import Calibration, PropensityModel
from kakehashi_botan.reversed_ends import PropensitySample
from kakehashi_botan.ridge_form import RidgeMoments, RidgePropensity, RidgeSample
from kakehashi_botan.sampling_noise import sampling_noise
from kakehashi_botan.structure_features import (
    InputKind,
    StructureReading,
    n_descriptors,
    read_structure,
)
from kakehashi_botan.training.network_training import (
    NetworkSample,
    TrainingSettings,
    train_network,
)
from kakehashi_botan.training.quenched_ensembles import START, QuenchedEnsemble, pair_changes
from kakehashi_botan.training.training_conditions import TrainingConditions, common_conditions
from kakehashi_core.progress import progress_bar

FloatArray = npt.NDArray[np.float64]
N_SPECIES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PropensitySettings:
    """What is fitted.

    Attributes:
        n_levels: Blocks of features of the linear member.
        penalty: On its weights.
        end_weight: Weight of the end of a run in the linear member.
        ridge_share: Weight of the linear member in the field.
        training: Of the networks.
    """

    n_levels: int = 5
    penalty: float = 100.0
    end_weight: float = 0.25
    ridge_share: float = 0.3
    training: TrainingSettings = field(default_factory=TrainingSettings)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StartReading:
    """The start of an ensemble as a model reads it, with the truth of all its runs.

    Attributes:
        reading: What may be read.
        lengths: Displacement lengths, (n_runs, n_atoms), sigma_AA.
        changes: Mean bond changes, (n_pairs,), sigma_AA.
        contacts: Numbers of the A-A pairs close to contact.
        thermal_energy: Per particle, epsilon_AA.
    """

    reading: StructureReading
    thermal_energy: float
    lengths: FloatArray
    changes: FloatArray
    contacts: npt.NDArray[np.int64]

    @property
    def propensity(self) -> FloatArray:
        """Mean over the runs, (n_atoms,), sigma_AA."""
        return np.asarray(self.lengths.mean(axis=0))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingSet:
    """Everything that models of one kind are trained on, ensemble by ensemble.

    Attributes:
        kind: What may be read.
        samples: For networks.
        starts: Start of each ensemble.
        moments: For linear models, of each ensemble.
        conditions: Of the simulations.
        identity: Of the data, JSON-able.
    """

    kind: InputKind
    samples: Sequence[NetworkSample]
    starts: Sequence[StartReading]
    moments: Sequence[RidgeMoments]
    conditions: TrainingConditions
    identity: Mapping[str, Any]


def training_set(
    ensembles: Sequence[QuenchedEnsemble], kind: InputKind, settings: PropensitySettings
) -> TrainingSet:
    """Read all configurations of all ensembles.

    Raises:
        InvalidInputError: If the ensembles do not belong together.
    """
    conditions = common_conditions(ensembles)
    samples, starts, moments = [], [], []
    digest = hashlib.sha256()
    n_configurations = sum(len(e.snapshots) for e in ensembles)
    with progress_bar(f"reading structures ({kind})", total=n_configurations) as advance:
        for number, ensemble in enumerate(ensembles):
            total = RidgeMoments(N_SPECIES)
            for run, found, sample in ensemble.samples():
                reading = read_structure(found, kind, n_species=N_SPECIES)
                weight = 1.0 if run == START else settings.end_weight
                total.add(_ridge_sample(reading, sample, weight, settings.n_levels))
                changes = pair_changes(sample, reading.pair_index)
                contacts = contact_pairs(reading, sample)
                samples.append(_network_sample(reading, sample, changes, contacts, number))
                digest.update(sample.positions.tobytes() + sample.propensity.tobytes())
                if run == START:
                    lengths = displacement_lengths(ensemble.data, ensemble.time_index)
                    starts.append(
                        StartReading(
                            reading=reading,
                            lengths=lengths,
                            changes=changes,
                            contacts=contacts,
                            thermal_energy=found.thermal_energy,
                        )
                    )
                advance(1)
            moments.append(total)
    identity = {"kind": kind, "configurations": n_configurations, "sha256": digest.hexdigest()}
    return TrainingSet(
        kind=kind,
        samples=samples,
        starts=starts,
        moments=moments,
        conditions=conditions,
        identity=identity,
    )


def fit_model(
    data: TrainingSet,
    chosen: Sequence[int],
    directory: Path,
    *,
    settings: PropensitySettings,
    seeds: Sequence[int],
    device: str = "cpu",
    calibration: Calibration | None = None,
    held_out: Sequence[int] = (),
    patience: int | None = None,
    label: str = "",
) -> PropensityModel:
    """Fit all members of a model to some of the ensembles.

    Args:
        data: All that is known.
        chosen: Numbers of the ensembles that may be looked at.
        directory: Run directories of the networks.
        settings: What is fitted.
        seeds: One for each network.
        device: Where networks are trained.
        calibration: None leaves the field as regression gives it.
        held_out: Ensembles whose starts validate the networks; none of ``chosen``.
        patience: Stop a network after so many validations without improvement; see ``train_network``.
        label: For progress bars.
    """
    ridge = RidgePropensity.fit(
        RidgeMoments.merged([data.moments[k] for k in chosen]),
        kind=data.kind,
        n_levels=settings.n_levels,
        penalty=settings.penalty,
    )
    samples = [s for s in data.samples if s.ensemble in set(chosen)]
    n_global = len(data.starts[0].reading.configuration)
    shape = NetworkSettings(
        kind=data.kind, n_descriptors=n_descriptors(data.kind, N_SPECIES), n_global=n_global
    )
    networks = [
        train_network(
            samples,
            shape,
            directory / f"network-seed{seed}",
            training=settings.training,
            seed=seed,
            identity={**data.identity, "ensembles": list(chosen)},
            device=device,
            validation=_validation([data.starts[k] for k in held_out]) if held_out else None,
            patience=patience,
            description=f"{data.kind} network {label} seed {seed}",
        )
        for seed in seeds
    ]
    return PropensityModel(
        kind=data.kind,
        ridge=ridge,
        networks=tuple(networks),
        ridge_share=settings.ridge_share if networks else 1.0,
        calibration=calibration or Calibration.none(N_SPECIES),
        time=data.conditions.time,
        temperatures=(data.conditions.temperature,),
        energies=_like([data.starts[k].thermal_energy for k in chosen]),
        density=data.conditions.density,
        share_of_b=data.conditions.share_of_b,
    )


def _validation(
    starts: Sequence[StartReading],
) -> Callable[[InvariantNetwork], dict[str, float]]:
    """Return what gives one minus the mean Pearson coefficient of propensities of A."""
    inputs = [network_input(s.reading) for s in starts]

    def validate(network: InvariantNetwork) -> dict[str, float]:
        found = []
        for one, start in zip(inputs, starts, strict=True):
            with torch.no_grad():
                field = network(one.to(network.field_scale.device)).field.cpu().numpy()
            chosen = start.reading.types == 0
            found.append(pearson(field[chosen], start.propensity[chosen]))
        return {"loss": 1.0 - float(np.mean(found))}

    return validate


def calibrate(
    models: Sequence[PropensityModel], starts: Sequence[Sequence[StartReading]]
) -> Calibration:
    """Return spread and error of predictions at configurations that were not fitted.

    Args:
        models: One for each fold, without calibration.
        starts: What each of them has not seen.
    """
    ratios: list[list[float]] = [[] for _ in range(N_SPECIES)]
    rows = []
    for model, unseen in zip(models, starts, strict=True):
        for start in unseen:
            predicted = model.predict_reading(start.reading)
            rows.append((start, predicted))
            for species, ratio in enumerate(ratios):
                chosen = start.reading.types == species
                noise = sampling_noise(start.lengths[:, chosen], center_runs=True)
                spread = predicted.propensity[chosen].std()
                ratio.append(float(spread) / noise.corrected_standard_deviation)
    spread = np.array([1.0 / np.mean(r) for r in ratios])
    error = np.zeros(N_SPECIES)
    for species in range(N_SPECIES):
        squares = []
        for start, predicted in rows:
            chosen = start.reading.types == species
            runs = start.lengths[:, chosen] - start.lengths[:, chosen].mean(axis=1, keepdims=True)
            found = predicted.propensity[chosen] - predicted.propensity[chosen].mean()
            left = runs.mean(axis=0) - spread[species] * found
            noise = runs.var(axis=0, ddof=1).mean() / len(runs)
            known = (spread[species] * predicted.propensity_std[chosen]) ** 2
            squares.append((left**2).mean() - noise - known.mean())
        error[species] = np.sqrt(max(float(np.mean(squares)), 0.0))
    return Calibration(spread=spread, error=error)


def contact_pairs(reading: StructureReading, sample: PropensitySample) -> npt.NDArray[np.int64]:
    """Return the numbers of the A-A pairs that are closer than ``CONTACT`` in the thermal structure."""
    first, second = reading.pair_index
    vectors = sample.positions[second] - sample.positions[first]
    fractional = np.linalg.solve(sample.cell.T, vectors.T).T
    vectors = (fractional - np.rint(fractional)) @ sample.cell
    near = np.linalg.norm(vectors, axis=1) < CONTACT
    return np.flatnonzero(near & (sample.types[first] == 0) & (sample.types[second] == 0))


def _like(values: Sequence[float]) -> tuple[float, float]:
    """Return the range of some values, half as wide again on either side."""
    low, high = min(values), max(values)
    return low - 0.5 * (high - low), high + 0.5 * (high - low)


def _ridge_sample(
    reading: StructureReading, sample: PropensitySample, weight: float, n_levels: int
) -> RidgeSample:
    return RidgeSample(
        features=reading.levels(n_levels),
        configuration=reading.configuration,
        types=reading.types,
        propensity=sample.propensity,
        weight=weight,
        # Read backwards, a run keeps its total energy, while velocities of an ensemble are drawn anew: at the
        # ends, means follow the potential energy less than they do at starts.
        counts_for_mean=sample.n_runs > 1,
    )


def _network_sample(
    reading: StructureReading,
    sample: PropensitySample,
    changes: FloatArray,
    contacts: npt.NDArray[np.int64],
    number: int,
) -> NetworkSample:
    return NetworkSample(
        inputs=network_input(reading, temperature=sample.temperature),
        propensity=torch.as_tensor(sample.propensity, dtype=torch.float32),
        changes=torch.as_tensor(changes, dtype=torch.float32),
        contacts=torch.as_tensor(contacts),
        temperature=sample.temperature,
        n_runs=sample.n_runs,
        ensemble=number,
    )
