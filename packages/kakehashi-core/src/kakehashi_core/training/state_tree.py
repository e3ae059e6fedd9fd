"""Nested states as JSON with tensors beside it, and back with the very types and bits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kakehashi_core.errors import CheckpointError, InvalidInputError

if TYPE_CHECKING:
    import torch

# Types that a checkpoint holds as they are; others, and values that are not finite, go as bytes.
_PLAIN = frozenset(
    (
        "float64",
        "float32",
        "float16",
        "bfloat16",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint8",
        "bool",
    )
)


def encode(state: object) -> tuple[Any, dict[str, torch.Tensor]]:
    """Return a JSON-able tree, and the tensors that it refers to by name.

    Tensors of the result share memory with the state.

    Raises:
        InvalidInputError: If the state holds something else than ``Trainable`` allows; the message says
            where.
    """
    tensors: dict[str, torch.Tensor] = {}
    return _encode(state, tensors, "state"), tensors


def decode(tree: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """Return the state that ``encode`` was given; tensors on the CPU.

    Raises:
        CheckpointError: If the tree is not one that ``encode`` made.
    """
    try:
        return _decode(tree, tensors)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"a training state cannot be understood ({error!r}); it was written by another version of "
            "kakehashi-core. Train again in a new directory."
        ) from error


def snapshot(state: object) -> Any:
    """Return a copy of a state that later steps do not change; tensors on the CPU."""
    tree, tensors = encode(state)
    return decode(tree, {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()})


def _encode(value: object, tensors: dict[str, torch.Tensor], where: str) -> Any:
    import torch

    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.ndarray | np.generic):  # before float: np.float64 is one
        return _encode_array(value, tensors, where)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": repr(float(value))}
    if isinstance(value, torch.Tensor):
        return _encode_tensor(value, tensors, where)
    if isinstance(value, list | tuple) and type(value) in {list, tuple}:
        items = [_encode(item, tensors, f"{where}[{i}]") for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, Mapping):
        for key in value:
            if type(key) not in {str, int}:
                raise InvalidInputError(
                    f"{where} has the key {key!r}; keys of a training state must be strings or integers"
                )
        # Pairs keep the type of the keys and their order.
        pairs = [[k, _encode(item, tensors, f"{where}[{k!r}]")] for k, item in value.items()]
        return {"counter" if isinstance(value, Counter) else "dict": pairs}
    raise InvalidInputError(
        f"{where} is a {type(value).__name__} ({repr(value)[:60]}), which a checkpoint cannot hold. Allowed "
        "are tensors, NumPy arrays, numbers, strings, None, lists, tuples and mappings of these; store "
        "a random generator as random_state(generator)."
    )


def _encode_tensor(value: torch.Tensor, tensors: dict[str, torch.Tensor], where: str) -> Any:
    import torch

    if value.layout != torch.strided or value.is_quantized:
        raise InvalidInputError(f"{where} is a {value.layout} tensor; allowed are dense tensors")
    value = value.detach()
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype in _PLAIN and not _strange(value):
        return {"tensor": _stored(value, tensors)}
    real = torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
    flat = real.contiguous().reshape(-1).view(torch.uint8)
    return {"tensor": _stored(flat, tensors), "dtype": dtype, "shape": list(value.shape)}


def _encode_array(
    value: np.ndarray[Any, Any] | np.generic, tensors: dict[str, torch.Tensor], where: str
) -> Any:
    import torch

    if isinstance(value, np.ndarray) and type(value) is not np.ndarray:
        raise InvalidInputError(f"{where} is a {type(value).__name__}; give a plain NumPy array")
    if value.dtype.kind not in "biufcUS" or value.dtype.hasobject:
        raise InvalidInputError(
            f"{where} is an array of dtype {value.dtype}; allowed are numbers, booleans and text"
        )
    flat = np.frombuffer(np.ascontiguousarray(value).tobytes(), dtype=np.uint8)
    return {
        "array" if isinstance(value, np.ndarray) else "scalar": _stored(
            torch.from_numpy(flat.copy()), tensors
        ),
        "dtype": value.dtype.str,
        "shape": list(value.shape),
    }


def _stored(value: torch.Tensor, tensors: dict[str, torch.Tensor]) -> str:
    name = f"tensor{len(tensors)}"
    tensors[name] = value
    return name


def _strange(value: torch.Tensor) -> bool:
    return value.is_floating_point() and not bool(value.isfinite().all())


def _decode(tree: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(tree, list):
        return [_decode(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    kind = next(iter(tree.keys() - {"dtype", "shape"}))
    content = tree[kind]
    if kind == "float":
        return float(content)
    if kind == "tuple":
        return tuple(_decode(item, tensors) for item in content)
    if kind in {"dict", "counter"}:
        pairs = {key: _decode(item, tensors) for key, item in content}
        return pairs if kind == "dict" else Counter(pairs)
    if kind == "tensor":
        return _decode_tensor(tree, tensors[content])
    if kind in {"array", "scalar"}:
        flat = np.frombuffer(tensors[content].numpy().tobytes(), dtype=np.dtype(tree["dtype"]))
        array = flat.reshape(tree["shape"]).copy()
        return array if kind == "array" else array[()]
    raise ValueError(f"unknown kind {kind!r}")


def _decode_tensor(tree: Mapping[str, Any], stored: torch.Tensor) -> torch.Tensor:
    import torch

    if "dtype" not in tree:
        return stored
    dtype = getattr(torch, tree["dtype"])
    stored = stored.clone()  # what a file gave need not be aligned for the wider type
    if dtype.is_complex:
        real = {torch.complex128: torch.float64, torch.complex64: torch.float32}[dtype]
        return torch.view_as_complex(stored.view(real).reshape(*tree["shape"], 2))
    return stored.view(dtype).reshape(tree["shape"])
