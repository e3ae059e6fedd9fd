"""Turn ``device=`` and ``dtype=`` arguments into torch objects, once at the border."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from kakehashi_core.errors import InvalidInputError, UnsupportedError, suggest

if TYPE_CHECKING:
    import torch


def resolve_device(
    device: str | torch.device = "auto", *, supported: Collection[str] = ("cpu", "cuda")
) -> torch.device:
    """Return the device that a name stands for, after checking that it is there.

    Args:
        device: "auto" (CUDA if it is there and supported, else the CPU), "cpu", "cuda" (the current
            one) or "cuda:1".
        supported: Device types that the model runs on.

    Raises:
        InvalidInputError: If the name is not one of these.
        UnsupportedError: If the device is not in this machine, or the model does not run on it.
    """
    import torch

    name = str(device).strip().lower()
    match = re.fullmatch(r"(auto|cpu|cuda)(?::(\d+))?", name)
    if match is None or (match[2] is not None and match[1] == "auto"):
        raise InvalidInputError(
            f"unknown device {str(device)!r}.{suggest(name, ['auto', 'cpu', 'cuda'])} Allowed are "
            "'auto', 'cpu', 'cuda' and 'cuda:i'."
        )
    kind, index = match[1], None if match[2] is None else int(match[2])
    # is_available is asked only when it matters: it loads the driver.
    if kind == "auto":
        kind = "cuda" if "cuda" in supported and torch.cuda.is_available() else "cpu"
    if kind not in supported:
        raise UnsupportedError(
            f"device {name!r} is not supported by this model, which runs on "
            f"{', '.join(sorted(supported))}"
        )
    if kind == "cpu":
        if index not in {None, 0}:
            raise InvalidInputError(f"there is one CPU device, 'cpu'; got {name!r}")
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index is None and count:
        index = torch.cuda.current_device()
    if index is None or index >= count:
        there = ", ".join(["cpu", *(f"cuda:{i}" for i in range(count))])
        raise UnsupportedError(
            f"device {name!r} is not available here; torch {torch.__version__} sees: {there}. "
            "Use device='auto' to take the best of these."
        )
    return torch.device("cuda", index)


def resolve_dtype(
    dtype: str | torch.dtype = "float64", *, supported: Collection[str] = ("float64", "float32")
) -> torch.dtype:
    """Return the torch dtype of that name.

    Args:
        dtype: Name such as "float64", or a torch dtype.
        supported: Names that are allowed.

    Raises:
        InvalidInputError: If the dtype is not one of these.
    """
    import torch

    name = str(dtype).removeprefix("torch.")
    found = getattr(torch, name, None) if name in supported else None
    if not isinstance(found, torch.dtype):
        raise InvalidInputError(
            f"dtype {name!r} is not supported.{suggest(name, supported)} Allowed are "
            f"{', '.join(supported)}."
        )
    return found
