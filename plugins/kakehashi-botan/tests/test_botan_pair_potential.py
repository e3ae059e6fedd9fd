"""Energies, forces and virial of mixtures, compiled and in torch."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from kakehashi_botan.mixtures import cubic_box, kob_andersen, ternary_kob_andersen
from kakehashi_botan.pair_potential import MixturePotential
from kakehashi_botan.torch_potential import TorchPotential

DATA = Path(__file__).parents[3] / ".." / "shared" / "data" / "botan"
ALL = np.array([True, True, True])
SHIFTS = ("none", "energy", "force")


def random_system(seed: int, pbc: np.ndarray, n: int = 9, length: float = 2.3):
    """Return a crowded system in a skewed cell that is shorter than the cutoff, partly outside it."""
    rng = np.random.default_rng(seed)
    cell = length * np.eye(3) + rng.normal(0.0, 0.25, (3, 3))
    fractional = rng.random((n, 3))
    # Away from each other, so that no pair dominates the sums.
    for _ in range(400):
        delta = fractional[:, None] - fractional[None]
        delta -= np.round(delta) * pbc
        vectors = delta @ cell
        distance = np.linalg.norm(vectors, axis=-1) + 10 * np.eye(n)
        push = np.where((distance < 0.9)[..., None], vectors / distance[..., None], 0.0).sum(1)
        fractional += 0.02 * push @ np.linalg.inv(cell)
    positions = (fractional + rng.integers(-3, 4, (n, 3)) * pbc) @ cell
    return positions, rng.integers(0, 2, n), cell, pbc


def summed(mixture, positions, types, cell, pbc):
    """Return energies by summing the closed form over all lattice images, no list and no cutoff logic."""
    images = [range(-4, 5) if periodic else (0,) for periodic in pbc]
    energies = np.zeros(len(types))
    for image in itertools.product(*images):
        shift = np.array(image) @ cell
        for i, j in itertools.product(range(len(types)), repeat=2):
            if i == j and not any(image):
                continue
            delta = positions[j] - positions[i]
            delta = delta - np.floor(delta @ np.linalg.inv(cell)) * pbc @ cell + shift
            energies[i] += 0.5 * float(
                mixture.pair_energy(np.linalg.norm(delta), types[i], types[j])
            )
    return energies


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize(
    "pbc", [(True, True, True), (True, True, False), (True, False, True), (False, False, False)]
)
def test_energies_against_a_plain_sum_over_images(shift, pbc):
    """Oracle: the closed form summed over 729 images of a skewed cell smaller than the cutoff."""
    mixture = kob_andersen(shift=shift)
    system = random_system(3, np.array(pbc))
    expected = summed(mixture, *system)
    assert np.abs(expected).max() > 0.1
    for potential in (MixturePotential(mixture), TorchPotential(mixture, device="cpu")):
        energies = potential.evaluate(*system).energies
        assert energies == pytest.approx(expected, rel=1e-11, abs=1e-11 * np.abs(expected).max())


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("kind", [MixturePotential, lambda m: TorchPotential(m, device="cpu")])
def test_forces_and_virial_by_differences(kind, shift):
    """Oracle: central differences of the energy by positions and by strain, with fourth-order steps."""
    potential = kind(kob_andersen(shift=shift))
    positions, types, cell, pbc = random_system(5, ALL, n=8)
    sums = potential.evaluate(positions, types, cell, pbc)
    assert np.abs(sums.forces).max() > 1.0

    def fourth_order(energy, h=2e-4):
        return (8 * (energy(h) - energy(-h)) - (energy(2 * h) - energy(-2 * h))) / (12 * h)

    for atom, axis in ((0, 0), (3, 1), (7, 2)):
        unit = np.zeros_like(positions)
        unit[atom, axis] = 1.0
        slope = fourth_order(
            lambda s, unit=unit: potential.evaluate(positions + s * unit, types, cell, pbc).energy
        )
        assert sums.forces[atom, axis] == pytest.approx(-slope, rel=1e-7, abs=1e-7)
    for k, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        strain = np.zeros((3, 3))
        strain[a, b] += 0.5
        strain[b, a] += 0.5

        def strained(s, strain=strain):
            frame = np.eye(3) + s * strain
            return potential.evaluate(positions @ frame, types, cell @ frame, pbc).energy

        assert sums.virial[k] == pytest.approx(fourth_order(strained), rel=1e-6, abs=1e-5)


def test_dimer_in_the_open():
    """Oracle: the closed form, -v'(r) along the axis."""
    mixture = kob_andersen(shift="force")
    r, h = 1.3, 1e-5
    positions = np.array([[0.0, 0.0, 0.0], [0.0, r, 0.0]])
    open_space = ~ALL
    sums = MixturePotential(mixture).evaluate(
        positions, np.array([0, 1]), np.zeros((3, 3)), open_space
    )
    slope = (mixture.pair_energy(r + h, 0, 1) - mixture.pair_energy(r - h, 0, 1)) / (2 * h)
    assert sums.energy == pytest.approx(float(mixture.pair_energy(r, 0, 1)), rel=1e-13)
    assert sums.forces[1, 1] == pytest.approx(-slope, rel=1e-8)
    assert sums.forces[0, 1] == -sums.forces[1, 1]
    assert sums.virial[1] == pytest.approx(slope * r, rel=1e-8)


