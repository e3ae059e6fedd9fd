"""The shipped nn-mgga: it loads, says where it comes from, and damaged files are refused."""

from __future__ import annotations

import json
import shutil
from importlib import resources
from pathlib import Path

import pytest
import torch

from kakehashi_core import registry
from kakehashi_core.checkpoints import load_checkpoint
from kakehashi_core.errors import CheckpointError
from kakehashi_nnxc._entry_points import nn_mgga as spec
from kakehashi_nnxc.four_layer_form import parameter_shapes
from kakehashi_nnxc.functionals import NN_MGGA_WEIGHTS, nn_mgga
from kakehashi_nnxc.training.molecules import (
    ATOMS,
    DEMO_HELD_OUT,
    TRAINING,
    VALIDATION,
)


def weight_file() -> Path:
    return Path(str(resources.files("kakehashi_nnxc"))) / NN_MGGA_WEIGHTS


def test_spec_and_functional_agree():
    functional = registry.load("xc", "nn-mgga")
    assert functional.family == spec().family == "MGGA"
    assert functional.hybrid == spec().hybrid == 0.0
    assert functional.max_deriv == spec().max_deriv
    assert functional.name == spec().name
    assert functional.card is not None
    assert functional.card.domain.elements == spec().domain.elements == ATOMS


def test_close_to_r2scan_on_the_uniform_gas():
    """Oracle: r2SCAN is exact there; the net was distilled from it, 3 % at valence densities."""
    libxc = pytest.importorskip("pyscf.dft.libxc")
    n = torch.tensor([0.01, 0.05, 0.2, 1.0], dtype=torch.float64)
    tau = 0.3 * (3 * torch.pi**2) ** (2 / 3) * n ** (5 / 3)
    energy = nn_mgga().energy_density(torch.stack([n, torch.zeros_like(n), tau]), 0)
    rho = torch.stack([n, 0 * n, 0 * n, 0 * n, tau]).numpy()
    expected = torch.from_numpy(libxc.eval_xc1("r2scan", rho, 0, 0)[0]) * n
    assert torch.allclose(energy, expected, rtol=0.03)


def test_held_out_molecules_are_in_no_training_list():
    """Leakage control, on the lists and on what the weight file itself says."""
    assert not set(DEMO_HELD_OUT) & {*TRAINING, *VALIDATION}
    assert not set(TRAINING) & set(VALIDATION)
    manifest = json.loads(weight_file().with_suffix(".json").read_text())
    assert not set(manifest["training_species"]) & set(DEMO_HELD_OUT)
    assert {"CO", "C2H4", "H2CO"} <= set(DEMO_HELD_OUT)
    assert len(DEMO_HELD_OUT) >= 6


def test_file_is_small():
    assert weight_file().stat().st_size < 4e6


@pytest.mark.parametrize("damage", ["truncate", "flip", "foreign"])
def test_a_damaged_file_is_refused(tmp_path, damage):
    for suffix in (".safetensors", ".json"):
        shutil.copy(weight_file().with_suffix(suffix), tmp_path / f"nn-mgga{suffix}")
    path = tmp_path / "nn-mgga.safetensors"
    data = bytearray(path.read_bytes())
    if damage == "truncate":
        data = data[: len(data) // 2]
    elif damage == "flip":
        data[-10] ^= 1
    shapes = parameter_shapes("MGGA" if damage != "foreign" else "GGA")
    path.write_bytes(data)
    with pytest.raises(CheckpointError):
        load_checkpoint(path, shapes=shapes)
