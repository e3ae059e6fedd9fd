"""The importer of foreign torch state dicts."""

import hashlib
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from kakehashi_core.errors import CheckpointError, InvalidInputError
from kakehashi_core.foreign_weights import import_state_dict

SHAPES = {"fc1.weight": (3, 2), "fc1.bias": (3,)}


def make_state() -> "OrderedDict[str, torch.Tensor]":
    return OrderedDict(
        {"fc1.bias": torch.arange(3.0), "fc1.weight": torch.arange(6.0).reshape(2, 3).T}
    )


def saved(folder: Path, state: object, *, zipped: bool = True) -> Path:
    path = folder / "state"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    return path


def load(path: Path, **changes: object) -> dict[str, torch.Tensor]:
    options: dict[str, object] = {"shapes": SHAPES, "dtype": "float32", "max_bytes": 100_000}
    return import_state_dict(path, **{**options, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("zipped", [True, False])
def test_both_formats_load_exactly(tmp_path: Path, zipped: bool) -> None:
    """Oracle: the tensors that were saved."""
    tensors = load(saved(tmp_path, make_state(), zipped=zipped), dtype=torch.float32)
    assert list(tensors) == list(SHAPES)
    for name, tensor in make_state().items():
        assert torch.equal(tensors[name], tensor)
        assert tensors[name].is_contiguous()
        assert not tensors[name].requires_grad


def test_parameters_lose_their_gradient(tmp_path: Path) -> None:
    state = {name: torch.nn.Parameter(value) for name, value in make_state().items()}
    tensors = load(saved(tmp_path, state))
    assert type(tensors["fc1.bias"]) is torch.Tensor


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"more": torch.zeros(1)}, r"unexpected \['more'\]"),
        ({3: torch.zeros(1)}, r"unexpected \[3\]"),
        ({"fc1.bias": torch.zeros(4)}, r"shape \(4,\) .*expected \(3,\)"),
        ({"fc1.bias": torch.zeros(3, dtype=torch.float64)}, r"float64, expected .*float32"),
        ({"fc1.bias": torch.tensor([0.0, float("nan"), 1.0])}, "not finite"),
        ({"fc1.bias": [0.0, 1.0, 2.0]}, "is a list, not a dense tensor"),
        ({"fc1.bias": torch.zeros(3).to_sparse()}, "not a dense tensor"),
        ({"fc1.bias": torch.zeros(1).expand(2**40)}, f"shape \\({2**40},\\)"),
    ],
)
def test_other_content_is_refused(
    tmp_path: Path, change: dict[object, object], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load(saved(tmp_path, {**make_state(), **change}))


def test_missing_keys_and_other_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"missing \['fc1\.weight'\]"):
        load(saved(tmp_path, {"fc1.bias": torch.zeros(3)}))
    with pytest.raises(CheckpointError, match="holds a list, not a state dict"):
        load(saved(tmp_path, [torch.zeros(3)]))
    with pytest.raises(CheckpointError, match="no file"):
        load(tmp_path / "absent")
    with pytest.raises(InvalidInputError, match="dtype 'int8' is not supported"):
        load(saved(tmp_path, make_state()), dtype="int8")


def test_size_and_hash_come_before_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, make_state())
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    for accepted in (sha256, sha256.upper(), {"a": sha256, "b": "0" * 64}, ["0" * 64, sha256]):
        load(path, sha256=accepted)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("opened"))
    size = path.stat().st_size
    with pytest.raises(CheckpointError, match=f"has {size} bytes, at most {size - 1}"):
        load(path, max_bytes=size - 1)
    for refused in ("0" * 64, [], {"a": "0" * 64}):
        with pytest.raises(CheckpointError, match=f"has SHA-256 {sha256}, .* was not opened"):
            load(path, sha256=refused)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_never_runs(tmp_path: Path, zipped: bool) -> None:
    """The same pickle is shown to run under an unsafe loader in test_core_checkpoints."""
    canary = tmp_path / "canary"
    name = str(canary).encode()
    code = b"\x80\x02cos\nmkdir\nX%s%s\x85R." % (struct.pack("<I", len(name)), name)
    path = tmp_path / "state"
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", code)
            archive.writestr("archive/version", "3")
    else:
        path.write_bytes(code)
    with pytest.raises(CheckpointError, match="never opened in another way"):
        load(path)
    assert not canary.exists()


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    assert path.stat().st_size < 100_000
    with pytest.raises(CheckpointError, match="never compresses"):
        load(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_files_are_refused(tmp_path: Path, zipped: bool) -> None:
    path = saved(tmp_path, make_state(), zipped=zipped)
    data = path.read_bytes()
    for tenth in range(10):
        path.write_bytes(data[: len(data) * tenth // 10])
        with pytest.raises(CheckpointError, match=r"cannot be read|damaged zip"):
            load(path)
