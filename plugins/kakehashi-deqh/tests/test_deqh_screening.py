"""Screening with the shipped model of water: what an SCF confirms, and that the order is the right one."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import molecule

from kakehashi_core.errors import InvalidInputError
from kakehashi_deqh.hamiltonian_model import HamiltonianModel
from kakehashi_deqh.screening import screen

pytest.importorskip("kakehashi_pyscf", reason="predictions need integrals of PySCF")


@pytest.fixture(scope="module")
def structures():
    rng = np.random.default_rng(0)
    found = []
    for k in range(5):
        atoms = molecule("H2O")
        atoms.positions += 0.04 * rng.normal(size=(3, 3))
        if k == 3:
            atoms.positions[1] *= 1.6  # a stretched bond, which the model was not trained on
        found.append(atoms)
    return found


@pytest.fixture(scope="module")
def confirmed(structures):
    return screen(structures, "deqh-water", confirm="all")


def test_all_of_them(confirmed):
    """Oracle: the calculator of PySCF."""
    from kakehashi_ase import calculator

    assert [s.source for s in confirmed] == ["scf"] * 5
    values = [s.value for s in confirmed]
    assert values == sorted(values)
    atoms = molecule("H2O")
    atoms.calc = calculator("pyscf", xc="pbe", basis="def2-svp")
    one = screen([molecule("H2O")], "deqh-water", confirm="all")[0]
    atoms.get_potential_energy()
    mf = atoms.calc.mean_field
    assert one.value == pytest.approx((mf.mo_energy[5] - mf.mo_energy[4]) * 27.211386, abs=1e-4)
    assert one.results["energy"] == pytest.approx(mf.e_tot * 27.211386, abs=1e-5)


def test_what_is_unreliable(structures, confirmed):
    """Oracle: full calculations of all; the model knows four of the five."""
    found = screen(structures, "deqh-water", confirm="unreliable", largest_first=True)
    by_index = {s.index: s for s in found}
    assert by_index[3].source == "scf"
    assert not by_index[3].in_domain
    assert by_index[3].doubts
    exact = {s.index: s.value for s in confirmed}
    for k in (0, 1, 2, 4):
        assert by_index[k].source == "ml"
        assert by_index[k].n_builds == 0
        assert by_index[k].value == pytest.approx(exact[k], abs=0.01)
    assert by_index[3].value == pytest.approx(exact[3], abs=1e-5)
    assert [s.index for s in found] == [s.index for s in confirmed[::-1]]


def test_the_first_ones(structures, confirmed, tmp_path):
    """Oracle: full calculations of all; a second run computes nothing."""
    found = screen(structures, "deqh-water", confirm="top:2", mode="oneshot", directory=tmp_path)
    assert [s.index for s in found[:2]] == [s.index for s in confirmed[:2]]
    assert [s.source for s in found[:2]] == ["scf", "scf"]
    assert {s.source for s in found[2:]} <= {"ml+1", "scf"}
    stored = sorted(p.name for p in tmp_path.iterdir())
    again = screen(structures, "deqh-water", confirm="top:2", mode="oneshot", directory=tmp_path)
    assert [s.value for s in again] == [s.value for s in found]
    assert sorted(p.name for p in tmp_path.iterdir()) == stored


def test_other_weights(structures, tmp_path):
    """Oracle: the shipped weights by name; results of other weights are not taken for these."""
    shipped = HamiltonianModel.packaged("deqh-water")
    shipped.save(tmp_path / "same.safetensors")
    for parameter in shipped.network.heads.parameters():
        parameter.data *= 0.9
    shipped.save(tmp_path / "other.safetensors")
    gaps = [
        screen(
            structures[:1],
            "deqh-water",
            confirm="none",
            checkpoint=path,
            directory=tmp_path / "results",
        )[0].value
        for path in (None, tmp_path / "same.safetensors", tmp_path / "other.safetensors")
    ]
    assert gaps[1] == pytest.approx(gaps[0], abs=1e-12)
    assert abs(gaps[2] - gaps[0]) > 1e-3


def test_own_scores_and_ions(structures):
    """Oracle: dipoles; an ion cannot be predicted, and has no gap."""
    ion = molecule("H2O")
    ion.info.update(charge=1, spin=1)
    found = screen(
        [structures[0], ion],
        "deqh-water",
        rank_by=lambda results: float(np.linalg.norm(results["dipole"])),
        confirm="none",
    )
    assert {s.index: s.source for s in found} == {0: "ml", 1: "scf"}
    gaps = screen([ion, structures[0]], "deqh-water", confirm="none")
    assert [s.index for s in gaps] == [1, 0]
    assert np.isnan(gaps[1].value)


def test_bad_input(structures):
    """Oracle: what messages say."""
    for options, message in (
        ({"confirm": "top:0"}, "top:N"),
        ({"confirm": 3}, "top:N"),
        ({"mode": "scf"}, "oneshot"),
        ({"rank_by": "energy"}, "predict"),
        ({"rank_by": "colour"}, "gap"),
        ({"rank_by": lambda results: results["homo"]}, "structure 0: KeyError.*gap"),
        ({"checkpoint": "nowhere.safetensors"}, "no checkpoint nowhere.safetensors"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            screen(structures, "deqh-water", **options)
    with pytest.raises(InvalidInputError, match="list of structures"):
        screen(structures[0], "deqh-water")
    with pytest.raises(InvalidInputError, match="no structures"):
        screen([], "deqh-water")
