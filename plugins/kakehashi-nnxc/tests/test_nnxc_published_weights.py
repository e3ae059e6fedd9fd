"""load_published(): the golden numbers of the published weight files, and everything that is refused."""

from __future__ import annotations

import io
import pickle

import pytest
import torch

from kakehashi_core.errors import CheckpointError
from kakehashi_nnxc import load_published
from kakehashi_nnxc.four_layer_form import parameter_shapes

POINT_1 = (0.3, 0.3, 0.04, 0.03, 0.05, 0.25, 0.30, 0.11 - 1e-7)
POINT_2 = (0.02, 0.01, 1e-3, 5e-4, 4e-4, 8e-3, 5e-3, 6e-3 - 1e-7)
GOLDEN = {
    ("NNLSDA", POINT_1): (-0.6631060271, -0.87327067, -0.87327067, None, None, None),
    ("NNLSDA", POINT_2): (-0.2695560963, -0.36529190, -0.32014734, None, None, None),
    ("NNGGA", POINT_1): (-0.6816539192, -0.89868197, -0.89868197, 0.00882721, None, None),
    ("NNGGA", POINT_2): (-0.2804629805, -0.35648333, -0.30697490, -0.13130590, None, None),
    ("NNmGGA", POINT_1): (-0.6954164085, -0.98042410, -0.98042410, -0.02515014, 0.05479267, None),
    ("NNmGGA", POINT_2): (-0.2844034710, -0.37882574, -0.30957373, -0.36722918, 0.08308962, None),
    ("NNNRA", POINT_1): (
        -0.6930781316,
        -0.97547998,
        -0.97547998,
        -0.03331508,
        0.05709154,
        -0.00014640,
    ),
    ("NNNRA", POINT_2): (
        -0.2860428671,
        -0.38024597,
        -0.31187372,
        -0.35323979,
        0.07844612,
        -0.00025826,
    ),
}
N_ROWS = {"NNLSDA": 2, "NNGGA": 5, "NNmGGA": 7, "NNNRA": 8}


@pytest.mark.parametrize(
    ("file", "point"), list(GOLDEN), ids=lambda v: v if isinstance(v, str) else ""
)
def test_pointwise_golden_values(published, file, point):
    """Oracle: an independent evaluation of the published files; 1e-10 for e, 1e-8 for slopes."""
    functional = load_published(published / file)
    variables = torch.tensor(point[: N_ROWS[file]], dtype=torch.float64)[:, None].requires_grad_(
        True
    )
    energy = functional.energy_density(variables, 1)
    (slope,) = torch.autograd.grad(energy.sum(), variables)
    e, v_a, v_b, s_aa, tau_a, nonlocal_ = GOLDEN[file, point]
    assert energy.item() / (point[0] + point[1]) == pytest.approx(e, abs=1.1e-10)
    assert slope[:2, 0].tolist() == pytest.approx([v_a, v_b], abs=1.1e-8)
    if s_aa is not None:
        assert slope[2:5, 0].tolist() == pytest.approx([s_aa, 2 * s_aa, s_aa], abs=2.2e-8)
    if tau_a is not None:
        assert slope[5:7, 0].tolist() == pytest.approx([tau_a, tau_a], abs=1.1e-8)
    if nonlocal_ is not None:
        assert slope[7, 0].item() == pytest.approx(nonlocal_, abs=1.1e-8)


def test_the_name_is_the_users_choice(published):
    assert load_published(published / "NNmGGA").name == "published-mgga"
    functional = load_published(published / "NNmGGA", name="nagai-2020")
    assert functional.name == "nagai-2020"
    assert functional.sha256.startswith("5697d150")


def state_dict(family: str = "MGGA") -> dict[str, torch.Tensor]:
    return {name: torch.zeros(shape) for name, shape in parameter_shapes(family).items()}


def test_a_file_of_the_same_layout_needs_its_rung(tmp_path):
    path = tmp_path / "mine"
    torch.save(state_dict(), path)
    with pytest.raises(CheckpointError, match="none of the published files"):
        load_published(path)
    assert load_published(path, family="MGGA").family == "MGGA"
    with pytest.raises(CheckpointError):
        load_published(path, family="GGA")


def test_a_flipped_byte_in_a_published_file_is_refused(published, tmp_path):
    data = bytearray((published / "NNGGA").read_bytes())
    data[40_000] ^= 1
    path = tmp_path / "NNGGA"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="none of the published files"):
        load_published(path)


def test_what_is_not_the_four_layer_form_is_refused(tmp_path):
    wrong = state_dict()
    wrong["fc5.weight"] = torch.zeros(1)
    not_finite = state_dict()
    not_finite["fc1.bias"] = torch.full((100,), torch.nan)
    for index, content in enumerate((wrong, not_finite, [1, 2, 3])):
        path = tmp_path / str(index)
        torch.save(content, path)
        with pytest.raises(CheckpointError):
            load_published(path, family="MGGA")


class Canary:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_planted_pickle_does_not_run(tmp_path):
    """Oracle: the file that the pickle would create when it runs."""
    buffer = io.BytesIO()
    pickle.dump(Canary(str(tmp_path / "canary")), buffer)
    path = tmp_path / "NNmGGA"
    path.write_bytes(buffer.getvalue())
    for family in (None, "MGGA"):
        with pytest.raises(CheckpointError):
            load_published(path, family=family)
    assert not (tmp_path / "canary").exists()
    with pytest.raises(CheckpointError, match="there is no file"):
        load_published(tmp_path / "absent")
    path.write_bytes(b"0" * 300_000)
    with pytest.raises(CheckpointError, match="300000 bytes"):
        load_published(path)


def test_the_published_near_region_form_runs_self_consistently(published):
    """Oracle: one evaluation on the NN-mGGA density, -76.22481471 hartree; the SCF lowers it a little."""
    gto = pytest.importorskip("pyscf.gto")
    dft = pytest.importorskip("pyscf.dft")
    kp = pytest.importorskip("kakehashi_pyscf")
    water = gto.M(
        atom="O 0 0 .119262; H 0 .763239 -.477047; H 0 -.763239 -.477047", basis="6-31g", verbose=0
    )
    functional = load_published(published / "NNNRA")
    assert functional.convolution.length == 0.2
    mf = kp.attach(dft.RKS(water, xc="pbe"), functional)
    kp.converge(mf)
    assert -76.22481471 - 5e-5 < mf.e_tot < -76.22481471
