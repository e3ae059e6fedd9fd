"""Reports of predictions: what pairs contribute, and what the command writes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kakehashi_core import registry
from kakehashi_core.errors import InvalidInputError
from kakehashi_deqh.json_values import without_nan
from kakehashi_deqh.pair_contributions import pair_contributions
from kakehashi_deqh.predictor import molecule_of
from kakehashi_deqh.report_command import hamiltonian_report

kp = pytest.importorskip("kakehashi_pyscf", reason="integrals are those of PySCF")
WATER = "3\n\nO 0 0 0\nH 0 .757 .587\nH 0 -.757 .587\n"


def test_contributions_of_pairs():
    """Oracle: blocks of the predicted matrix; a mirror plane; the network without feedback."""
    from pyscf import dft, gto

    mol = gto.M(atom=WATER.split("\n", 2)[2], basis="def2-svp", verbose=0)
    predictor = registry.load("init_guess", "deqh-water")
    molecule = molecule_of(kp.guess_request(dft.RKS(mol, xc="pbe")), "sap")
    found = pair_contributions(predictor.model, molecule)
    assert found.keys() == {"change", "feedback", "start", "overlap"}
    (one,) = predictor.model.predict([molecule])
    change = one.hamiltonian - molecule.matrices["start"]
    block = molecule.layout.block(change, 0, 1)
    assert found["change"][0, 1] == pytest.approx(np.sqrt((block**2).mean()))
    for table in found.values():
        assert table.shape == (3, 3)
        assert table == pytest.approx(table.T)
        assert table[0, 1] == pytest.approx(table[0, 2], rel=1e-6, abs=1e-12)
    assert (found["feedback"] < found["change"]).all()
    assert found["overlap"][0, 1] > 1e-3


def test_the_command(tmp_path, capsys):
    """Oracle: the converged energy of PySCF, and what is printed."""
    file = tmp_path / "water.xyz"
    file.write_text(WATER)
    assert hamiltonian_report(file, output=tmp_path / "report") == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    first = report["first Fock matrix"]
    assert first["better than minao"] is True
    assert 0.0 <= first["estimated energy error, hartree"] < 1e-5
    from pyscf import dft, gto

    mol = gto.M(atom=WATER.split("\n", 2)[2], basis="def2-svp", verbose=0)
    energy = dft.RKS(mol, xc="pbe").kernel()
    assert first["energy, hartree"] == pytest.approx(energy, abs=1e-5)
    printed = capsys.readouterr().out
    assert "converged" in printed
    assert "energy: -76." in printed
    assert "used as initial guess" in printed
    assert (tmp_path / "report" / "report.png").stat().st_size > 10_000
    with pytest.raises(InvalidInputError, match="no file"):
        hamiltonian_report(tmp_path / "none.xyz")
    file.write_text("3\n\nO 0 0 0\nH 3.0 0 0\nH 0 0.96 0\n")
    hamiltonian_report(file, output=tmp_path / "report", fock=False)
    assert "verdict: refused as initial guess" in capsys.readouterr().out


def test_json_knows_no_nan():
    """Oracle: what JSON allows."""
    assert without_nan({"a": [1.0, float("nan")], "b": (float("inf"), "x")}) == {
        "a": [1.0, None],
        "b": [None, "x"],
    }