def test_one_particle_and_far_apart_particles():
    potential = MixturePotential(kob_andersen())
    alone = potential.evaluate(np.zeros((1, 3)), np.array([0]), np.zeros((3, 3)), ~ALL)
    assert alone.energy == 0.0
    assert not alone.forces.any()
    far = np.array([[0.0, 0.0, 0.0], [1e6, 0.0, 0.0], [1e6 + 1.1, 0.0, 0.0]])
    sums = potential.evaluate(far, np.zeros(3, dtype=np.int64), np.zeros((3, 3)), ~ALL)
    assert sums.energy == pytest.approx(float(kob_andersen().pair_energy(1.1)), rel=1e-9)


def test_a_kept_list_gives_what_a_new_one_gives():
    """Oracle: a fresh list. Control: small moves keep the list, larger ones rebuild it."""
    mixture = kob_andersen()
    rng = np.random.default_rng(0)
    cell = cubic_box(100, 1.2)
    positions, types = rng.random((100, 3)) @ cell, rng.integers(0, 2, 100)
    kept = MixturePotential(mixture, skin=0.4)
    for scale in (0.0, 0.01, 0.05, 0.09, 0.3, 2.0):
        moved = positions + scale * rng.uniform(-1, 1, positions.shape)
        fresh = MixturePotential(mixture, skin=0.0).evaluate(moved, types, cell, ALL)
        assert kept.evaluate(moved, types, cell, ALL).energies == pytest.approx(
            fresh.energies, rel=1e-10
        )
        assert (kept.n_builds == 1) == (scale < 0.1)
    before = kept.n_builds
    kept.evaluate(moved, 1 - types, cell, ALL)
    kept.evaluate(moved, 1 - types, 1.01 * cell, ALL)
    assert kept.n_builds == before + 2


def test_batch_of_different_systems_is_each_alone():
    """Oracle: single evaluations, among them one particle without any pair."""
    potential = TorchPotential(ternary_kob_andersen(), device="cpu")
    first, second = random_system(1, ALL), random_system(2, np.array([True, True, False]), n=5)
    lonely = (np.zeros((1, 3)), np.array([2]), np.zeros((3, 3)), ~ALL)
    together = potential.evaluate_batch([first, lonely, second])
    for sums, system in zip(together, (first, lonely, second), strict=True):
        alone = TorchPotential(ternary_kob_andersen(), device="cpu").evaluate(*system)
        assert sums.energies == pytest.approx(alone.energies, rel=1e-12)
        assert sums.forces == pytest.approx(alone.forces, rel=1e-10, abs=1e-10)
        assert sums.virial == pytest.approx(alone.virial, rel=1e-10, abs=1e-10)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_batch_on_a_gpu():
    """Oracle: the compiled kernel on the CPU, system by system."""
    systems = [random_system(seed, ALL) for seed in (1, 2, 3)]
    there = TorchPotential(kob_andersen(), device="cuda").evaluate_batch(systems)
    for sums, system in zip(there, systems, strict=True):
        here = MixturePotential(kob_andersen()).evaluate(*system)
        assert sums.energies == pytest.approx(here.energies, rel=1e-10)
        assert sums.forces == pytest.approx(here.forces, rel=1e-9, abs=1e-9)


@pytest.mark.skipif(not DATA.exists(), reason="the public configurations are not on this machine")
@pytest.mark.parametrize(
    ("shift", "energy", "pressure"),
    [("none", -7.625486, 2.7553), ("energy", -7.0567766434, 2.7553), ("force", -6.23307, 3.7851)],
)
def test_public_configuration(shift, energy, pressure):
    """Oracle: an independent evaluation of configuration 401 (pressure with its ideal part at T = 0.44)."""
    with np.load(DATA / "isoconfig_N4096T0.44_401_tc07.npz", allow_pickle=False) as file:
        positions, types = file["initial_positions"], file["types"].astype(np.int64)
    cell = cubic_box(4096, 1.2)
    sums = MixturePotential(kob_andersen(shift=shift)).evaluate(positions, types, cell, ALL)
    digits = 1e-10 if shift == "energy" else 1e-6
    assert sums.energy / 4096 == pytest.approx(energy, abs=digits)
    assert 1.2 * 0.44 - sums.virial[:3].mean() / np.linalg.det(cell) == pytest.approx(
        pressure, abs=1e-4
    )
    assert np.abs(sums.forces.sum(axis=0)).max() < 1e-11
    if shift != "force":
        assert sums.forces[0] == pytest.approx((-4.06463954, -4.03074999, -23.3051582), abs=1e-7)
        stress = sums.virial / np.linalg.det(cell)
        expected = (-2.20296, -2.18263, -2.29638, 0.08952, 0.01788, -0.03830)
        assert stress == pytest.approx(expected, abs=1e-5)
