"""Read ``.npz`` archives of others: sizes checked first, plain numbers and text only, never pickle."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError

Array = npt.NDArray[Any]

MAX_BYTES = 4 * 2**30
"""Largest archive that is read by default, unpacked, bytes."""

_MAX_RATIO = 100
"""Unpacked over packed size beyond which a large archive is taken for a trap; trajectories reach about 3."""

_SMALL = 64 * 2**20
"""Unpacked sizes, bytes, up to which the ratio does not matter: types of one species pack very well."""

_SUFFIX = ".npy"


def read_arrays(path: str | Path, *, max_bytes: int = MAX_BYTES) -> dict[str, Array]:
    """Read all arrays of an ``.npz`` archive.

    Args:
        path: The file.
        max_bytes: Largest sum of unpacked sizes, bytes.

    Returns:
        Name to read-only array of integers, floats, booleans or text.

    Raises:
        InvalidInputError: If the file is absent, no such archive, truncated, damaged, too large, suspiciously
            compressed, or holds Python objects.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidInputError(f"there is no file {path}; check the name and the folder.")
    with _damage_reported(path), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _refuse_bombs(path, members, max_bytes)
        arrays: dict[str, Array] = {}
        for member in members:
            name = member.filename.removesuffix(_SUFFIX)
            if name in arrays or not member.filename.endswith(_SUFFIX):
                raise InvalidInputError(
                    f"{path.name} has an entry {member.filename!r} that is no array or comes twice; an .npz "
                    "archive holds one .npy per name. Write it again with numpy.savez."
                )
            with archive.open(member) as stream:
                arrays[name] = _read_member(f"{name!r} of {path.name}", stream, member.file_size)
    return arrays


@contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    """Turn whatever zip and number parsing raise on foreign bytes into one error."""
    try:
        yield
    except InvalidInputError:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        ValueError,
        NotImplementedError,  # compression method
        RuntimeError,  # encrypted
    ) as error:
        raise InvalidInputError(
            f"{path.name} ({path.stat().st_size} bytes) cannot be read as an .npz archive: {error}. It is "
            "damaged, truncated, or of another kind; copy or download it again."
        ) from error


def _refuse_bombs(path: Path, members: list[zipfile.ZipInfo], max_bytes: int) -> None:
    unpacked, packed = sum(m.file_size for m in members), path.stat().st_size
    if unpacked > max_bytes:
        raise InvalidInputError(
            f"{path.name} unpacks to {unpacked} bytes; at most {max_bytes} are allowed. Raise max_bytes if "
            "you trust it."
        )
    if unpacked > _SMALL and unpacked > _MAX_RATIO * packed:
        raise InvalidInputError(
            f"{path.name} has {packed} bytes and unpacks to {unpacked}; a ratio beyond {_MAX_RATIO} is "
            "refused. Trajectories do not compress like that; write it again without compression."
        )


def _read_member(label: str, stream: IO[bytes], size: int) -> Array:
    data = stream.read()  # checks the checksum of the archive at its end
    header = io.BytesIO(data)
    version = np.lib.format.read_magic(header)
    if version not in {(1, 0), (2, 0)}:
        raise InvalidInputError(
            f"{label} has .npy version {version}; (1, 0) and (2, 0) are read. Save plain arrays."
        )
    parse = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, fortran_order, dtype = parse(header)
    if dtype.kind not in "iufbU":
        raise InvalidInputError(
            f"{label} has dtype {dtype}; integers, floats, booleans and text are read. Python objects would "
            "need pickle, which can run code and is never opened; save plain arrays."
        )
    count, begin = math.prod(shape), header.tell()
    # In Python integers, so that absurd shapes cannot overflow; nothing was allocated for the shape yet.
    if count * dtype.itemsize != len(data) - begin or len(data) != size:
        raise InvalidInputError(
            f"{label} declares shape {shape} of {dtype}, {count * dtype.itemsize} bytes, but holds "
            f"{len(data) - begin}; the file is damaged or truncated. Copy or download it again."
        )
    if not count:
        return np.zeros(shape, dtype=dtype)
    flat: Array = np.frombuffer(data, dtype=dtype, offset=begin)
    return flat.reshape(shape, order="F" if fortran_order else "C")
