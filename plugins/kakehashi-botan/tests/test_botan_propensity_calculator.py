"""Propensities in ASE: properties, storage, molecular dynamics, bad input."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from ase import units
from ase.io import read, write
from ase.md.verlet import VelocityVerlet
from botan_examples import liquid_atoms, random_model

from kakehashi_ase import CalculatorInputError
from kakehashi_botan.annotation import annotate, attach_propensity
from kakehashi_botan.glass_map import glass_map
from kakehashi_botan.lennard_jones_calculator import LennardJonesMixture
from kakehashi_botan.propensity_calculator import (
    PropensityCalculator,
    TemperaturePropensityCalculator,
)
from kakehashi_botan.propensity_model import save_model
from kakehashi_core.errors import CheckpointError, DomainWarning, InvalidInputError, KakehashiError


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("weights")
    paths = {}
    for kind in ("TS", "IS", "TS+IS"):
        paths[kind] = str(folder / f"{kind}.safetensors")
        save_model(paths[kind], random_model(kind))  # type: ignore[arg-type]
    paths["thermometer"] = str(folder / "t.safetensors")
    save_model(paths["thermometer"], random_model("TS", global_width=4))  # type: ignore[arg-type]
    return paths


def of(weights, kind="TS", **options):
    return PropensityCalculator(input=kind, weights=weights[kind], **options)


@pytest.mark.parametrize("kind", ["TS", "IS", "TS+IS"])
def test_properties(weights, kind):
    """Oracle: the model itself, and the potential's own calculator."""
    atoms = liquid_atoms()
    atoms.calc = of(weights, kind)
    propensity = atoms.calc.get_property("propensity", atoms)
    assert propensity.shape == (420,)
    assert propensity.dtype == np.float64
    assert (atoms.calc.get_property("propensity_std", atoms) > 0).all()
    bonds = atoms.calc.get_property("bond_index", atoms)
    assert np.issubdtype(bonds.dtype, np.integer)
    assert atoms.calc.get_property("bond_change", atoms).shape == (bonds.shape[1],)
    plain = liquid_atoms()
    plain.calc = LennardJonesMixture()
    assert atoms.get_potential_energy() == plain.get_potential_energy()
    assert np.array_equal(atoms.get_forces(), plain.get_forces())
    assert np.array_equal(atoms.get_stress(), plain.get_stress())
    assert np.array_equal(atoms.positions, liquid_atoms().positions)


def test_the_network_runs_only_when_it_is_asked(weights, monkeypatch):
    calc = of(weights)
    asked = []
    monkeypatch.setattr(
        PropensityCalculator, "_prediction", lambda *_: asked.append(1), raising=True
    )
    atoms = liquid_atoms()
    atoms.calc = calc
    atoms.get_forces()
    assert asked == []
    assert calc._model is None  # not even read


def test_the_convention_of_the_potential_does_not_reach_the_model(weights):
    """Oracle: the same particles with another shift of the energy."""
    atoms = liquid_atoms()
    first = of(weights).get_property("propensity", atoms)
    shifted = of(weights, potential={"shift": "force"})
    assert np.array_equal(shifted.get_property("propensity", atoms), first)
    assert shifted.get_potential_energy(atoms) != of(weights).get_potential_energy(atoms)


def test_annotated_structures_survive_extended_xyz(weights, tmp_path):
    atoms = liquid_atoms()
    atoms.calc = PropensityCalculator(input="TS", weights=weights["TS"])
    assert annotate(atoms) is atoms
    path = tmp_path / "a.extxyz"
    write(path, atoms)
    again = read(path)
    expected = atoms.calc.results["propensity"]
    assert again.arrays["propensity"] == pytest.approx(expected, abs=1e-7)
    assert again.arrays["propensity_std"].shape == (420,)
    with pytest.raises(InvalidInputError, match="LennardJonesMixture"):
        annotate(liquid_atoms_with(LennardJonesMixture()))


def liquid_atoms_with(calculator):
    atoms = liquid_atoms()
    atoms.calc = calculator
    return atoms


