"""Checks of what users pass, with messages that name the argument."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kakehashi_core.errors import InvalidInputError
from kakehashi_quspin.spin_model import SpinModel


def spin_model(model: Any) -> SpinModel:
    """Return a spin model, or say how to make one of an operator list.

    Raises:
        InvalidInputError: If it is none.
    """
    if not isinstance(model, SpinModel):
        raise InvalidInputError(
            f"a SpinModel is needed, got a {type(model).__name__}; write SpinModel.from_quspin(static, basis)"
        )
    return model


def number(name: str, value: Any, *, least: float = -math.inf) -> float:
    """Return a finite number that is at least ``least``.

    Raises:
        InvalidInputError: If it is none.
    """
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not real or not math.isfinite(value) or value < least:
        bound = "" if least == -math.inf else f" that is at least {least:g}"
        raise InvalidInputError(f"{name} must be a finite number{bound}, got {value!r}")
    return float(value)


def whole(name: str, value: Any, *, least: int) -> int:
    """Return a whole number that is at least ``least``.

    Raises:
        InvalidInputError: If it is none.
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise InvalidInputError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return int(value)
