"""Convert state dicts that other people published with torch into plain checked tensors.

This is the only place that calls torch's loader. It is a step for developers and for one-off
conversions: nothing at run time takes a ``.pt`` file. Every limit is checked before torch sees a
byte, and the loader runs with ``weights_only=True``, never otherwise.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kakehashi_core.devices import resolve_dtype
from kakehashi_core.errors import CheckpointError

if TYPE_CHECKING:
    import torch

_ANY_DTYPE = ("float64", "float32", "float16", "bfloat16")


def import_state_dict(
    path: str | Path,
    *,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: str | torch.dtype,
    max_bytes: int,
    sha256: str | Collection[str] | None = None,
) -> dict[str, torch.Tensor]:
    """Read a torch state dict from a file that somebody else wrote.

    Args:
        path: The file, zip or legacy format of ``torch.save``.
        shapes: Name to shape of every tensor, no more and no less.
        dtype: What every tensor must be stored in; nothing is cast.
        max_bytes: Largest file that is opened, bytes.
        sha256: Accepted hash or hashes of the file, hexadecimal; a mapping counts by its values.
            None accepts any file.

    Returns:
        Name to tensor in the order of ``shapes``: contiguous, on the CPU, finite, without gradient.

    Raises:
        CheckpointError: If anything differs from what is expected.
    """
    path = Path(path)
    expected = resolve_dtype(dtype, supported=_ANY_DTYPE)
    data = _checked_bytes(path, max_bytes, sha256)
    state = _opened(path.name, data, max_bytes)
    missing, extra = sorted(set(shapes) - set(state)), sorted(set(state) - set(shapes), key=str)
    if missing or extra:
        raise CheckpointError(
            f"{path.name} has other keys than expected: missing {missing[:5]}, unexpected "
            f"{extra[:5]}; it belongs to another architecture"
        )
    return {
        key: _checked_tensor(f"{key!r} of {path.name}", state[key], shape, expected)
        for key, shape in shapes.items()
    }


def _checked_bytes(path: Path, max_bytes: int, sha256: str | Collection[str] | None) -> bytes:
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    size = path.stat().st_size
    if size > max_bytes:
        raise CheckpointError(
            f"{path.name} has {size} bytes, at most {max_bytes} are allowed; raise max_bytes if "
            "you trust it"
        )
    with path.open("rb") as file:
        data = file.read(size + 1)
    if len(data) > max_bytes:
        raise CheckpointError(f"{path.name} grew beyond {max_bytes} bytes while it was read")
    if sha256 is not None:
        accepted = _accepted(sha256)
        found = hashlib.sha256(data).hexdigest()
        if found not in accepted:
            wanted = " or ".join(sorted(accepted)) or "none"
            raise CheckpointError(
                f"{path.name} has SHA-256 {found}, expected {wanted}; it is damaged or another "
                "version, and was not opened"
            )
    return data


def _accepted(sha256: str | Collection[str]) -> set[str]:
    if isinstance(sha256, str):
        return {sha256.lower()}
    values = sha256.values() if isinstance(sha256, Mapping) else sha256
    return {str(value).lower() for value in values}


def _opened(name: str, data: bytes, max_bytes: int) -> Mapping[str, object]:
    import torch

    if zipfile.is_zipfile(io.BytesIO(data)):
        _refuse_compressed(name, data, max_bytes)
    try:
        # From the bytes that were hashed, so that nobody can exchange the file in between.
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # foreign bytes fail in torch with a dozen different classes
        raise CheckpointError(
            f"{name} cannot be read as a torch state dict of plain tensors "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}). Files "
            "that need arbitrary code to load are never opened in another way."
        ) from error
    if not isinstance(state, Mapping):
        raise CheckpointError(
            f"{name} holds a {type(state).__name__}, not a state dict from name to tensor"
        )
    return state


def _refuse_compressed(name: str, data: bytes, max_bytes: int) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile as error:
        raise CheckpointError(f"{name} is a damaged zip archive: {error}") from error
    compressed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    if compressed or sum(member.file_size for member in members) > max_bytes:
        raise CheckpointError(
            f"{name} is an archive that unpacks to more than it weighs; torch.save never compresses"
        )


def _checked_tensor(
    name: str, tensor: object, shape: tuple[int, ...], dtype: torch.dtype
) -> torch.Tensor:
    import torch

    if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided:
        raise CheckpointError(f"{name} is a {type(tensor).__name__}, not a dense tensor")
    if tuple(tensor.shape) != tuple(shape) or tensor.dtype != dtype:
        raise CheckpointError(
            f"{name} has shape {tuple(tensor.shape)} and dtype {tensor.dtype}, expected "
            f"{tuple(shape)} and {dtype}"
        )
    plain = tensor.detach().clone(memory_format=torch.contiguous_format)
    if not bool(torch.isfinite(plain).all()):
        raise CheckpointError(f"{name} holds values that are not finite")
    return plain
