"""Checkpoints: exact round trips, and refusal of everything damaged, foreign or hostile."""

import hashlib
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from kakehashi_core import checkpoints
from kakehashi_core._sealed_json import seal, unseal
from kakehashi_core.checkpoints import (
    load_checkpoint,
    load_packaged_checkpoint,
    manifest_path,
    read_manifest,
    read_packaged_manifest,
    save_checkpoint,
)
from kakehashi_core.errors import CheckpointError

SHAPES = {"layer.weight": (3, 2), "layer.bias": (3,), "steps": ()}


def make_tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {
        "layer.weight": torch.randn(3, 2, dtype=torch.float64, generator=generator),
        "layer.bias": torch.randn(3, dtype=torch.float32, generator=generator),
        "steps": torch.tensor(7),
    }


def file_names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "model.safetensors"
    save_checkpoint(target, make_tensors(), manifest={"license": "MIT", "hidden": [64, 64]})
    return target


def reseal(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    """Change the manifest and give it a valid digest again, as a forger would."""
    manifest = unseal(manifest_path(path).read_bytes())
    change(manifest)
    manifest_path(path).write_bytes(seal(manifest))


def rewrite(path: Path, data: bytes) -> None:
    """Replace the tensor file and make the manifest fit its hash."""
    path.write_bytes(data)
    reseal(path, lambda m: m.update(sha256=hashlib.sha256(data).hexdigest()))


def safetensors_bytes(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def test_round_trip_is_exact(path: Path) -> None:
    """Oracle: the tensors that were saved, bit for bit."""
    loaded = load_checkpoint(path, shapes=SHAPES)
    for name, tensor in make_tensors().items():
        assert loaded.tensors[name].dtype == tensor.dtype
        assert torch.equal(loaded.tensors[name], tensor)
    assert loaded.manifest["license"] == "MIT"
    assert loaded.manifest["hidden"] == [64, 64]
    assert loaded.sha256 == loaded.manifest["sha256"]
    assert list(loaded.tensors) == list(SHAPES)
    assert file_names(path.parent) == ["model.json", "model.safetensors"]
    assert read_manifest(path) == loaded.manifest


def test_shared_strided_and_trainable_tensors_are_saved_by_value(tmp_path: Path) -> None:
    base = torch.arange(6, dtype=torch.float64).reshape(2, 3).requires_grad_()
    save_checkpoint(tmp_path / "x.safetensors", {"a": base, "b": base.T}, manifest={})
    loaded = load_checkpoint(tmp_path / "x.safetensors", shapes={"a": (2, 3), "b": (3, 2)})
    assert torch.equal(loaded.tensors["b"], base.detach().T)


def test_equal_content_gives_equal_bytes(path: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    save_checkpoint(again, make_tensors(), manifest={"hidden": (64, 64), "license": "MIT"})
    assert again.read_bytes() == path.read_bytes()
    assert manifest_path(again).read_bytes() == manifest_path(path).read_bytes()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_neither_saved_nor_loaded(
    path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    tensors = make_tensors()
    tensors["layer.bias"][1] = value
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=r"'layer\.bias' .*1 of 3 values .* not finite"):
        save_checkpoint(path, tensors, manifest={})
    assert path.read_bytes() == before
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_check_finite", lambda *_: None)
        save_checkpoint(path, tensors, manifest={})
    with pytest.raises(CheckpointError, match="not finite"):
        load_checkpoint(path, shapes=SHAPES)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({**SHAPES, "extra": (1,)}, "missing tensors extra"),
        ({"layer.weight": (3, 2)}, r"unexpected tensors layer\.bias, steps"),
        ({**SHAPES, "layer.weight": (2, 3)}, r"has shape \(3, 2\), expected \(2, 3\)"),
        ({**SHAPES, "layer.weight": (6,)}, r"has shape \(3, 2\), expected \(6,\)"),
    ],
)
def test_other_architecture_is_refused(
    path: Path, shapes: dict[str, tuple[int, ...]], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path, shapes=shapes)


def test_other_dtype_is_refused_not_cast(path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'layer\.bias' is float32, expected float64"):
        load_checkpoint(path, shapes=SHAPES, dtypes={"layer.bias": "float64"})
    with pytest.raises(CheckpointError, match=r"expected float16"):
        load_checkpoint(path, shapes=SHAPES, dtypes="float16")
    load_checkpoint(path, shapes=SHAPES, dtypes={"layer.bias": "float32"})


@pytest.mark.parametrize("tenth", range(10))
def test_truncated_file_is_refused(path: Path, tenth: int) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * tenth // 10])
    with pytest.raises(CheckpointError, match="does not match its manifest"):
        load_checkpoint(path, shapes=SHAPES)
    rewrite(path, data[: len(data) * tenth // 10])
    with pytest.raises(CheckpointError, match="not a valid safetensors file"):
        load_checkpoint(path, shapes=SHAPES)


def test_every_flipped_byte_of_the_tensor_file_is_noticed(path: Path) -> None:
    data = path.read_bytes()
    assert len(data) < 1000
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 + position % 255
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError):
            load_checkpoint(path, shapes=SHAPES)


def test_every_flipped_byte_of_the_manifest_is_noticed(path: Path) -> None:
    text = manifest_path(path).read_bytes()
    for position in range(len(text)):
        flipped = bytearray(text)
        # 0x29 turns a blank into a tab: still valid JSON with the same content.
        flipped[position] ^= 0x29 if text[position] == ord(" ") else 1 + position % 255
        manifest_path(path).write_bytes(flipped)
        with pytest.raises(CheckpointError):
            load_checkpoint(path, shapes=SHAPES)
    manifest_path(path).write_bytes(text)
    load_checkpoint(path, shapes=SHAPES)


CANARY_PICKLE = b"\x80\x02cos\nmkdir\nX%s%s\x85R."


def hostile_files(canary: Path, folder: Path) -> dict[str, bytes]:
    name = str(canary).encode()
    np.save(folder / "object.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    torch.save({"layer.weight": torch.zeros(3, 2)}, folder / "state.pt")
    return {
        "a Python pickle": CANARY_PICKLE % (struct.pack("<I", len(name)), name),
        "a NumPy array": (folder / "object.npy").read_bytes(),
        "a zip archive": (folder / "state.pt").read_bytes(),
        "gzip data": b"\x1f\x8b\x08" + bytes(40),
    }


@pytest.mark.parametrize("kind", ["a Python pickle", "a NumPy array", "a zip archive", "gzip data"])
def test_foreign_files_are_refused_and_never_run(path: Path, tmp_path: Path, kind: str) -> None:
    canary = tmp_path / "canary"
    data = hostile_files(canary, tmp_path)[kind]
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=f"is {kind}.* was not opened"):
        load_checkpoint(path, shapes=SHAPES)
    rewrite(path, data)
    with pytest.raises(CheckpointError, match=f"is {kind}"):
        load_checkpoint(path, shapes=SHAPES)
    foreign = path.rename(path.with_suffix(".pt"))
    with pytest.raises(CheckpointError, match="import_state_dict"):
        load_checkpoint(foreign, shapes=SHAPES)
    assert not canary.exists()


def test_the_canary_would_have_run(tmp_path: Path) -> None:
    """Control: an unsafe loader does run the planted pickle."""
    name = str(tmp_path / "canary").encode()
    data = CANARY_PICKLE % (struct.pack("<I", len(name)), name)
    code = "import pickle, sys; pickle.loads(bytes.fromhex(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, data.hex()], check=True)
    assert (tmp_path / "canary").exists()


def entry(shape: object, offsets: object, dtype: str = "F64") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (safetensors_bytes({"a": entry([2**40], [0, 8])}, bytes(8)), "declares shape"),
        (safetensors_bytes({"a": entry([2**40], [0, 2**43])}, bytes(8)), "bytes declared, 8 pres"),
        (safetensors_bytes({"a": entry([2**62, 4], [0, 0])}), "declares shape"),
        (safetensors_bytes({"a": entry([-1, -1], [0, 8])}, bytes(8)), "declares"),
        (safetensors_bytes({"a": entry([1.0], [0, 8])}, bytes(8)), "declares"),
        (safetensors_bytes({"a": entry([True], [0, 8])}, bytes(8)), "declares"),
        (safetensors_bytes({"a": entry([1], [8, 16])}, bytes(16)), "gap or overlap"),
        (
            safetensors_bytes({"a": entry([1], [0, 8]), "b": entry([1], [0, 8])}, bytes(8)),
            "gap or overlap",
        ),
        (safetensors_bytes({"a": entry([1], [0, 8])}, bytes(9)), "8 bytes declared, 9 present"),
        (safetensors_bytes({"a": entry([1], [0, 8], "F8")}, bytes(8)), "unreadable header"),
        (safetensors_bytes({"../a": entry([1], [0, 8])}, bytes(8)), r"named '\.\./a'"),
        (safetensors_bytes({"/etc/a": entry([1], [0, 8])}, bytes(8)), "named '/etc/a'"),
        (safetensors_bytes(b"[" * 100_000), "unreadable header"),
        (safetensors_bytes(b'{"a": 1}'), "unreadable header"),
        (safetensors_bytes(b"[]"), "unreadable header"),
        (struct.pack("<Q", 2**60) + bytes(50), "header of"),
        (b"", "header of 0 bytes"),
    ],
)
def test_lying_headers_are_refused_before_anything_is_allocated(
    path: Path, data: bytes, message: str
) -> None:
    rewrite(path, data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path, shapes={"a": (1,)})
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert growth < 200_000, "kB on Linux"


def test_size_limits_come_first(path: Path) -> None:
    with pytest.raises(CheckpointError, match="at most 100 are allowed"):
        load_checkpoint(path, shapes=SHAPES, max_bytes=100)
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(CheckpointError, match=f"has {2**40} bytes"):
        load_checkpoint(path, shapes=SHAPES)


def test_newer_format_version_is_refused(path: Path) -> None:
    reseal(path, lambda m: m.update(format_version=2))
    with pytest.raises(CheckpointError, match=r"format version 2, .* up to 1; upgrade"):
        load_checkpoint(path, shapes=SHAPES)


def test_older_format_version_is_upgraded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "FORMAT_VERSION", 3)
    steps = {
        1: lambda m: {**m, "format_version": 2, "first": 1},
        2: lambda m: {**m, "format_version": 3, "second": m["first"] + 1},
    }
    monkeypatch.setattr(checkpoints, "UPGRADES", steps)
    assert load_checkpoint(path, shapes=SHAPES).manifest["second"] == 2


