"""The linear models that networks have to beat, fitted to the starts of ensembles alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kakehashi_botan.propensity_model import Calibration, PropensityModel
from kakehashi_botan.ridge_form import RidgeMoments, RidgePropensity, RidgeSample
from kakehashi_botan.structure_features import InputKind, StructureReading
from kakehashi_botan.training.propensity_training import N_SPECIES, StartReading

FloatArray = npt.NDArray[np.float64]
N_LEVELS = 3
PENALTY = 100.0
RADII = np.arange(0.85, 1.75, 0.05)
RADIAL_WIDTH = 0.05


def ridge_baseline(starts: Sequence[StartReading], kind: InputKind) -> PropensityModel:
    """Return the ridge on descriptors and two averages of them, each configuration centered.

    Args:
        starts: Configurations that may be looked at.
        kind: What is read: 141 features, or 144 with the displacement of the quench.
    """
    moments = RidgeMoments.of(
        (
            RidgeSample(
                features=s.reading.levels(N_LEVELS),
                configuration=s.reading.configuration,
                types=s.reading.types,
                propensity=s.propensity,
            )
            for s in starts
        ),
        n_species=N_SPECIES,
    )
    ridge = RidgePropensity.fit(moments, kind=kind, n_levels=N_LEVELS, penalty=PENALTY)
    energies = [s.thermal_energy for s in starts]
    return PropensityModel(
        kind=kind,
        ridge=ridge,
        networks=(),
        ridge_share=1.0,
        calibration=Calibration.none(N_SPECIES),
        time=None,
        temperatures=(),
        energies=(min(energies), max(energies)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class BondBaseline:
    """Ridge on the distances of a pair and on what the node baseline says of its ends.

    Attributes:
        nodes: The node baseline.
        center: Mean of each feature, (n_features,).
        scale: Standard deviation, (n_features,).
        weights: (1 + n_features,).
    """

    nodes: PropensityModel
    center: FloatArray
    scale: FloatArray
    weights: FloatArray

    @classmethod
    def fit(cls, starts: Sequence[StartReading], nodes: PropensityModel) -> BondBaseline:
        """Fit to the A-A contacts of configurations."""
        rows = np.concatenate([_bond_features(s.reading, s.contacts, nodes) for s in starts])
        targets = np.concatenate([s.changes[s.contacts] for s in starts])
        center, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-12
        design = np.column_stack([np.ones(len(rows)), (rows - center) / scale])
        penalty = PENALTY * np.eye(design.shape[1])
        penalty[0, 0] = 0.0
        weights = np.linalg.solve(design.T @ design + penalty, design.T @ targets)
        return cls(nodes, center, scale, weights)

    def predict(self, start: StartReading) -> FloatArray:
        """Return the change of each contact, (n_contacts,), sigma_AA."""
        rows = (
            _bond_features(start.reading, start.contacts, self.nodes) - self.center
        ) / self.scale
        return np.asarray(self.weights[0] + rows @ self.weights[1:])


def _bond_features(
    reading: StructureReading, contacts: npt.NDArray[np.int64], nodes: PropensityModel
) -> FloatArray:
    mobility = nodes.predict_reading(reading).propensity
    first, second = reading.pair_index[:, contacts]
    lengths = reading.pair_lengths[contacts]
    radial = [np.exp(-0.5 * ((r[:, None] - RADII) / RADIAL_WIDTH) ** 2) for r in lengths.T]
    ends = mobility[first], mobility[second]
    return np.column_stack([lengths, *radial, ends[0] + ends[1], np.abs(ends[0] - ends[1])])
