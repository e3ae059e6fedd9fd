"""Atomic writes, JSON files and locks on run directories.

After ``atomic_write`` a file holds either its old content or its new content, whenever the
process dies. Leftovers of dead writers are removed by the next write of the same file.
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal, overload

from kakehashi_core.errors import InvalidInputError, LockedError

LOCK_NAME = "kakehashi.lock"
"""File inside a run directory that carries its lock."""

_OWNER_NAME = "kakehashi.lock.json"
_WINDOWS = os.name == "nt"


@overload
@contextmanager
def atomic_write(path: str | Path, mode: Literal["wb"] = "wb") -> Iterator[IO[bytes]]: ...
@overload
@contextmanager
def atomic_write(path: str | Path, mode: Literal["w"]) -> Iterator[IO[str]]: ...
@contextmanager
def atomic_write(path: str | Path, mode: Literal["wb", "w"] = "wb") -> Iterator[IO[Any]]:
    """Open a file whose content appears under ``path`` only once it is complete and on disk.

    Args:
        path: Target; its folder must exist. A symbolic link is replaced, not followed.
        mode: "wb" for bytes or "w" for UTF-8 text with Unix line ends.

    Yields:
        The open temporary file. When the block raises, the target stays as it was.

    Raises:
        InvalidInputError: For another mode.
        OSError: If the disk is full or the folder cannot be written.
    """
    if mode not in {"wb", "w"}:
        raise InvalidInputError(f"mode must be 'wb' or 'w', got {mode!r}")
    path = Path(path)
    _remove_leftovers(path)
    # Host and process are in the name, so that others can tell a leftover from a file in use.
    temporary = path.with_name(f".{path.name}.{_host()}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(temporary, flags, 0o666)  # the user's umask applies
    text_options = {} if mode == "wb" else {"encoding": "utf-8", "newline": "\n"}
    try:
        with os.fdopen(descriptor, mode, **text_options) as file:  # type: ignore[call-overload]
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def write_json(path: str | Path, data: Any) -> None:
    """Write ``data`` as indented JSON, atomically.

    Args:
        path: Target file.
        data: JSON-able data; numpy scalars and arrays, paths and dataclasses are converted.

    Raises:
        InvalidInputError: If the data hold something else, or a number that is not finite (JSON
            has none). Nothing is written then.
    """
    try:
        text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"{Path(path).name} cannot be written as JSON: {error}. Allowed are finite numbers, "
            "strings, lists, mappings, numpy arrays and dataclasses of these; replace NaN by None."
        ) from error
    with atomic_write(path, "w") as file:
        file.write(text + "\n")


@contextmanager
def directory_lock(directory: str | Path) -> Iterator[Path]:
    """Keep a run directory to this process; the lock goes when the process dies.

    Args:
        directory: Folder, created if absent.

    Yields:
        The directory.

    Raises:
        LockedError: At once, if somebody else holds the lock; the message says who.
    """
    import filelock

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(directory / LOCK_NAME, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise LockedError(
            f"run directory {directory} is in use by {_owner(directory)}. Wait for it to finish, "
            "or choose another directory."
        ) from None
    try:
        write_json(directory / _OWNER_NAME, {"host": socket.gethostname(), "process": os.getpid()})
        yield directory
    finally:
        (directory / _OWNER_NAME).unlink(missing_ok=True)
        lock.release()


def sync_directory(directory: str | Path) -> None:
    """Bring renames inside a folder to the disk."""
    if _WINDOWS:  # folders cannot be opened there; NTFS journals renames
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_leftovers(path: Path) -> None:
    if _WINDOWS:  # os.kill(pid, 0) would send Ctrl-C there
        return
    prefix = f".{path.name}.{_host()}."
    with suppress(OSError), os.scandir(path.parent) as listing:
        for item in listing:
            if not (item.name.startswith(prefix) and item.name.endswith(".tmp")):
                continue
            process = item.name.removeprefix(prefix).split(".")[0]
            if process.isdecimal() and not _alive(int(process)):
                Path(item.path).unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _host() -> str:
    return socket.gethostname().split(".")[0] or "localhost"


def _owner(directory: Path) -> str:
    try:
        owner = json.loads((directory / _OWNER_NAME).read_text(encoding="utf-8"))
        process, host = owner["process"], owner["host"]
    except (OSError, ValueError, LookupError, TypeError):
        return "another process"
    if process == os.getpid() and host == socket.gethostname():
        return f"this very process ({process})"
    return f"process {process} on {host}"


def _plain(value: object) -> Any:
    import numpy as np

    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{value!r} is a {type(value).__name__}")
