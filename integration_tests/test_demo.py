"""The demo's code path, on two molecules in a minimal basis."""

from __future__ import annotations

import json

import pytest

from kakehashi_ase.g2 import atomization_energy
from kakehashi_core.cli import main
from kakehashi_nnxc import demo


def test_demo_prints_a_table_and_saves_its_files(monkeypatch, tmp_path, capsys):
    """Oracle: the JSON file holds what the table says; the errors are those of real SCF energies."""
    monkeypatch.setattr(demo, "DEMO_HELD_OUT", ("HF",))
    monkeypatch.setattr(demo, "TRAINED_ON", ("H2",))
    monkeypatch.setattr(demo, "BASIS", "6-31g")
    monkeypatch.setattr(demo, "WORKERS", 1)
    monkeypatch.setattr(demo, "_relax_water", lambda console: None)
    assert main(["demo", "--output", str(tmp_path), "xc"]) == 0
    printed = capsys.readouterr().out
    saved = json.loads((tmp_path / "atomization_energies.json").read_text())
    assert f"{saved['errors']['HF']['pbe']:+.1f}" in printed
    runs = {(r["species"], r["xc"]): r["energy"] for r in saved["calculations"]}
    bound = runs["H", "pbe"] + runs["F", "pbe"] - runs["HF", "pbe"]
    expected = bound * 627.5094740631 - atomization_energy("HF")
    assert saved["errors"]["HF"]["pbe"] == pytest.approx(expected, abs=1e-6)
    assert (tmp_path / "atomization_energies.png").stat().st_size > 10_000
