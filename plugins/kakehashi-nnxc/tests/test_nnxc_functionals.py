"""The shipped networks: they load, say where they come from, and damaged files are refused."""

from __future__ import annotations

import json
import shutil
from importlib import resources
from pathlib import Path

import pytest
import torch

from kakehashi_core import registry
from kakehashi_core.checkpoints import load_checkpoint
from kakehashi_core.errors import CheckpointError, InvalidInputError
from kakehashi_nnxc import _entry_points, demo
from kakehashi_nnxc.descriptors import DESCRIPTORS
from kakehashi_nnxc.four_layer_form import parameter_shapes
from kakehashi_nnxc.functionals import weight_path

FAMILIES = {"nn-lsda": "LDA", "nn-gga": "GGA", "nn-mgga": "MGGA", "nn-nra": "NONLOCAL"}
REGISTERED = (*FAMILIES, "kh-mgga", "kh-nra")
MOLECULES = ("H2O", "NH3", "NO")


def weight_file(name: str) -> Path:
    return Path(str(resources.files("kakehashi_nnxc"))) / weight_path(name)


def random_variables(name: str, n_points: int) -> torch.Tensor:
    """Closed-shell variables of valence densities."""
    n_rows = {"LDA": 1, "GGA": 2, "MGGA": 3, "NONLOCAL": 4}[FAMILIES.get(name, "MGGA")]
    generator = torch.Generator().manual_seed(5)
    n = 10.0 ** (2.0 * torch.rand(n_points, generator=generator, dtype=torch.float64) - 2.0)
    shares = torch.rand(2, n_points, generator=generator, dtype=torch.float64)
    sigma = shares[0] * n ** (8.0 / 3.0)
    tau = sigma / (8.0 * n) + (0.5 + shares[1]) * n ** (5.0 / 3.0)
    return torch.stack([n, sigma, tau, 0.2 * n])[:n_rows]


def manifest(name: str) -> dict:
    return json.loads(weight_file(name).with_suffix(".json").read_text())


@pytest.mark.parametrize("name", FAMILIES)
def test_spec_and_functional_agree(name):
    functional = registry.load("xc", name)
    spec = getattr(_entry_points, name.replace("-", "_"))()
    assert functional.family == spec.family == FAMILIES[name]
    assert functional.hybrid == spec.hybrid == 0.0
    assert functional.max_deriv == spec.max_deriv
    assert functional.name == spec.name == name
    assert functional.card is not None
    assert functional.card.domain.elements == spec.domain.elements
    assert hasattr(functional, "convolution") == name.endswith("-nra")


@pytest.mark.parametrize("name", REGISTERED)
def test_device_is_an_option_of_loading(name):
    """Oracle: the same functional loaded without the option, bit by bit."""
    variables = random_variables(name, 50)
    default, chosen = registry.load("xc", name), registry.load("xc", name, device="cpu")
    assert default.device == chosen.device == "cpu"
    assert torch.equal(chosen.energy_density(variables, 0), default.energy_density(variables, 0))
    with pytest.raises(InvalidInputError, match="unknown device 'gpu'"):
        registry.load("xc", name, device="gpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", REGISTERED)
def test_loaded_on_a_gpu(name):
    """Oracle: the same functional on the CPU, relative 1e-10; it takes points from either side."""
    variables = random_variables(name, 200)
    expected = registry.load("xc", name).energy_density(variables, 0)
    functional = registry.load("xc", name, device="cuda")
    assert functional.device == "cuda:0"
    found = functional.energy_density(variables.to(functional.device), 0)
    assert found.device.type == "cuda"
    assert expected.abs().max() > 1e-3
    assert torch.allclose(found.cpu(), expected, rtol=1e-10, atol=0.0)
    assert torch.equal(functional.energy_density(variables, 0), expected)


@pytest.mark.parametrize(
    ("name", "teacher", "tolerance"),
    [("nn-lsda", "lda,pw_mod", 0.06), ("nn-gga", "pbe", 0.04), ("nn-mgga", "r2scan", 0.03)],
)
def test_close_to_its_teacher_on_the_uniform_gas(name, teacher, tolerance):
    """Oracle: libxc, which is exact there; the network was distilled from the teacher."""
    libxc = pytest.importorskip("pyscf.dft.libxc")
    n = torch.tensor([0.01, 0.05, 0.2, 1.0], dtype=torch.float64)
    tau = 0.3 * (3 * torch.pi**2) ** (2 / 3) * n ** (5 / 3)
    rows = len(DESCRIPTORS[FAMILIES[name]]) - 1
    variables = torch.stack([n, torch.zeros_like(n), tau])[:rows]
    energy = registry.load("xc", name).energy_density(variables, 0)
    rho = torch.stack([n, 0 * n, 0 * n, 0 * n, tau])[: {1: 1, 2: 4, 3: 5}[rows]].numpy()
    expected = libxc.eval_xc1(teacher, rho if rows > 1 else rho[0], 0, 0)[0]
    assert torch.allclose(energy, torch.from_numpy(expected) * n, rtol=tolerance)


@pytest.mark.parametrize("name", FAMILIES)
def test_trained_on_three_molecules_only(name):
    """Leakage control, on what the weight file itself says; oracle: the paper's training set."""
    pytest.importorskip("networkx")
    from kakehashi_nnxc.reaction_sets import molecular_identity, reaction_set

    stored = manifest(name)
    assert stored["training_species"] == sorted(["H", "N", "O", *MOLECULES])
    molecules = reaction_set("ae148").molecules
    known = {
        key
        for key, m in molecules.items()
        if molecular_identity(m) in stored["training_identities"]
    }
    assert known == set(MOLECULES)
    assert set(demo.TRAINED_ON) == known
    assert not set(demo.DEMO_HELD_OUT) & known


@pytest.mark.parametrize("name", FAMILIES)
def test_file_is_small(name):
    assert weight_file(name).stat().st_size < 4e6


@pytest.mark.parametrize("damage", ["truncate", "flip", "foreign"])
def test_a_damaged_file_is_refused(tmp_path, damage):
    for suffix in (".safetensors", ".json"):
        shutil.copy(weight_file("nn-mgga").with_suffix(suffix), tmp_path / f"nn-mgga{suffix}")
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
