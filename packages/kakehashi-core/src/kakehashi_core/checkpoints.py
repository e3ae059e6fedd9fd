"""Checkpoints: a ``.safetensors`` file with a JSON manifest of the same name beside it.

The manifest holds the format version, the SHA-256 of the tensor file, names, shapes and dtypes of
all tensors, a digest of itself, and whatever the caller adds (model card, hyperparameters,
license). No file name stands in it, so it can point nowhere. Nothing here can run code: no pickle
is ever opened.

Saving survives ``kill -9`` at any moment: the new manifest is staged as ``x.json.next``, the tensor
file is replaced, then the staged manifest takes its place. Loading accepts the staged manifest when
it is the one that matches the tensor file, which is the case between the last two steps.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from kakehashi_core import _sealed_json
from kakehashi_core.errors import CheckpointError
from kakehashi_core.files import atomic_write, sync_directory

if TYPE_CHECKING:
    import torch

FORMAT = "kakehashi-checkpoint"
FORMAT_VERSION = 1
DEFAULT_MAX_BYTES = 2**30
"""Largest tensor file that is read unless the caller says otherwise, bytes."""

UPGRADES: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Format version n to the pure function that turns its manifest into one of version n + 1."""

_MAX_MANIFEST_BYTES = 2**22
_MAX_HEADER_BYTES = 2**24
_RESERVED = ("format", "format_version", "sha256", "tensors", "digest")
_TENSOR_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,511}")
# safetensors code, torch name, bytes per element
_DTYPES = (
    ("F64", "float64", 8),
    ("F32", "float32", 4),
    ("F16", "float16", 2),
    ("BF16", "bfloat16", 2),
    ("I64", "int64", 8),
    ("I32", "int32", 4),
    ("I16", "int16", 2),
    ("I8", "int8", 1),
    ("U8", "uint8", 1),
    ("BOOL", "bool", 1),
)
_BY_CODE = {code: (name, size) for code, name, size in _DTYPES}
_NAMES = tuple(name for _, name, _ in _DTYPES)
_FOREIGN = (
    (b"PK\x03\x04", "a zip archive (torch.save, .npz)"),
    (b"\x80", "a Python pickle"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x1f\x8b", "gzip data"),
    (b"\x89HDF", "an HDF5 file"),
)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        tensors: Name to tensor, on the CPU, in the stored dtype, all finite.
        manifest: Everything the manifest says, in the current format version.
        sha256: Hash of the tensor file, hexadecimal.
    """

    tensors: Mapping[str, torch.Tensor]
    manifest: Mapping[str, Any]
    sha256: str


def save_checkpoint(
    path: str | Path, tensors: Mapping[str, torch.Tensor], *, manifest: Mapping[str, Any]
) -> str:
    """Write ``path`` and the manifest beside it; the previous pair stays valid until the end.

    One process at a time may write a given checkpoint; runs hold ``files.directory_lock`` for that.

    Args:
        path: Ends in ".safetensors"; the manifest gets the same name with ".json".
        tensors: Name to dense tensor, any device; at least one.
        manifest: What the caller wants to say about them, JSON-able and finite.

    Returns:
        SHA-256 of the tensor file, hexadecimal.

    Raises:
        CheckpointError: If a tensor is not finite or not dense, a name or dtype is not supported,
            or the manifest cannot be written as JSON. Nothing is written then.
    """
    path = _checked_path(path)
    reserved = sorted(set(manifest) & set(_RESERVED))
    if reserved:
        raise CheckpointError(
            f"manifest fields {reserved} of {path.name} are set by save_checkpoint itself; "
            "use other names"
        )
    data, described = _serialized(path.name, tensors)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        text = _sealed_json.seal(
            {
                **manifest,
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "sha256": sha256,
                "tensors": described,
            }
        )
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"the manifest of {path.name} cannot be written as JSON: {error}. Allowed are strings, "
            "finite numbers, lists and mappings of these."
        ) from error
    if len(text) > _MAX_MANIFEST_BYTES:
        raise CheckpointError(
            f"the manifest of {path.name} has {len(text)} bytes, at most {_MAX_MANIFEST_BYTES} are "
            "allowed; put large data into tensors"
        )
    _finish_interrupted_save(path)
    staged = _staged_path(path)
    with atomic_write(staged) as file:
        file.write(text)
    with atomic_write(path) as file:
        file.write(data)
    staged.replace(manifest_path(path))
    sync_directory(path.parent)
    return sha256


def load_checkpoint(
    path: str | Path,
    *,
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str] | str | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> Checkpoint:
    """Read a checkpoint after checking everything that can be checked.

    Checked in this order: kind and size of both files, format version, digest and hash, header,
    names, shapes and dtypes against what is expected here, and finiteness of the values.

    Args:
        path: The ".safetensors" file.
        shapes: Name to shape of every tensor that the architecture has, no more and no less.
        dtypes: Expected dtype name ("float64") of all tensors or of each; None accepts any
            supported.
        max_bytes: Largest tensor file that is read.

    Raises:
        CheckpointError: If anything is wrong; the message says what and what to do.
    """
    path = _checked_path(path)
    text, data = _read_pair(path, max_bytes)
    return _assembled(path.name, text, data, shapes, dtypes)


def load_packaged_checkpoint(
    package: str,
    name: str,
    *,
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str] | str | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> Checkpoint:
    """Read a checkpoint that was shipped inside a wheel.

    Args:
        package: Import name of the package that holds the files.
        name: File name inside the package, with "/" between folders.
        shapes: See ``load_checkpoint``.
        dtypes: See ``load_checkpoint``.
        max_bytes: See ``load_checkpoint``.

    Raises:
        CheckpointError: See ``load_checkpoint``; also if the name leaves the package.
    """
    path = _checked_resource(package, name)
    text = _read_packaged(package, manifest_path(path), _MAX_MANIFEST_BYTES)
    data = _read_packaged(package, path, max_bytes)
    return _assembled(name, text, data, shapes, dtypes)


def read_manifest(path: str | Path, *, max_bytes: int = DEFAULT_MAX_BYTES) -> dict[str, Any]:
    """Return the checked manifest of a checkpoint; the tensor file is hashed but not opened.

    Raises:
        CheckpointError: If either file is missing, damaged, foreign or too new.
    """
    path = _checked_path(path)
    text, _ = _read_pair(path, max_bytes)
    return _understood(path.name, text)


def read_packaged_manifest(package: str, name: str) -> dict[str, Any]:
    """Return the checked manifest of a checkpoint inside a package, without reading the tensors.

    Raises:
        CheckpointError: If it is missing, damaged, foreign or too new.
    """
    path = manifest_path(_checked_resource(package, name))
    return _understood(name, _read_packaged(package, path, _MAX_MANIFEST_BYTES))


def manifest_path(path: str | Path) -> Path:
    """Return where the manifest of a checkpoint lies."""
    return Path(path).with_suffix(".json")


def _staged_path(path: Path) -> Path:
    return path.with_suffix(".json.next")


# Reading bytes.


def _checked_path(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix != ".safetensors":
        raise CheckpointError(
            f"{path.name!r} is no checkpoint: only '.safetensors' files with their '.json' "
            "manifest are loaded. Convert torch state dicts with "
            "kakehashi_core.foreign_weights.import_state_dict."
        )
    return path


def _read_pair(path: Path, max_bytes: int) -> tuple[bytes, bytes]:
    """Return manifest and tensor file that belong together."""
    for _ in range(10):
        before = _signature(path)
        data = _read_file(path, max_bytes)
        _refuse_foreign(path.name, data)
        sha256 = hashlib.sha256(data).hexdigest()
        current, staged = manifest_path(path), _staged_path(path)
        found: list[bytes] = []
        for candidate in (current, staged):
            if candidate.exists() or candidate.is_symlink():
                text = _read_file(candidate, _MAX_MANIFEST_BYTES)
                if _claimed_hash(text) == sha256:
                    return text, data
                found.append(text)
        # Another process may have saved in between; then the files differ from those seen first.
        if before == _signature(path):
            break
    if not found:
        raise CheckpointError(
            f"{path.name} has no manifest {current.name} beside it; copy both files together"
        )
    _understood(path.name, found[0])  # a damaged or newer manifest is the better explanation
    raise CheckpointError(
        f"{path.name} does not match its manifest: SHA-256 is {sha256}, the manifest says "
        f"{_claimed_hash(found[0])}. The file is damaged or was exchanged; get it again."
    )


def _signature(path: Path) -> tuple[tuple[int, int, int] | None, ...]:
    signature: list[tuple[int, int, int] | None] = []
    for file in (path, manifest_path(path), _staged_path(path)):
        try:
            status = file.lstat()
            signature.append((status.st_ino, status.st_size, status.st_mtime_ns))
        except FileNotFoundError:
            signature.append(None)
    return tuple(signature)


def _read_file(path: Path, limit: int) -> bytes:
    if path.is_symlink():
        raise CheckpointError(f"{path.name} is a symbolic link; give the file itself")
    # O_NOFOLLOW closes the gap after the check above, O_NONBLOCK keeps a pipe from blocking.
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY", "O_CLOEXEC"):
        flags |= getattr(os, name, 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError(f"{path.name} is not a regular file")
        return _read_limited(path.name, file, limit)


def _read_limited(name: str, file: IO[bytes], limit: int) -> bytes:
    size = file.seek(0, os.SEEK_END)
    if size > limit:
        raise CheckpointError(
            f"{name} has {size} bytes, at most {limit} are allowed; raise max_bytes if you trust it"
        )
    file.seek(0)
    return file.read(size)


def _checked_resource(package: str, name: str) -> Path:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or ":" in name:
        raise CheckpointError(
            f"checkpoint name {name!r} must stay inside the package {package}: no '..', no "
            "absolute path, '/' between folders"
        )
    return _checked_path(name)


def _read_packaged(package: str, file: Path, limit: int) -> bytes:
    # Links are followed here: some installers fill site-packages with links into their cache.
    resource = resources.files(package).joinpath(*file.parts)
    try:
        with resource.open("rb") as opened:
            return _read_limited(f"{file.name} of {package}", opened, limit)
    except OSError as error:
        raise CheckpointError(
            f"cannot read {file.as_posix()} of {package}: {error.strerror}; reinstall the "
            "distribution that ships it"
        ) from error


# Understanding the manifest.


def _claimed_hash(text: bytes) -> str:
    try:
        return str(_sealed_json.unseal(text).get("sha256", ""))
    except _sealed_json.SealError:
        return ""


def _understood(name: str, text: bytes) -> dict[str, Any]:
    """Return the manifest in the current format version."""
    try:
        manifest = _sealed_json.parse(text)
    except _sealed_json.SealError as error:
        raise CheckpointError(f"the manifest of {name} is damaged: {error}") from error
    version = manifest.get("format_version")
    if manifest.get("format") != FORMAT or type(version) is not int or version < 1:
        raise CheckpointError(
            f"the JSON file beside {name} is no kakehashi manifest: format "
            f"{manifest.get('format')!r}, format_version {version!r}"
        )
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"{name} has format version {version}, this kakehashi-core reads up to "
            f"{FORMAT_VERSION}; upgrade kakehashi-core"
        )
    try:
        manifest = _sealed_json.unseal(text)
    except _sealed_json.SealError as error:
        raise CheckpointError(f"the manifest of {name} is damaged: {error}") from error
    for step in range(version, FORMAT_VERSION):
        manifest = UPGRADES[step](manifest)
    return manifest


def _assembled(
    name: str,
    text: bytes,
    data: bytes,
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str] | str | None,
) -> Checkpoint:
    from safetensors import SafetensorError
    from safetensors.torch import load

    manifest = _understood(name, text)
    _refuse_foreign(name, data)
    sha256 = hashlib.sha256(data).hexdigest()
    if manifest.get("sha256") != sha256:
        raise CheckpointError(
            f"{name} does not match its manifest: SHA-256 is {sha256}, the manifest says "
            f"{manifest.get('sha256')}. The file is damaged or was exchanged; get it again."
        )
    stored = _read_header(name, data)
    if manifest.get("tensors") != stored:
        raise CheckpointError(
            f"the manifest of {name} lists other tensors than the file holds; get both files again"
        )
    _match(name, stored, shapes, dtypes)
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise CheckpointError(f"{name} is not a valid safetensors file: {error}") from error
    for key, tensor in tensors.items():
        _check_finite(name, key, tensor)
    ordered = {key: tensors[key] for key in shapes}
    return Checkpoint(tensors=ordered, manifest=manifest, sha256=sha256)


def _refuse_foreign(name: str, data: bytes) -> None:
    for magic, words in _FOREIGN:
        # A safetensors file starts with a header length whose upper bytes are zero, and "{".
        if data.startswith(magic) and data[4:9] != b"\0\0\0\0{":
            raise CheckpointError(
                f"{name} is {words}, not a safetensors file, and was not opened; convert torch "
                "state dicts with kakehashi_core.foreign_weights.import_state_dict"
            )


def _read_header(name: str, data: bytes) -> dict[str, Any]:
    """Return name to dtype and shape; every number is checked against the length of the file."""
    problem = f"{name} is not a valid safetensors file"
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_MAX_HEADER_BYTES, len(data) - 8):
        raise CheckpointError(f"{problem}: header of {length} bytes in a file of {len(data)}")
    try:
        header = json.loads(data[8 : 8 + length].decode("utf-8"))
        header.pop("__metadata__", None)
        described, spans = {}, []
        for key, entry in header.items():
            dtype, size = _BY_CODE[entry["dtype"]]
            shape, (start, stop) = entry["shape"], entry["data_offsets"]
            counts = [*shape, start, stop]
            if any(type(count) is not int or count < 0 for count in counts):
                raise CheckpointError(f"{problem}: tensor {key!r} declares {counts}")
            if stop - start != math.prod(shape) * size:
                raise CheckpointError(
                    f"{problem}: tensor {key!r} declares shape {shape} of {dtype} in "
                    f"{stop - start} bytes"
                )
            spans.append((start, stop))
            described[_checked_name(name, key)] = {"dtype": dtype, "shape": shape}
    except (KeyError, TypeError, AttributeError, RecursionError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{problem}: unreadable header ({error!r})") from error
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise CheckpointError(f"{problem}: gap or overlap at byte {end}")
        end = stop
    if end != len(data) - 8 - length:
        raise CheckpointError(
            f"{problem}: {end} bytes declared, {len(data) - 8 - length} present; it is truncated "
            "or has a tail"
        )
    return described


def _checked_name(file: str, key: str) -> str:
    if not _TENSOR_NAME.fullmatch(key) or ".." in key:
        raise CheckpointError(
            f"{file} holds a tensor named {key!r}; allowed are letters, digits, '_', '-' and "
            "single dots"
        )
    return key


def _match(
    name: str,
    stored: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str] | str | None,
) -> None:
    missing, extra = sorted(set(shapes) - set(stored)), sorted(set(stored) - set(shapes))
    if missing or extra:
        raise CheckpointError(
            f"{name} does not fit this model: missing tensors {_few(missing)}, unexpected tensors "
            f"{_few(extra)}; it belongs to another architecture"
        )
    for key, entry in stored.items():
        if list(shapes[key]) != entry["shape"]:
            raise CheckpointError(
                f"{name} does not fit this model: tensor {key!r} has shape "
                f"{tuple(entry['shape'])}, expected {tuple(shapes[key])}"
            )
        expected = dtypes.get(key) if isinstance(dtypes, Mapping) else dtypes
        if expected is not None and expected != entry["dtype"]:
            raise CheckpointError(
                f"{name} does not fit this model: tensor {key!r} is {entry['dtype']}, expected "
                f"{expected}"
            )


def _few(names: Iterable[str]) -> str:
    names = list(names)
    shown = ", ".join(names[:5]) or "none"
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _check_finite(name: str, key: str, tensor: torch.Tensor) -> None:
    import torch

    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        bad = int((~torch.isfinite(tensor)).sum())
        raise CheckpointError(
            f"tensor {key!r} of {name} holds {bad} of {tensor.numel()} values that are not finite; "
            "the training that wrote it diverged"
        )


# Writing.


def _finish_interrupted_save(path: Path) -> None:
    # Overwriting a staged manifest that is the only one to fit would lose the tensor file.
    staged = _staged_path(path)
    if staged.is_file() and path.is_file():
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if _claimed_hash(staged.read_bytes()) == sha256:
            staged.replace(manifest_path(path))
            sync_directory(path.parent)


def _serialized(name: str, tensors: Mapping[str, torch.Tensor]) -> tuple[bytes, dict[str, Any]]:
    import torch
    from safetensors.torch import save

    if not tensors:
        raise CheckpointError(f"{name}: a checkpoint needs at least one tensor")
    plain, described = {}, {}
    for key, tensor in tensors.items():
        _checked_name(name, key)
        if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided:
            raise CheckpointError(
                f"{name}: {key!r} is a {type(tensor).__name__}, allowed are dense torch tensors"
            )
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in _NAMES:
            raise CheckpointError(
                f"{name}: tensor {key!r} is {dtype}, allowed are {', '.join(_NAMES)}"
            )
        # A copy of its own: safetensors refuses tensors that share memory.
        plain[key] = tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format)
        _check_finite(name, key, plain[key])
        described[key] = {"dtype": dtype, "shape": list(tensor.shape)}
    return save(plain), described
