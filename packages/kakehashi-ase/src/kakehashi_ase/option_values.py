"""Options of a calculator as plain data, so that they survive JSON, pickle and a database."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePath

import numpy as np

from kakehashi_ase.errors import CalculatorInputError

PlainValue = None | bool | int | float | str | list["PlainValue"] | dict[str, "PlainValue"]


def plain_value(name: str, value: object) -> PlainValue:
    """Return ``value`` as plain Python data.

    Args:
        name: Name of the option, for the message.
        value: A number, string, path, array, sequence or mapping of these, or None.

    Raises:
        CalculatorInputError: If the value is something else, or a number that is not finite.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise CalculatorInputError(f"option {name!r} is {value}; it must be finite.")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain_value(f"{name}[{i}]", item) for i, item in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: plain_value(f"{name}[{key!r}]", item) for key, item in value.items()}
    raise CalculatorInputError(
        f"option {name!r} is a {type(value).__name__}; options are numbers, strings, paths, lists "
        "and dictionaries with string keys, so that calculators can be stored. Name the object "
        "instead."
    )