def test_temperature_estimates(weights):
    atoms = liquid_atoms()
    atoms.calc = TemperaturePropensityCalculator(input="TS", weights=weights["thermometer"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DomainWarning)
        annotate(atoms)
    assert atoms.info["temperature_estimate"] == atoms.calc.results["temperature_estimate"]


def test_molecular_dynamics_with_an_observer(weights):
    """Oracle: the trajectory without the observer; a prediction at the last structure."""
    atoms, plain = (
        liquid_atoms_with(of(weights)),
        liquid_atoms_with(LennardJonesMixture()),
    )
    seen = []
    for system in (atoms, plain):
        rng = np.random.default_rng(1)
        system.set_velocities(0.5 * rng.normal(size=(420, 3)))
        dynamics = VelocityVerlet(system, timestep=0.002)
        if system is atoms:
            attach_propensity(
                dynamics, interval=5, receive=lambda a: seen.append(a.arrays["propensity"].copy())
            )
        dynamics.run(10)
    assert np.array_equal(atoms.positions, plain.positions)
    assert len(seen) == 3
    fresh = of(weights).get_property("propensity", atoms)
    assert seen[-1] == pytest.approx(fresh, abs=1e-12)
    assert units.kB > 0


def test_copies_and_options(weights):
    import pickle

    calc = of(weights, T=0.44)
    atoms = liquid_atoms()
    expected = calc.get_property("propensity", atoms)
    again = pickle.loads(pickle.dumps(calc))
    assert np.array_equal(again.get_property("propensity", atoms), expected)
    assert calc.todict()["weights_sha256"] == calc.weights_digest
    calc.set(T=0.5)
    assert calc.results == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.set_pbc((True, True, False)), "periodic boxes only"),
        (lambda a: a.set_cell(0.8 * a.cell, scale_atoms=True), r"needs 6\.3"),
        (lambda a: a.symbols.__setitem__(slice(None), "Ar"), "1 species"),
        (lambda a: a.symbols.__setitem__(3, "Cu"), "atom 3 is Cu"),
        (lambda a: a.positions.__setitem__((4, 1), np.nan), "finite"),
        (lambda a: a.__delitem__(slice(None)), "no atoms"),
    ],
)
def test_structures_that_cannot_be_read(weights, change, message):
    atoms = liquid_atoms()
    change(atoms)
    with pytest.raises(KakehashiError, match=message):
        of(weights).get_property("propensity", atoms)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda a: a.set_cell(1.05 * a.cell, scale_atoms=True), {}, "the density is 1.03"),
        (lambda a: a.symbols.__setitem__(slice(0, 60), "Ne"), {}, r"\d+ % are B"),
        (lambda a: None, {"T": 0.8}, "T is 0.8, training had 0.44"),
    ],
)
def test_structures_unlike_those_of_the_training(weights, change, options, message, caplog):
    atoms = liquid_atoms()
    change(atoms)
    calc = of(weights, **options)
    with pytest.warns(DomainWarning, match=message):
        calc.get_property("propensity", atoms)
    assert calc.results["out_of_domain"] == 1.0
    assert len(calc.domain_notes) >= 1
    assert [r.levelname for r in caplog.records] == ["WARNING"] * len(calc.domain_notes)


def test_options_that_cannot_be(weights):
    with pytest.raises(CalculatorInputError, match="input is 'XX'"):
        PropensityCalculator(input="XX")  # type: ignore[arg-type]
    with pytest.raises(CalculatorInputError, match="T is -1"):
        of(weights, T=-1.0)
    with pytest.raises(CalculatorInputError, match="weights read 'TS' and input is 'IS'"):
        PropensityCalculator(input="IS", weights=weights["TS"])
    with pytest.raises(CheckpointError, match="absent"):
        PropensityCalculator(weights="absent.safetensors")
    plain = TemperaturePropensityCalculator(weights=weights["TS"])
    with pytest.raises(CalculatorInputError, match="do not estimate a temperature"):
        plain.get_property("temperature_estimate", liquid_atoms())
    with pytest.raises(CalculatorInputError, match="shipped for input TS\\+IS"):
        TemperaturePropensityCalculator(input="TS")


def test_weights_say_what_they_read(weights):
    """Oracle: the same weights with their input named."""
    atoms = liquid_atoms()
    named, unnamed = of(weights, "IS"), PropensityCalculator(weights=weights["IS"])
    assert np.array_equal(
        unnamed.get_property("propensity", atoms), named.get_property("propensity", atoms)
    )


def test_doubts_stay_with_the_structure(weights, tmp_path):
    """Oracle: a file of a structure at another density says so; one of the training's density does not."""
    path = tmp_path / "a.extxyz"
    dilute = liquid_atoms()
    dilute.set_cell(1.05 * dilute.cell, scale_atoms=True)
    dilute.calc = of(weights)
    with pytest.warns(DomainWarning) as caught:
        annotate(dilute)
    assert len(caught) == 1
    write(path, dilute)
    again = read(path)
    assert again.info["out_of_domain"] == 1.0
    assert "density" in again.info["domain_notes"]
    dilute.set_cell(liquid_atoms().cell, scale_atoms=True)
    annotate(dilute)
    assert dilute.info["out_of_domain"] == 0.0
    assert "domain_notes" not in dilute.info


def test_pictures(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "kakehashi_botan.propensity_model.load_packaged_model",
        lambda name: __import__(
            "kakehashi_botan.propensity_model", fromlist=["load_model"]
        ).load_model(weights["TS"]),
    )
    source, picture = tmp_path / "a.extxyz", tmp_path / "map.png"
    write(source, liquid_atoms())
    assert glass_map(source, output=picture, input="TS") == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    annotated = tmp_path / "map.extxyz"
    glass_map(source, output=annotated, input="TS")
    assert "propensity" in read(annotated).arrays
    with pytest.raises(InvalidInputError, match="no file"):
        glass_map(tmp_path / "absent.xyz", output=picture)
    with pytest.raises(KakehashiError, match="model"):
        glass_map(source, output=picture, model="baton")
    with pytest.raises(InvalidInputError, match="structure number 5"):
        glass_map(source, output=picture, input="TS", index=5)
    with pytest.raises(InvalidInputError, match="pictures like"):
        glass_map(source, output=tmp_path / "map.bogus", input="TS")
    with pytest.raises(InvalidInputError, match="no folder"):
        glass_map(source, output=tmp_path / "absent" / "map.png", input="TS")
    broken = tmp_path / "broken.extxyz"
    broken.write_text("not a structure")
    with pytest.raises(InvalidInputError, match="does not read"):
        glass_map(broken, output=picture, input="TS")
