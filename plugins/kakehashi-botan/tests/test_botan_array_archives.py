"""Damaged, hostile and foreign archives give one kind of error, before memory is spent."""

from __future__ import annotations

import io
import pickle
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kakehashi_botan.array_archives import read_arrays
from kakehashi_core.errors import InvalidInputError

ARRAYS: dict[str, Any] = {
    "a": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "text": np.array("déjà"),
    "none": np.zeros((0, 3)),
    "flag": np.array([True, False]),
    "big endian": np.arange(3, dtype=">i4"),
}


def npy(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array), **options)
    return file.getvalue()


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back_as_numpy_wrote_them(tmp_path: Path, save: Any) -> None:
    """Oracle: numpy.load."""
    path = tmp_path / "a.npz"
    save(path, **ARRAYS)
    found = read_arrays(path)
    assert set(found) == set(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_truncation_and_flips_are_noticed(tmp_path: Path) -> None:
    """Cut at every twentieth, and a flipped byte in every array: an error, or the right numbers."""
    good = tmp_path / "good.npz"
    np.savez(good, a=np.arange(300.0), b=np.arange(40))
    data = good.read_bytes()
    bad = tmp_path / "bad.npz"
    for part in range(20):
        bad.write_bytes(data[: len(data) * part // 20])
        with pytest.raises(InvalidInputError, match=r"bad\.npz.*(damaged|truncated)"):
            read_arrays(bad)
    n_refused = 0
    for place in range(0, len(data), 37):
        bad.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            found = read_arrays(bad)
        except InvalidInputError:
            n_refused += 1
        else:  # the byte meant nothing, such as a date
            assert all(np.array_equal(v, np.arange(v.size)) for v in found.values())
    assert n_refused > 0.8 * len(data) / 37


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    """A canary that would write a file when unpickled, inside an object array and as a bare pickle."""
    canary = tmp_path / "canary"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (canary,)

    trapped = np.array([Trap()], dtype=object)
    hostile = archive(tmp_path / "a.npz", {"a.npy": npy(trapped, allow_pickle=True)})
    with pytest.raises(InvalidInputError, match=r"dtype object.*pickle"):
        read_arrays(hostile)
    bare = tmp_path / "b.npz"
    bare.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_arrays(bare)
    assert not canary.exists()
    pickle.loads(bare.read_bytes())  # control: the trap works
    assert canary.exists()


def test_bombs_are_refused_without_unpacking(tmp_path: Path) -> None:
    """Memory growth stays below 20 MB: high compression, absurd shapes, and archives beyond the limit."""
    bomb = archive(tmp_path / "bomb.npz", {"a.npy": npy(np.zeros(2**24))}, zipfile.ZIP_DEFLATED)
    header = npy(np.zeros(2)).replace(b"(2,), }" + b" " * 15, b"(1099511627776, 64), }")
    assert b"1099511627776" in header
    absurd = archive(tmp_path / "absurd.npz", {"a.npy": header})
    large = archive(tmp_path / "large.npz", {"a.npy": npy(np.zeros(1000))})
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInputError, match="ratio beyond 100"):
            read_arrays(bomb)
        with pytest.raises(InvalidInputError, match=r"declares shape \(1099511627776, 64\)"):
            read_arrays(absurd)
        with pytest.raises(InvalidInputError, match="at most 5000 are allowed"):
            read_arrays(large, max_bytes=5000)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_small_uniform_arrays_may_pack_well(tmp_path: Path) -> None:
    """Types of a single species compress a thousandfold and are no trap."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, types=np.zeros(100_000, int))
    assert path.stat().st_size * 100 < 800_000
    assert len(read_arrays(path)["types"]) == 100_000


def test_other_files_and_entries(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="there is no file"):
        read_arrays(tmp_path / "absent.npz")
    with pytest.raises(InvalidInputError, match="there is no file"):
        read_arrays(tmp_path)
    foreign = archive(tmp_path / "a.npz", {"readme.txt": b"hello"})
    with pytest.raises(InvalidInputError, match=r"'readme\.txt' that is no array"):
        read_arrays(foreign)
    for dtype in ("c16", "M8[s]", "S3", [("x", "f8")]):
        odd = archive(tmp_path / "b.npz", {"a.npy": npy(np.zeros(2, dtype=dtype))})
        with pytest.raises(InvalidInputError, match="integers, floats, booleans and text"):
            read_arrays(odd)
    single = tmp_path / "c.npz"
    single.write_bytes(npy(np.zeros(2)))
    with pytest.raises(InvalidInputError, match=r"cannot be read as an .npz archive"):
        read_arrays(single)
    with zipfile.ZipFile(single, "w") as file:
        file.writestr("a.npy", npy(np.zeros(2)))
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("a.npy", npy(np.ones(2)))
    with pytest.raises(InvalidInputError, match="comes twice"):
        read_arrays(single)