@pytest.mark.parametrize("version", [0, -1, "1", 1.0, True, None])
def test_nonsense_versions_are_refused(path: Path, version: object) -> None:
    reseal(path, lambda m: m.update(format_version=version))
    with pytest.raises(CheckpointError, match="no kakehashi manifest"):
        load_checkpoint(path, shapes=SHAPES)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"format_version": NaN}']
)
def test_nonsense_manifests_are_refused(path: Path, text: bytes) -> None:
    manifest_path(path).write_bytes(text)
    with pytest.raises(CheckpointError, match=r"damaged|no kakehashi manifest"):
        load_checkpoint(path, shapes=SHAPES)


def test_manifest_that_lists_other_tensors_is_refused(path: Path) -> None:
    reseal(path, lambda m: m["tensors"]["steps"].update(dtype="int32"))  # type: ignore[index]
    with pytest.raises(CheckpointError, match="lists other tensors"):
        load_checkpoint(path, shapes=SHAPES)


def test_links_and_missing_files_are_refused(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.safetensors"
    link.symlink_to(path)
    manifest_path(link).write_bytes(manifest_path(path).read_bytes())
    with pytest.raises(CheckpointError, match=r"link\.safetensors is a symbolic link"):
        load_checkpoint(link, shapes=SHAPES)
    link.unlink()
    shutil.copy(path, link)
    manifest_path(link).unlink()
    with pytest.raises(CheckpointError, match=r"no manifest link\.json"):
        load_checkpoint(link, shapes=SHAPES)
    manifest_path(link).symlink_to(manifest_path(path))
    with pytest.raises(CheckpointError, match=r"link\.json is a symbolic link"):
        load_checkpoint(link, shapes=SHAPES)
    with pytest.raises(CheckpointError, match=r"cannot read .*: No such file"):
        load_checkpoint(tmp_path / "absent.safetensors", shapes=SHAPES)
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(CheckpointError, match=r"pipe\.safetensors is not a regular file"):
        load_checkpoint(tmp_path / "pipe.safetensors", shapes=SHAPES)


def test_bad_requests_write_nothing(tmp_path: Path) -> None:
    target = tmp_path / "x.safetensors"
    good = {"a": torch.zeros(2)}
    cases: list[tuple[dict[str, object], dict[str, object], str]] = [
        ({}, {}, "at least one tensor"),
        ({"../a": torch.zeros(1)}, {}, "named"),
        ({"a": [1.0]}, {}, "is a list"),
        ({"a": torch.zeros(2, dtype=torch.complex64)}, {}, "is complex64"),
        ({"a": torch.eye(2).to_sparse()}, {}, "allowed are dense"),
        (good, {"sha256": "x"}, "are set by save_checkpoint itself"),
        (good, {"digest": "x"}, "are set by save_checkpoint itself"),
        (good, {"metric": float("nan")}, "cannot be written as JSON"),
        (good, {"metric": object()}, "cannot be written as JSON"),
        (good, {"text": "x" * 2**23}, "put large data into tensors"),
    ]
    for tensors, manifest, message in cases:
        with pytest.raises(CheckpointError, match=message):
            save_checkpoint(target, tensors, manifest=manifest)  # type: ignore[arg-type]
    assert file_names(tmp_path) == []
    with pytest.raises(CheckpointError, match=r"'x\.pt' is no checkpoint"):
        save_checkpoint(tmp_path / "x.pt", good, manifest={})


def test_packaged_checkpoint(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "fake_weights_package" / "weights"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    shutil.copy(path, folder)
    # Installers such as uv may link files into site-packages.
    (folder / "model.json").symlink_to(manifest_path(path))
    monkeypatch.syspath_prepend(tmp_path)
    package, name = "fake_weights_package", "weights/model.safetensors"
    loaded = load_packaged_checkpoint(package, name, shapes=SHAPES)
    assert torch.equal(loaded.tensors["layer.weight"], make_tensors()["layer.weight"])
    assert read_packaged_manifest(package, name) == loaded.manifest
    with pytest.raises(CheckpointError, match="reinstall"):
        load_packaged_checkpoint(package, "absent.safetensors", shapes=SHAPES)
    with pytest.raises(CheckpointError, match="at most 10 are allowed"):
        load_packaged_checkpoint(package, name, shapes=SHAPES, max_bytes=10)
    for bad in (
        "../model.safetensors",
        str(path),
        "weights/../../x.safetensors",
        "a\\b.safetensors",
    ):
        with pytest.raises(CheckpointError, match="must stay inside the package"):
            load_packaged_checkpoint(package, bad, shapes=SHAPES)


CRASHES = """
import os, random, shutil, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from kakehashi_core.checkpoints import load_checkpoint, save_checkpoint

os.fsync = lambda descriptor: None  # processes die here, not the machine
folder = Path(sys.argv[1])
path = folder / "run.safetensors"
shapes = {"step": (), "weights": (300,)}

def save(step):
    tensors = {"step": torch.tensor(step), "weights": torch.full((300,), float(step))}
    save_checkpoint(path, tensors, manifest={"step": step})

def check():
    loaded = load_checkpoint(path, shapes=shapes)
    step = int(loaded.tensors["step"])
    assert loaded.manifest["step"] == step
    assert bool((loaded.tensors["weights"] == step).all())
    return step

def in_child(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    return child

def die_at(count):
    # Kill the process just before its system call number `count` that touches the disk.
    left = [count]
    def guarded(call):
        def run(*args, **options):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **options)
        return run
    for name in ("open", "replace"):
        setattr(os, name, guarded(getattr(os, name)))

def exhaustive():
    # Two crashes in a row, since a save also repairs the one before: the first one in each of the
    # states that a crash can leave, the second one at every moment.
    deaths = 0
    for first in (0, 3, 5, 7, 9):
        for second in range(11):
            for file in folder.iterdir():
                file.unlink()
            save(1)
            seen = 1
            for step, count in ((2, first), (3, second)):
                def work():
                    die_at(count)
                    save(step)
                    os._exit(0)
                status = os.waitpid(in_child(work), 0)[1]
                deaths += os.WIFSIGNALED(status)
                found = check()
                assert found in (seen, step), (found, seen, step)
                assert os.WIFSIGNALED(status) or found == step
                seen = found
            save(4)
            assert check() == 4
            assert sorted(f.name for f in folder.iterdir()) == ["run.json", "run.safetensors"]
    assert deaths > 60, deaths

def at_random():
    random.seed(20)
    save(0)
    reached = 0
    for trial in range(6):
        def work():
            step = reached
            while True:
                step += 1
                save(step)
        child = in_child(work)
        time.sleep(random.uniform(0.02, 0.12))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        now = check()
        assert now >= reached
        reached = now
    assert reached > 6, reached
    save(reached + 1)
    assert sorted(f.name for f in folder.iterdir()) == ["run.json", "run.safetensors"]

exhaustive()
at_random()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_9_while_saving_never_loses_the_last_checkpoint(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CRASHES, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_first_save_that_dies_leaves_nothing_that_loads(tmp_path: Path) -> None:
    staged = tmp_path / "x.json.next"
    staged.write_bytes(b"{}")
    with pytest.raises(CheckpointError, match="cannot read"):
        load_checkpoint(tmp_path / "x.safetensors", shapes=SHAPES)
