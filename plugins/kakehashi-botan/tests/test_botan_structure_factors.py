"""S4(q) against direct sums, limits, and the expectation over many runs."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from kakehashi_botan.isoconfigurational_data import IsoconfigurationalData
from kakehashi_botan.structure_factors import (
    StructureFactor,
    average_structure_factors,
    four_point_structure_factor,
    ornstein_zernike,
    structure_factor,
    wave_vectors,
)
from kakehashi_core.errors import ConvergenceError, InvalidInputError

BULK, FLAT = (True, True, True), (True, True, False)
CUBE = np.eye(3) * 5.0
CELLS = {
    "cube": (CUBE, BULK),
    "box": (np.diag([4.0, 5.0, 7.0]), BULK),
    "skewed": (np.array([[4.0, 0.0, 0.0], [1.9, 4.0, 0.0], [-1.7, 1.9, 4.5]]), BULK),
    "very skewed": (np.array([[4.0, 0.0, 0.0], [7.5, 3.0, 0.0], [3.0, -5.0, 4.5]]), BULK),
    "plane": (np.array([[4.0, 0.0, 0.0], [1.9, 4.0, 0.0], [0.0, 0.0, 0.0]]), FLAT),
}


def all_vectors(cell: Any, pbc: Any, limit: float) -> dict[tuple[int, ...], float]:
    """Every integer triple in a generous cube with its |q|, both signs, from the dual basis."""
    box = cell + np.diag([0.0, 0.0, 0.0 if pbc[2] else 1.0])
    a, b, c = box
    volume = a @ np.cross(b, c)
    dual = 2 * np.pi / volume * np.array([np.cross(b, c), np.cross(c, a), np.cross(a, b)])
    n_max = 12
    found = {}
    for n in product(range(-n_max, n_max + 1), repeat=3):
        if n != (0, 0, 0) and (pbc[2] or n[2] == 0):
            length = float(np.linalg.norm(np.array(n) @ dual))
            if length <= limit:
                found[n] = length
    return found


@pytest.mark.parametrize("kind", CELLS)
def test_wave_vectors_are_half_of_the_reciprocal_lattice(kind: str) -> None:
    """Oracle: the dual basis by cross products, over a cube of integers."""
    cell, pbc = CELLS[kind]
    integers, vectors = wave_vectors(cell, pbc, max_wavenumber=4.0)
    expected = all_vectors(cell, pbc, 4.0)
    found = [tuple(int(v) for v in n) for n in integers]
    both = set(found) | {tuple(-v for v in n) for n in found}
    assert both == set(expected)
    assert 2 * len(found) == len(expected)
    np.testing.assert_allclose(
        np.linalg.norm(vectors, axis=1), [expected[n] for n in found], rtol=1e-12
    )
    assert (np.diff(np.linalg.norm(vectors, axis=1)) > -1e-12).all()


def test_wave_vectors_of_a_plane_stay_in_it() -> None:
    cell, pbc = CELLS["plane"]
    integers, vectors = wave_vectors(cell, pbc, max_wavenumber=15.0)
    assert not integers[:, 2].any()
    assert not vectors[:, 2].any()


def direct(starts: Any, values: Any, q: Any) -> float:
    """|sum_i (p_i - mean) exp(i q.r_i)|^2 / N by a loop."""
    total = 0j
    for r, p in zip(starts, values - values.mean(), strict=True):
        total += p * np.exp(1j * (q @ r))
    return abs(total) ** 2 / len(values)


@pytest.mark.parametrize("kind", CELLS)
def test_plain_form_is_the_direct_sum_over_shells(kind: str) -> None:
    """Oracle: loops over particles and over all wave vectors with both signs."""
    cell, pbc = CELLS[kind]
    rng = np.random.default_rng(1)
    starts, values = rng.random((9, 3)) @ cell, rng.random(9)
    box = cell + np.diag([0.0, 0.0, 0.0 if pbc[2] else 1.0])
    shells: dict[float, list[float]] = {}
    for n, length in all_vectors(cell, pbc, 3.0).items():
        q = 2 * np.pi * np.linalg.inv(box) @ np.array(n)
        shells.setdefault(round(length, 6), []).append(direct(starts, values, q))
    found = structure_factor(starts, values, cell, pbc=pbc, max_wavenumber=3.0)
    np.testing.assert_allclose(found.wavenumbers, sorted(shells), atol=1e-6)
    np.testing.assert_allclose(
        found.values, [np.mean(shells[k]) for k in sorted(shells)], rtol=1e-10
    )
    assert found.n_modes.tolist() == [len(shells[k]) // 2 for k in sorted(shells)]


def test_shells_of_a_cube_are_those_of_squared_integers() -> None:
    """Oracle: |n|^2 = 1, 2, 3, 4, 5, 6, 8, 9 with 6, 12, 8, 6, 24, 24, 12, 30 vectors.

    Shell 9 holds (3, 0, 0) and (2, 2, 1).
    """
    values = np.random.default_rng(0).random(4)
    starts = np.random.default_rng(1).random((4, 3)) * 5
    limit = 2 * np.pi / 5.0 * 3.0
    found = structure_factor(starts, values, CUBE, max_wavenumber=limit)
    assert found.n_modes.tolist() == [3, 6, 4, 3, 12, 12, 6, 15]
    np.testing.assert_allclose(
        (found.wavenumbers * 5.0 / (2 * np.pi)) ** 2, [1, 2, 3, 4, 5, 6, 8, 9]
    )


def test_bins_average_over_modes() -> None:
    """Oracle: the shells of the cube, weighted by their numbers of modes; the first edge excludes |n| = 1."""
    rng = np.random.default_rng(4)
    starts, values = rng.random((6, 3)) * 5, rng.random(6)
    unit = 2 * np.pi / 5.0
    shells = structure_factor(starts, values, CUBE, max_wavenumber=2.0 * unit)
    bins = structure_factor(
        starts, values, CUBE, bin_edges=[1.1 * unit, 1.8 * unit, 1.9 * unit, 2.1 * unit]
    )
    assert bins.n_modes.tolist() == [10, 3]  # the empty bin is left out
    assert bins.values[0] == pytest.approx((6 * shells.values[1] + 4 * shells.values[2]) / 10)
    assert bins.values[1] == pytest.approx(shells.values[3])


def test_independent_particles_give_the_variance() -> None:
    """Oracle: the limit of large q, S4 = var(p), within 5 standard errors over 2000 modes."""
    rng = np.random.default_rng(6)
    starts, values = rng.random((400, 3)) * 5, rng.random(400)
    found = structure_factor(starts, values, CUBE, bin_edges=[8.0, 14.0])
    n_modes = found.n_modes[0]
    assert n_modes > 2000
    assert found.values[0] == pytest.approx(values.var(), rel=5 / n_modes**0.5)


def test_a_plane_wave_of_mobility_is_found_in_its_shell() -> None:
    """Oracle: p = cos(q.r) on a lattice gives N/4 in modes +-q, zero elsewhere."""
    grid = np.stack(np.meshgrid(*[np.arange(10) / 2.0] * 3, indexing="ij"), -1).reshape(-1, 3)
    values = np.cos(2 * np.pi / 5.0 * (grid[:, 0] + grid[:, 1]))
    found = structure_factor(grid, values, CUBE, max_wavenumber=2.5)
    assert found.values[1] == pytest.approx(len(grid) / 4 / 6)  # 1 of 6 modes of |n|^2 = 2
    assert np.delete(found.values, 1).max() < 1e-20


@pytest.mark.parametrize("mean", [None, 0.4])
def test_cross_run_form_is_the_sum_over_pairs_of_runs(mean: float | None) -> None:
    """Oracle: a double loop over runs."""
    rng = np.random.default_rng(7)
    starts, lengths = rng.random((7, 3)) * 5, rng.random((4, 7))
    found = structure_factor(
        starts, lengths, CUBE, estimator="unbiased", mean=mean, max_wavenumber=1.3
    )
    expected = []
    for q in np.eye(3) * 2 * np.pi / 5.0:
        phases = np.exp(1j * starts @ q)
        waves = [((d - (d.mean() if mean is None else mean)) * phases).sum() for d in lengths]
        pairs = [(waves[k] * np.conj(waves[m])).real for k in range(4) for m in range(4) if k != m]
        expected.append(np.mean(pairs) / 7)
    assert found.values[0] == pytest.approx(np.mean(expected), rel=1e-10)


@pytest.mark.parametrize("kind", ["cube", "skewed", "plane"])
def test_cross_run_form_is_unbiased_and_the_plain_one_is_not(kind: str) -> None:
    """Oracle: S4 of the true propensities; |z| < 4 over 4000 ensembles of three noisy runs.

    The noise has a part that all particles of a run share, which a common mean of all runs would not remove.
    """
    cell, pbc = CELLS[kind]
    rng = np.random.default_rng(9)
    n_atoms, n_runs, n_samples = 12, 3, 4000
    starts, truth = rng.random((n_atoms, 3)) @ cell, 0.5 + 0.3 * rng.random(n_atoms)
    options: dict[str, Any] = {"pbc": pbc, "max_wavenumber": 2.2}
    expected = structure_factor(starts, truth, cell, **options).values
    cross, plain = [], []
    for _ in range(n_samples):
        noise = 0.3 * rng.standard_normal((n_runs, n_atoms))
        runs = truth + noise + 0.3 * rng.standard_normal((n_runs, 1))
        cross.append(structure_factor(starts, runs, cell, estimator="unbiased", **options).values)
        plain.append(structure_factor(starts, runs, cell, **options).values)
    error = np.std(cross, axis=0) / n_samples**0.5
    assert (np.abs(np.mean(cross, axis=0) - expected) < 4 * error).all()
    assert (np.mean(plain, axis=0) - expected > 4 * error).all()


def test_data_are_reduced_to_the_species_and_their_starts() -> None:
    rng = np.random.default_rng(10)
    starts = rng.random((6, 3)) * 5
    data = IsoconfigurationalData(
        types=np.array([0, 1, 0, 0, 1, 0]),
        initial_positions=starts,
        positions=starts + 0.4 * rng.standard_normal((2, 3, 6, 3)),
        cell=CUBE,
        pbc=BULK,
        times=[1.0, 2.0],
        temperature=1.0,
    )
    chosen = data.types == 0
    lengths = np.linalg.norm(data.positions[1] - starts, axis=-1)[:, chosen]
    expected = structure_factor(starts[chosen], lengths, CUBE, estimator="unbiased")
    found = four_point_structure_factor(data, 1)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-12)


def test_average_over_configurations() -> None:
    """Oracle: mean and standard error of two numbers; unequal boxes are refused."""
    one, two = (
        StructureFactor(wavenumbers=np.array([1.0]), values=np.array([v]), n_modes=np.array([3]))
        for v in (2.0, 4.0)
    )
    both = average_structure_factors([one, two])
    assert both.values[0] == 3.0
    assert both.errors is not None
    assert both.errors[0] == pytest.approx(1.0)
    assert both.n_configurations == 2
    assert average_structure_factors([one]).errors is None
    other = StructureFactor(
        wavenumbers=np.array([1.1]), values=np.array([1.0]), n_modes=np.array([3])
    )
    with pytest.raises(InvalidInputError, match="shells differ"):
        average_structure_factors([one, other])
    with pytest.raises(InvalidInputError, match="no structure factor"):
        average_structure_factors([])


def curve(values: Any) -> StructureFactor:
    q = np.linspace(0.2, 2.0, len(values))
    return StructureFactor(
        wavenumbers=q, values=np.asarray(values), n_modes=np.arange(3, 3 + len(values))
    )


@pytest.mark.parametrize(("amplitude", "length"), [(5.0, 2.0), (100.0, 10.0), (1.0, 0.5)])
def test_exact_ornstein_zernike_curves_are_recovered(amplitude: float, length: float) -> None:
    """Oracle: the closed form itself."""
    q = np.linspace(0.2, 2.0, 12)
    fit = ornstein_zernike(curve(amplitude / (1 + (q * length) ** 2)))
    assert fit.amplitude == pytest.approx(amplitude, rel=1e-6)
    assert fit.correlation_length == pytest.approx(length, rel=1e-6)


def test_errors_of_the_fit_are_those_of_repeated_noise() -> None:
    """Oracle: spread of the pulls over 200 noisy curves, between 0.65 and 1.45."""
    q, rng = np.linspace(0.2, 2.0, 12), np.random.default_rng(0)
    truth, n_modes = 5.0 / (1 + (2.0 * q) ** 2), np.arange(3, 15)
    fits = [
        ornstein_zernike(curve(truth * (1 + 0.2 * rng.standard_normal(12) / n_modes**0.5)))
        for _ in range(200)
    ]
    pulls = [(f.correlation_length - 2.0) / f.correlation_length_error for f in fits]
    assert 0.65 < np.std(pulls) < 1.45
    pulls = [(f.amplitude - 5.0) / f.amplitude_error for f in fits]
    assert 0.65 < np.std(pulls) < 1.45


def test_fit_takes_the_shells_below_a_limit() -> None:
    """Oracle: shells beyond the limit are spoiled on purpose."""
    q = np.linspace(0.2, 2.0, 12)
    values = np.where(q < 1.0, 5.0 / (1 + (2.0 * q) ** 2), 7.0)
    assert ornstein_zernike(curve(values), max_wavenumber=1.0).amplitude == pytest.approx(5.0)
    with pytest.raises(InvalidInputError, match="2 shells"):
        ornstein_zernike(curve(values), max_wavenumber=0.4)


def test_a_power_law_has_no_correlation_length() -> None:
    with pytest.raises(ConvergenceError, match=r"falls at least as fast as 1/q\^2"):
        ornstein_zernike(curve(np.linspace(0.2, 2.0, 12) ** -3.0))


def test_wrong_input_is_refused() -> None:
    starts, values = np.zeros((4, 3)), np.arange(4.0)
    with pytest.raises(InvalidInputError, match="at least two runs"):
        structure_factor(starts, values, CUBE, estimator="unbiased")
    with pytest.raises(InvalidInputError, match="do not fit"):
        structure_factor(starts, values[:3], CUBE)
    with pytest.raises(InvalidInputError, match="estimator is 'best'"):
        structure_factor(starts, values, CUBE, estimator="best")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"no wave vector.*Raise max_wavenumber"):
        structure_factor(starts, values, CUBE, max_wavenumber=0.5)
    with pytest.raises(InvalidInputError, match="bin edges are"):
        structure_factor(starts, values, CUBE, bin_edges=[2.0, 1.0])
    with pytest.raises(InvalidInputError, match="no wave vector of this box lies in the bins"):
        structure_factor(starts, values, CUBE, bin_edges=[1.3, 1.4])
