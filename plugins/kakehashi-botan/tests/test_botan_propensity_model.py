"""The model: how members make a prediction, and what its files may hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from botan_examples import liquid, random_model

from kakehashi_botan.propensity_model import Calibration, load_model, save_model
from kakehashi_botan.structure_features import read_structure
from kakehashi_core.errors import CheckpointError, InvalidInputError
from kakehashi_core.model_card import ModelCard


def by_species(values, types):
    result = values.copy()
    for species in (0, 1):
        result[types == species] -= result[types == species].mean()
    return result


def test_members_make_a_prediction():
    """Oracle: the formula, from models that have one member each."""
    model, found = random_model("TS"), liquid()
    predicted = model.predict(found)
    types, reading = found.types, read_structure(found, "TS", n_species=2)
    plain = Calibration.none(2)
    linear = replace(model, networks=(), calibration=plain).predict(found)
    ridge = by_species(model.ridge.field(reading.levels(2), types), types)
    assert by_species(linear.propensity, types) == pytest.approx(ridge, abs=1e-12)
    assert linear.bond_change.shape == (0,)
    half = [
        by_species(
            replace(model, networks=(network,), calibration=plain).predict(found).propensity, types
        )
        for network in model.networks
    ]
    networks = [2.0 * h - ridge for h in half]
    field = 0.5 * ridge + 0.25 * (networks[0] + networks[1])
    spread = model.calibration.spread[types]
    mean = (model.ridge.means[:, 0] + model.ridge.means[:, 1] * reading.configuration[0])[types]
    assert predicted.propensity == pytest.approx(mean + spread * field, abs=1e-6)
    variance = spread**2 * np.var([*networks, ridge], axis=0, ddof=1)
    expected = np.sqrt(model.calibration.error[types] ** 2 + variance)
    assert predicted.propensity_std == pytest.approx(expected, rel=1e-4)
    assert predicted.bond_index.shape == (2, len(predicted.bond_change))
    assert predicted.temperature is None


def test_a_global_head_gives_means_and_temperature():
    """Oracle: what the networks themselves say."""
    model = replace(random_model("TS+IS", global_width=4), ridge=None)
    predicted = model.predict(liquid())
    assert predicted.temperature is not None
    assert predicted.state.shape == (8,)
    outputs = model._network_outputs(read_structure(liquid(), "TS+IS", n_species=2), None, "cpu")
    whole = np.mean([o.whole[0].numpy() for o in outputs], axis=0)
    assert predicted.temperature == pytest.approx(whole[0], rel=1e-6)
    for species in (0, 1):
        mean = predicted.propensity[liquid().types == species].mean()
        assert mean == pytest.approx(whole[1 + species], rel=1e-5)


def test_conditioned_models_ask_for_the_temperature():
    model = random_model("TS", conditioned=True)
    with pytest.raises(InvalidInputError, match="told the temperature"):
        model.predict(liquid())
    cold, hot = (model.predict(liquid(), temperature=t).propensity for t in (0.4, 0.8))
    assert abs(cold - hot).max() > 1e-6


@pytest.mark.parametrize("kind", ["TS", "TS+IS"])
def test_files_hold_the_whole_model(kind, tmp_path):
    """Oracle: the model in memory."""
    card = ModelCard(name="botan", version="1", summary="random numbers")
    model = replace(random_model(kind), card=card)
    path = tmp_path / "model.safetensors"
    digest = save_model(path, model)
    again = load_model(path)
    assert again.sha256 == digest
    before, after = model.predict(liquid()), again.predict(liquid())
    assert np.array_equal(after.propensity, before.propensity)
    assert np.array_equal(after.propensity_std, before.propensity_std)
    assert np.array_equal(after.bond_change, before.bond_change)
    assert again.card.summary == "random numbers"
    assert again.energies == model.energies


def test_files_of_another_shape_are_refused(tmp_path):
    from kakehashi_core.checkpoints import load_checkpoint, read_manifest, save_checkpoint

    path = tmp_path / "model.safetensors"
    save_model(path, random_model("TS"))
    manifest = read_manifest(path)
    shapes = {name: tuple(d["shape"]) for name, d in manifest["tensors"].items()}
    tensors = dict(load_checkpoint(path, shapes=shapes).tensors)
    own = {k: v for k, v in manifest.items() if k in {"form", "kind", "network", "model_card"}}
    rest = {
        k: manifest[k]
        for k in ("n_species", "n_levels", "n_global", "ridge_share", "n_networks", "time")
    } | {k: manifest[k] for k in ("temperatures", "energies", "density", "share_of_b")}
    for change, message in (
        ({"form": "four-layer"}, "form 'four-layer'"),
        ({"n_networks": 3}, "network.2"),
        ({"n_levels": 3}, "ridge"),
        ({"network": {**manifest["network"], "colour": "red"}}, "does not describe"),
    ):
        save_checkpoint(path, tensors, manifest={**own, **rest, **change})
        with pytest.raises(CheckpointError, match=message):
            load_model(path)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same():
    """Oracle: the CPU."""
    model = random_model("TS+IS")
    here, there = model.predict(liquid()), model.predict(liquid(), device="cuda")
    assert there.propensity == pytest.approx(here.propensity, abs=1e-4)
    assert there.bond_change == pytest.approx(here.bond_change, abs=1e-4)
