"""Models in files: runs, restarts, pictures, exact references, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_dbm.exact_references import exact_reference
from kakehashi_dbm.model_file import ModelFile
from kakehashi_dbm.thermal_command import sample_temperatures, thermal_run
from kakehashi_quspin.exact_thermal import exact_thermal
from kakehashi_quspin.spin_model import SpinModel

N = 6
CHAIN = {
    "static": [
        ["zz", [[-1.0, i, i + 1] for i in range(N - 1)]],
        ["x", [[-0.8, i] for i in range(N)]],
        ["I", [[0.3, 0]]],
    ],
    "n_sites": N,
    "observables": {"ends": [["zz", [[1.0, 0, N - 1]]]]},
}


@pytest.mark.parametrize("tempering", [False, True])
def test_a_run_from_a_file(tmp_path, capsys, tempering):
    """Oracle: exact thermodynamics; the same results, without sampling, from a second run."""
    pytest.importorskip("matplotlib")
    file = tmp_path / "chain.json"
    file.write_text(json.dumps(CHAIN))
    options = {
        "output": tmp_path / "run",
        "beta": 2.0,
        "n_temperatures": 8,
        "n_measurements": 150,
        "tempering": tempering,
    }
    assert thermal_run(file, **options) == 0
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (tmp_path / "run" / "thermal.png").stat().st_size > 10_000
    assert found["reference"] == "free fermions"
    for row in found["curve"]:
        for name, exact in row["exact"].items():
            assert abs(row[name]["mean"] - exact) < 5 * row[name]["stderr"] + 1e-4
    last = found["curve"][-1]
    exact = exact_thermal(CHAIN["static"], N, beta=2.0)
    assert last["exact"]["energy"] * N == pytest.approx(exact.energy.mean)
    assert last["exact"]["entropy"] * N == pytest.approx(exact.entropy)
    assert "<ends>" in capsys.readouterr().out
    assert thermal_run(file, **options) == 0
    again = json.loads((tmp_path / "run" / "results.json").read_text())
    assert again == found


def test_exact_references():
    """Oracle: diagonalization by QuSpin; rings, disordered chains in any order of sites, other models."""
    rng = np.random.default_rng(1)
    ring = [["zz", [[-1.0, i, (i + 1) % 5] for i in range(5)]], ["x", [[0.7, i] for i in range(5)]]]
    chain = [
        ["zz", [[float(c), i + 1, i] for i, c in enumerate(rng.normal(size=4))]],
        ["x", [[float(c), i] for i, c in enumerate(rng.normal(size=5))]],
        ["I", [[1.5, 0]]],
    ]
    xxz = [["xx", [[1.0, 0, 1]]], ["yy", [[1.0, 0, 1]]], ["z", [[0.3, 4]]]]
    for static, name in ((ring, "free"), (chain, "free"), (xxz, "diagonalization")):
        label, reference = exact_reference(SpinModel.from_quspin(static, 5))
        assert label.startswith(name)
        found, exact = reference(1.3), exact_thermal(static, 5, beta=1.3)
        assert found.energy == pytest.approx(exact.energy.mean)
        assert found.specific_heat == pytest.approx(exact.specific_heat.mean)
        assert found.log_partition == pytest.approx(exact.log_partition.mean)
    field = [*ring, ["z", [[0.1, 0]]]]
    assert exact_reference(SpinModel.from_quspin(field, 5))[0] == "diagonalization"
    large = [["zz", [[1.0, 0, 5]]], ["x", [[1.0, i] for i in range(12)]]]
    assert exact_reference(SpinModel.from_quspin(large, 12)) is None


def test_fixed_magnetization(tmp_path):
    """Oracle: diagonalization in the sector, at one temperature."""
    static = [[s, [[1.0, i, i + 1] for i in range(3)]] for s in ("xx", "yy", "zz")]
    content = {"static": static, "n_sites": 4, "pauli": 0, "Nup": 2}
    found = ModelFile.from_content(content)
    rows = sample_temperatures(
        {
            "model": content,
            "betas": [1.5],
            "n_measurements": 500,
            "options": {"n_chains": 20, "trotter_step": 0.05},
            "seed": 1,
        }
    )
    exact = exact_reference(found.model)[1](1.5).energy
    energy = rows[0]["energy"]
    assert abs(energy["mean"] - exact) < 4 * energy["stderr"] + 2e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_sites": None}, "n_sites and Nup"),
        ({"pauli": 2}, "pauli"),
        ({"sites": 3}, "does not know sites"),
        ({"static": [["q", [[1.0, 0]]]]}, "q"),
        ({"observables": []}, "observables"),
    ],
)
def test_files_that_are_refused(tmp_path, changes, message):
    """Oracle: what messages say."""
    file = tmp_path / "model.json"
    file.write_text(json.dumps({**CHAIN, **changes}))
    with pytest.raises(InvalidInputError, match=message):
        thermal_run(file, output=tmp_path / "run")


def test_other_bad_input(tmp_path):
    """Oracle: what messages say."""
    file = tmp_path / "model.json"
    for text, message in (
        ("{", "no JSON"),
        ("[]", "must hold"),
        ('{"n_sites": 3}', "lacks static"),
    ):
        file.write_text(text)
        with pytest.raises(InvalidInputError, match=message):
            thermal_run(file, output=tmp_path / "run")
    file.write_text(json.dumps(CHAIN))
    with pytest.raises(InvalidInputError, match="beta"):
        thermal_run(file, beta=0.0)
    with pytest.raises(InvalidInputError, match="temperatures"):
        thermal_run(file, n_temperatures=3)
    mixed = {**CHAIN, "static": [["xx", [[1.0, 0, 1]]], ["x", [[1.0, 0]]]]}
    file.write_text(json.dumps(mixed))
    with pytest.raises(UnsupportedError, match="x_0 x_1"):
        thermal_run(file, output=tmp_path / "mixed")
