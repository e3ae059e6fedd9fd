"""From files of ensembles to models: quenches that are kept, folds that leak nothing, calibration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from botan_examples import liquid

from kakehashi_botan.configuration_files import read_isoconfigurational, write_isoconfigurational
from kakehashi_botan.isoconfigurational_data import IsoconfigurationalData
from kakehashi_botan.propensity_model import load_model
from kakehashi_botan.training.command import train_botan
from kakehashi_botan.training.quenched_ensembles import (
    START,
    QuenchedEnsemble,
    pair_changes,
    quenched_ensembles,
)
from kakehashi_core.errors import InvalidInputError, KakehashiError

pytest.importorskip("lightning_fabric", reason="training needs kakehashi-botan[train]")

from kakehashi_botan.training.cross_validation import cross_validate, folds_of_two, scores
from kakehashi_botan.training.linear_baselines import BondBaseline, ridge_baseline
from kakehashi_botan.training.network_training import TrainingSettings
from kakehashi_botan.training.propensity_training import (
    PropensitySettings,
    calibrate,
    fit_model,
    training_set,
)
from kakehashi_botan.training.training_conditions import common_conditions

SETTINGS = PropensitySettings(
    n_levels=2, penalty=1.0, training=TrainingSettings(steps=3, n_pairs=100)
)


def ensemble(seed: int, *, stretch: float = 1.0) -> IsoconfigurationalData:
    """Return made-up runs: crowded particles move less, all of them differently in each run."""
    found = liquid(420, seed)
    rng = np.random.default_rng(100 + seed)
    energies = found.energies - found.energies.mean()
    reach = 0.3 * stretch * np.exp(0.05 * energies)
    directions = rng.normal(size=(4, 420, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    lengths = reach * (1.0 + 0.1 * rng.normal(size=(4, 420)))
    return IsoconfigurationalData(
        types=found.types,
        initial_positions=found.positions,
        positions=(found.positions + directions * lengths[..., None])[None],
        cell=found.cell,
        pbc=np.ones(3, dtype=bool),
        times=np.array([1.0]),
        temperature=0.44,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("ensembles")
    for seed in range(4):
        name = f"isoconfig_N420T0.44_{seed + 1}_tc07.npz"
        write_isoconfigurational(path / name, ensemble(seed))
    return path


def paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("isoconfig*.npz"))


@pytest.fixture(scope="module")
def data(folder):
    ensembles = quenched_ensembles(paths(folder), folder / "quenches", n_ends=1)
    return training_set(ensembles, "TS+IS", SETTINGS)


def test_quenches_are_made_once(folder, monkeypatch):
    """Oracle: the same bits from the folder, with a minimizer that would fail."""
    first = quenched_ensembles(paths(folder)[:1], folder / "quenches", n_ends=1)

    def fail(*_, **__):
        raise AssertionError("quenched again")

    monkeypatch.setattr("kakehashi_botan.training.quenched_ensembles.snapshot", fail)
    again = quenched_ensembles(paths(folder)[:1], folder / "quenches", n_ends=1)
    assert list(again[0].snapshots) == [START, 0]
    for run, found in first[0].snapshots.items():
        assert np.array_equal(again[0].snapshots[run].inherent_positions, found.inherent_positions)


def test_ensembles_that_do_not_belong_together_are_refused(folder, tmp_path):
    """Oracle: the first file is fine with itself; the second differs in one thing at a time."""
    (first,) = paths(folder)[:1]
    plain = read_isoconfigurational(first)
    cell = 1.1 * plain.cell
    swapped = np.where(np.arange(plain.n_atoms) < 40, 1, plain.types)
    cases = {
        "temperature": replace(plain, temperature=0.5),
        "time": replace(plain, times=2.0 * plain.times),
        "density": replace(plain, cell=cell),
        "share of B": replace(plain, types=swapped),
        "species": replace(plain, types=np.zeros(plain.n_atoms, dtype=int)),
    }
    for label, other in cases.items():
        odd = tmp_path / f"{label}.npz"
        write_isoconfigurational(odd, other)
        ensembles = [
            QuenchedEnsemble(path=path, time_index=-1, snapshots={}) for path in (first, odd)
        ]
        with pytest.raises(InvalidInputError, match=f"{label}.npz h.*{label}"):
            common_conditions(ensembles)
    found = common_conditions([QuenchedEnsemble(path=first, time_index=-1, snapshots={})])
    assert not found.public
    assert f"T = 0.44, {plain.n_runs} runs" in found.describe()
    assert first.name in found.describe()


def test_bond_changes_of_starts_and_ends(folder):
    """Oracle: distances by hand; from the end, the change has the other sign."""
    found = quenched_ensembles(paths(folder)[:1], folder / "quenches", n_ends=1)[0]
    (_, _, start), (_, _, end) = found.samples()
    pair = np.array([[0], [1]])
    box = start.cell[0, 0]

    def distance(x):
        delta = x[1] - x[0]
        return np.linalg.norm(delta - box * np.round(delta / box))

    before = distance(start.positions)
    expected = np.mean([distance(x) - before for x in start.displaced])
    assert pair_changes(start, pair)[0] == pytest.approx(expected)
    assert pair_changes(end, pair)[0] == pytest.approx(before - distance(end.positions))


def test_no_fold_sees_its_own_ensembles(data, tmp_path):
    """Oracle: other targets of an ensemble change every model but that of its own fold."""
    assert folds_of_two(5) == [(0, 1), (2, 3), (4,)]
    first = cross_validate(data, tmp_path / "first", settings=SETTINGS, seeds=[])
    # The first two ensembles move differently.
    moved = [
        replace(start, lengths=start.lengths * np.linspace(1, 5, 420)) if k < 2 else start
        for k, start in enumerate(data.starts)
    ]
    strange = [
        ridge_moments if k >= 2 else data.moments[3] for k, ridge_moments in enumerate(data.moments)
    ]
    second = cross_validate(
        replace(data, starts=moved, moments=strange), tmp_path / "b", settings=SETTINGS, seeds=[]
    )
    same = [
        np.array_equal(a.ridge.weights, b.ridge.weights)
        for a, b in zip(first.models, second.models, strict=True)
    ]
    assert same == [True, False]


def test_networks_learn_from_chosen_ensembles_only(data, tmp_path, monkeypatch):
    seen = []

    def remember(samples, *arguments, **options):
        seen.append({s.ensemble for s in samples})
        raise KeyboardInterrupt

    monkeypatch.setattr("kakehashi_botan.training.propensity_training.train_network", remember)
    with pytest.raises(KeyboardInterrupt):
        fit_model(data, [1, 3], tmp_path, settings=SETTINGS, seeds=[1])
    assert seen == [{1, 3}]


def test_a_network_stops_early_and_returns_to_its_best(data, tmp_path):
    """Oracle: the best of all validations, of a validation that only gets worse."""
    from kakehashi_botan.training import network_training, propensity_training

    count = []

    def worse(starts):
        assert [s is data.starts[3] for s in starts] == [True]
        return lambda _: count.append(1) or {"loss": float(len(count))}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network_training, "VALIDATE_EVERY", 1)
        patch.setattr(propensity_training, "_validation", worse)
        long = replace(SETTINGS, training=replace(SETTINGS.training, steps=50))
        fit_model(data, [0, 1], tmp_path, settings=long, seeds=[1], held_out=[3], patience=2)
    assert len(count) == 3
    honest = propensity_training._validation(data.starts[:1])
    network = fit_model(data, [0, 1], tmp_path / "b", settings=SETTINGS, seeds=[1]).networks[0]
    assert 0.0 < honest(network)["loss"] < 2.0


def test_calibration_restores_the_spread(data, tmp_path):
    """Oracle: a model whose field is scaled down is scaled up again."""
    model = fit_model(data, range(4), tmp_path, settings=SETTINGS, seeds=[])
    plain = calibrate([model], [data.starts])
    small = replace(model, ridge=replace(model.ridge, weights=0.5 * model.ridge.weights))
    assert calibrate([small], [data.starts]).spread == pytest.approx(2.0 * plain.spread)
    calibrated = replace(model, calibration=plain)
    found = scores([(s, calibrated.predict_reading(s.reading)) for s in data.starts])
    assert found.spread.mean() == pytest.approx(1.0, abs=1e-6)
    assert found.mobility.mean > 0.3
    assert found.bonds is None
    assert found.mean_error_rms < 0.05


def test_linear_baselines(data):
    nodes = ridge_baseline(data.starts[:3], "TS+IS")
    assert nodes.ridge.weights.shape == (2, 144)
    bonds = BondBaseline.fit(data.starts[:3], nodes)
    assert bonds.predict(data.starts[3]).shape == data.starts[3].contacts.shape


@pytest.mark.thorough
def test_the_command_trains_and_writes_a_model(folder, tmp_path, monkeypatch):
    """Oracle: the file predicts; the test configurations are never opened."""
    import kakehashi_botan.training.botan_training as stages
    import kakehashi_botan.training.command as command

    monkeypatch.setattr(stages, "N_NETWORKS", 1)
    original = stages.quenched_ensembles
    monkeypatch.setattr(
        stages,
        "quenched_ensembles",
        lambda p, d, **options: original(p, d, **{**options, "n_ends": 0}),
    )
    monkeypatch.setattr(command, "PropensitySettings", lambda: SETTINGS)
    (folder / "isoconfig_N420T0.44_401_tc07.npz").write_bytes(b"never read")
    output = tmp_path / "model.safetensors"
    found = train_botan(
        "botan-ts", trajectories=folder, data=tmp_path / "runs", output=output, steps=2
    )
    assert found == 0
    model = load_model(output)
    assert (model.time, model.temperatures) == (1.0, (0.44,))
    assert "N = 420, T = 0.44, 4 runs, t = 1 tau_LJ" in model.card.training_data
    assert model.kind == "TS"
    assert model.card.metrics["predicted over true spread"] > 0
    assert model.predict(liquid()).propensity.shape == (420,)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("botan", {}, "model to train"),
        ("botan-ts", {}, "--trajectories"),
        ("botan-ts", {"trajectories": Path("/nowhere")}, "no folder"),
        ("botan-ts", {"output": Path("weights.pth")}, "must end in .safetensors"),
        ("t-botan", {"trajectories": Path("/nowhere")}, "changes nothing"),
    ],
)
def test_commands_that_cannot_be(name, options, message):
    with pytest.raises(KakehashiError, match=message):
        train_botan(name, **options)
