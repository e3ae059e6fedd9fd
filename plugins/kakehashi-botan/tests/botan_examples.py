"""Small structures and models for the tests of this package."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from ase import Atoms

from kakehashi_botan.invariant_form import InvariantNetwork, NetworkSettings
from kakehashi_botan.mixtures import cubic_box, kob_andersen
from kakehashi_botan.propensity_model import Calibration, PropensityModel
from kakehashi_botan.ridge_form import RidgePropensity
from kakehashi_botan.snapshots import Snapshot, snapshot
from kakehashi_botan.structure_features import InputKind, n_descriptors


@cache
def liquid(n: int = 420, seed: int = 0) -> Snapshot:
    """Return a disordered configuration near a minimum, with its inherent structure."""
    rng = np.random.default_rng(seed)
    cell = cubic_box(n, 1.2)
    types = (np.arange(n) % 5 == 0).astype(np.int64)
    quenched = snapshot(rng.random((n, 3)) @ cell, types, cell, kob_andersen())
    assert quenched.inherent_positions is not None
    positions = quenched.inherent_positions + rng.normal(0, 0.05, (n, 3))
    return snapshot(positions, types, cell, kob_andersen())


def liquid_atoms(n: int = 420, seed: int = 0) -> Atoms:
    """Return the same as ASE's atoms, Ar for A and Ne for B."""
    found = liquid(n, seed)
    symbols = np.where(found.types == 0, "Ar", "Ne")
    return Atoms(symbols, found.positions, cell=found.cell, pbc=True, masses=np.ones(n))


def random_network(kind: InputKind, *, seed: int = 0, **changes: object) -> InvariantNetwork:
    """Return a network of random weights, float64, with buffers of the right size for a liquid."""
    torch.manual_seed(seed)
    settings = NetworkSettings(
        **{
            "kind": kind,
            "n_descriptors": n_descriptors(kind, 2),
            "n_global": 2 if kind == "TS+IS" else 1,
            "width": 8,
            **changes,
        }  # type: ignore[arg-type]
    )
    network = InvariantNetwork(settings).double().eval()
    network.center += 3.0
    network.scale *= 3.0
    network.field_scale *= 0.1
    return network


def random_model(kind: InputKind, **changes: object) -> PropensityModel:
    """Return a model with two networks and a linear member."""
    rng = np.random.default_rng(5)
    shape = (2, 2 * n_descriptors(kind, 2))
    ridge = RidgePropensity(
        kind=kind,
        n_levels=2,
        center=np.zeros(shape),
        scale=np.ones(shape),
        weights=0.001 * rng.normal(size=shape),
        means=np.array([[0.5, *[0.1] * (2 if kind == "TS+IS" else 1)]] * 2),
        residual=np.ones(2),
    )
    networks = [random_network(kind, seed=seed, **changes).float() for seed in (1, 2)]
    return PropensityModel(
        kind=kind,
        ridge=ridge,
        networks=tuple(networks),
        ridge_share=0.5,
        calibration=Calibration(spread=np.array([1.5, 1.0]), error=np.array([0.03, 0.05])),
        time=4120.0,
        temperatures=(0.44,),
        energies=(-8.0, 0.0),
    )
