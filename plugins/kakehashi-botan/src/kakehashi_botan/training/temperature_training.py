"""Train ``t-botan``: one model for several temperatures, with a thermometer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_botan.displacements import displacement_lengths
from kakehashi_botan.invariant_form import InvariantNetwork, NetworkSettings
from kakehashi_botan.network_inputs import network_input
from kakehashi_botan.propensity_model import Calibration, PropensityModel
from kakehashi_botan.snapshots import Snapshot
from kakehashi_botan.structure_features import (
    InputKind,
    StructureReading,
    n_descriptors,
    read_structure,
)
from kakehashi_botan.training.field_statistics import (
    FieldStatistics,
    mean_statistics,
    pairs_by_distance,
    true_statistics,
)
from kakehashi_botan.training.network_training import (
    NetworkSample,
    TrainingSettings,
    train_network,
)
from kakehashi_botan.training.propensity_training import N_SPECIES, contact_pairs
from kakehashi_botan.training.quenched_ensembles import START, QuenchedEnsemble, pair_changes
from kakehashi_core.progress import progress_bar

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TemperatureSettings:
    """What is fitted.

    Attributes:
        kind: What the networks read.
        global_width: Numbers that a whole configuration carries.
        conditioned: Whether networks are told the temperature.
        lawful: Whether a relation between temperature and mean mobility is part of the loss.
        training: Of the networks.
    """

    kind: InputKind = "TS+IS"
    global_width: int = 8
    conditioned: bool = False
    lawful: bool = False
    training: TrainingSettings = field(
        default_factory=lambda: TrainingSettings(
            steps=2000, batch_size=4, n_pairs=3000, spread_weight=0.1, correlation_weight=0.1
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TemperatureStart:
    """The start of an ensemble as a model reads it, with the truth.

    Attributes:
        snapshot: The configuration.
        reading: What may be read of it.
        lengths: Displacement lengths, (n_runs, n_atoms), sigma_AA.
        temperature: epsilon_AA / k_B.
        changes: Mean bond changes, (n_pairs,), sigma_AA.
        contacts: Numbers of the A-A pairs close to contact.
    """

    snapshot: Snapshot
    reading: StructureReading
    lengths: FloatArray
    temperature: float
    changes: FloatArray
    contacts: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TemperatureSet:
    """All ensembles of all temperatures.

    Attributes:
        samples: For networks.
        starts: Start of each ensemble.
        identity: Of the data, JSON-able.
    """

    samples: Sequence[NetworkSample]
    starts: Sequence[TemperatureStart]
    identity: Mapping[str, Any]

    def ensembles(self, temperatures: Sequence[float]) -> list[int]:
        """Return the numbers of the ensembles at some temperatures."""
        return [k for k, s in enumerate(self.starts) if s.temperature in temperatures]


def temperature_set(ensembles: Sequence[QuenchedEnsemble], kind: InputKind) -> TemperatureSet:
    """Read all configurations of all ensembles, and what mobility looks like at each temperature."""
    samples, starts, raw = [], [], []
    digest = hashlib.sha256()
    n_configurations = sum(len(e.snapshots) for e in ensembles)
    with progress_bar(f"reading structures ({kind})", total=n_configurations) as advance:
        for number, ensemble in enumerate(ensembles):
            for run, found, sample in ensemble.samples():
                reading = read_structure(found, kind, n_species=N_SPECIES)
                changes, contacts = (
                    pair_changes(sample, reading.pair_index),
                    contact_pairs(reading, sample),
                )
                digest.update(sample.positions.tobytes() + sample.propensity.tobytes())
                pairs = pairs_by_distance(sample.positions, sample.types, sample.cell, seed=run + 1)
                raw.append(pairs)
                samples.append(
                    NetworkSample(
                        inputs=network_input(reading, temperature=sample.temperature),
                        propensity=torch.as_tensor(sample.propensity, dtype=torch.float32),
                        changes=torch.as_tensor(changes, dtype=torch.float32),
                        contacts=torch.as_tensor(contacts),
                        temperature=sample.temperature,
                        n_runs=sample.n_runs,
                        ensemble=number,
                    )
                )
                if run == START:
                    starts.append(
                        TemperatureStart(
                            snapshot=found,
                            reading=reading,
                            lengths=displacement_lengths(ensemble.data, ensemble.time_index),
                            temperature=sample.temperature,
                            changes=changes,
                            contacts=contacts,
                        )
                    )
                advance(1)
    targets = _statistics(starts)
    with_targets = [
        replace(
            s,
            statistics=FieldStatistics(
                variance=targets[s.temperature][0],
                correlation=torch.as_tensor(targets[s.temperature][1], dtype=torch.float32),
                pairs=torch.as_tensor(pairs),
                bins=torch.as_tensor(bins),
            ),
        )
        for s, (pairs, bins) in zip(samples, raw, strict=True)
    ]
    identity = {"kind": kind, "configurations": n_configurations, "sha256": digest.hexdigest()}
    return TemperatureSet(samples=with_targets, starts=starts, identity=identity)


def _statistics(starts: Sequence[TemperatureStart]) -> dict[float, tuple[float, FloatArray]]:
    """Return true variance and correlation at each temperature."""
    found: dict[float, list[tuple[float, FloatArray]]] = {}
    for start in starts:
        snap = start.snapshot
        pairs, bins = pairs_by_distance(snap.positions, snap.types, snap.cell, seed=0)
        found.setdefault(start.temperature, []).append(
            true_statistics(start.lengths, snap.types, pairs, bins)
        )
    return {temperature: mean_statistics(each) for temperature, each in found.items()}


def fit_temperature_model(
    data: TemperatureSet,
    chosen: Sequence[int],
    directory: Path,
    *,
    settings: TemperatureSettings,
    seeds: Sequence[int],
    device: str = "cpu",
    label: str = "",
) -> PropensityModel:
    """Fit networks to some of the ensembles.

    Args:
        data: All that is known.
        chosen: Numbers of the ensembles that may be looked at.
        directory: Run directories of the networks.
        settings: What is fitted.
        seeds: One for each network.
        device: Where networks are trained.
        label: For progress bars.
    """
    members = set(chosen)
    samples = [s for s in data.samples if s.ensemble in members]
    starts = [data.starts[k] for k in chosen]
    training = settings.training
    if settings.lawful:
        law = mobility_law([s for s in samples if s.n_runs > 1])
        training = replace(training, law=law, law_weight=training.law_weight or 0.1)
    shape = NetworkSettings(
        kind=settings.kind,
        n_descriptors=n_descriptors(settings.kind, N_SPECIES),
        n_global=len(starts[0].reading.configuration),
        global_width=settings.global_width,
        conditioned=settings.conditioned,
    )
    networks: list[InvariantNetwork] = [
        train_network(
            samples,
            shape,
            directory / f"network-seed{seed}",
            training=training,
            seed=seed,
            identity={**data.identity, "ensembles": list(chosen)},
            device=device,
            description=f"t-botan {label} seed {seed}",
        )
        for seed in seeds
    ]
    energies = [s.snapshot.thermal_energy for s in starts]
    margin = 0.1 * (max(energies) - min(energies))
    return PropensityModel(
        kind=settings.kind,
        ridge=None,
        networks=tuple(networks),
        ridge_share=0.0,
        calibration=Calibration.none(N_SPECIES),
        time=None,
        temperatures=tuple(sorted({s.temperature for s in starts})),
        energies=(min(energies) - margin, max(energies) + margin),
    )


def mobility_law(samples: Sequence[NetworkSample]) -> tuple[float, ...]:
    """Return the parabola through mean mobility of A against temperature; a line for two temperatures."""
    temperatures = np.array([s.temperature for s in samples])
    means = np.array([float(s.propensity[s.inputs.types == 0].mean()) for s in samples])
    degree = min(2, len(np.unique(temperatures)) - 1)
    coefficients = np.polynomial.Polynomial.fit(temperatures, means, degree).convert().coef
    return tuple(float(c) for c in coefficients)
