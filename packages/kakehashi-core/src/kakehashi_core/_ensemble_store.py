"""Keys and files of ensemble results: canonical hashes, JSON, and arrays in ``.npz`` beside it."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from kakehashi_core import _sealed_json
from kakehashi_core.errors import InvalidInputError
from kakehashi_core.files import atomic_write

_FORMAT_VERSION = 1
_TAGS = frozenset({"__array__", "__scalar__", "__float__", "__tuple__", "__dict__"})


class DamagedResultError(ValueError):
    """A result file does not hold what was written."""


def task_name(task: Callable[..., Any]) -> str:
    """Return module and qualified name of a task; of the inner function for a partial one.

    Raises:
        InvalidInputError: If other functions could have the same name, as lambdas do.
    """
    inner = task.func if isinstance(task, functools.partial) else task
    module, name = getattr(inner, "__module__", None), getattr(inner, "__qualname__", None)
    owner = getattr(inner, "__self__", None)  # of built-in functions: their module
    bound = owner is not None and not isinstance(owner, ModuleType)
    if not module or not name or "<" in name or bound:
        raise InvalidInputError(
            f"task {task!r} has no name that stays the same in the next run. Allowed are functions "
            "defined at the top of a module, and functools.partial of them."
        )
    return f"{module}:{name}"


def input_key(task: Callable[..., Any], version: str, value: object) -> str:
    """Return the hash that names a result, equal in every process and on every machine.

    Args:
        task: Callable named by ``task_name``; bound arguments of a partial count as input.
        version: Changes whenever the task computes something else under the same name.
        value: JSON-able data and NumPy arrays, nested.
    """
    bound = [list(task.args), task.keywords] if isinstance(task, functools.partial) else []
    digest = hashlib.sha256()
    _feed(digest.update, [task_name(task), version, bound, value], "input")
    return digest.hexdigest()


def write_result(directory: Path, key: str, result: object, description: Mapping[str, Any]) -> None:
    """Write one result; the JSON file comes last and makes it valid.

    Raises:
        InvalidInputError: If the result holds something that cannot be stored.
    """
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    tree = _encode(result, arrays, "result")
    sha256 = ""
    if arrays:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
        with atomic_write(directory / f"{key}.npz") as file:
            file.write(buffer.getvalue())
    record = {
        **description,
        "format_version": _FORMAT_VERSION,
        "key": key,
        "arrays_sha256": sha256,
        "result": tree,
    }
    try:
        text = _sealed_json.seal(record)
    except ValueError as error:  # text that is not valid Unicode
        raise InvalidInputError(f"the result cannot be stored as JSON: {error}") from error
    with atomic_write(directory / f"{key}.json") as file:
        file.write(text)


def read_result(directory: Path, key: str) -> Any:
    """Read one result back, with the very types and bits that were written.

    Raises:
        FileNotFoundError: If it was never finished.
        DamagedResultError: If the files are not what was written.
    """
    text = (directory / f"{key}.json").read_bytes()
    try:
        stored = _sealed_json.unseal(text)
    except _sealed_json.SealError as error:
        raise DamagedResultError(f"{key}.json: {error}") from error
    if stored.get("format_version") != _FORMAT_VERSION or stored.get("key") != key:
        raise DamagedResultError(
            f"{key}.json is of format version {stored.get('format_version')!r} for key "
            f"{stored.get('key')!r}"
        )
    arrays: dict[str, Any] = {}
    if stored["arrays_sha256"]:
        try:
            data = (directory / f"{key}.npz").read_bytes()
        except OSError as error:
            raise DamagedResultError(f"{key}.npz: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != stored["arrays_sha256"]:
            raise DamagedResultError(f"{key}.npz does not match its hash")
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = dict(archive)
    return _decode(stored["result"], arrays)


def _feed(update: Callable[[bytes], None], value: object, where: str) -> None:
    """Feed a value to a hash, each piece with its type and length so that no two values collide."""
    if value is None or isinstance(value, bool | np.bool_):
        update(f"{None if value is None else bool(value)};".encode())
    elif isinstance(value, int | np.integer):
        update(f"i{int(value)};".encode())
    elif isinstance(value, float):  # np.float64 is one
        update(f"f{float(value).hex()};".encode())
    elif isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
        update(b"s%d:" % len(data) + data)
    elif isinstance(value, list | tuple):
        update(b"l%d:" % len(value))
        for index, item in enumerate(value):
            _feed(update, item, f"{where}[{index}]")
    elif isinstance(value, Mapping):
        _check_keys(value, where)
        update(b"d%d:" % len(value))
        for name in sorted(value):
            _feed(update, name, where)
            _feed(update, value[name], f"{where}[{name!r}]")
    elif isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        _check_array(value, where)
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        update(f"a{array.dtype.str}{np.shape(value)};".encode())
        update(array.tobytes())
    else:
        raise _unstorable(value, where)


def _encode(value: object, arrays: dict[str, np.ndarray[Any, Any]], where: str) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        _check_array(value, where)
        name = f"array{len(arrays)}"
        arrays[name] = np.asarray(value)
        return {"__array__" if isinstance(value, np.ndarray) else "__scalar__": name}
    if isinstance(value, float) and not math.isfinite(value):
        return {"__float__": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        items = [_encode(item, arrays, f"{where}[{i}]") for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"__tuple__": items}
    if isinstance(value, Mapping):
        _check_keys(value, where)
        tree = {k: _encode(item, arrays, f"{where}[{k!r}]") for k, item in value.items()}
        # Pairs keep the order of the mapping, which sorted JSON would lose.
        plain = not (_TAGS & set(tree)) and list(tree) == sorted(tree)
        return tree if plain else {"__dict__": [list(pair) for pair in tree.items()]}
    raise _unstorable(value, where)


def _decode(tree: Any, arrays: Mapping[str, Any]) -> Any:
    if isinstance(tree, list):
        return [_decode(item, arrays) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if len(tree) == 1 and (tag := next(iter(tree))) in _TAGS:
        content = tree[tag]
        if tag == "__array__":
            return arrays[content]
        if tag == "__scalar__":
            return arrays[content][()]
        if tag == "__float__":
            return float(content)
        if tag == "__tuple__":
            return tuple(_decode(item, arrays) for item in content)
        return {name: _decode(item, arrays) for name, item in content}
    return {name: _decode(item, arrays) for name, item in tree.items()}


def _check_keys(value: Mapping[Any, Any], where: str) -> None:
    for name in value:
        if not isinstance(name, str):
            raise InvalidInputError(f"{where} has the key {name!r}; keys must be strings")


def _check_array(value: np.ndarray[Any, Any] | np.generic, where: str) -> None:
    if isinstance(value, np.ndarray) and type(value) is not np.ndarray:
        raise _unstorable(value, where)  # a masked array would lose its mask
    if value.dtype.hasobject or value.dtype.kind not in "biufcUS":
        raise InvalidInputError(
            f"{where} is an array of dtype {value.dtype}; allowed are numbers, booleans and text"
        )


def _unstorable(value: object, where: str) -> InvalidInputError:
    shown = repr(value)
    return InvalidInputError(
        f"{where} is a {type(value).__name__} ({shown[:60]}). Allowed are None, booleans, numbers, "
        "strings, lists, tuples, mappings with string keys, and NumPy arrays; use "
        "dataclasses.asdict for a dataclass and .numpy() for a tensor."
    )


def summary(value: object) -> str:
    """Return a short text for an input in an error message."""
    try:
        text = json.dumps(value, default=lambda item: f"<{type(item).__name__}>")
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
