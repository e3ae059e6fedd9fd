"""Errors of calculators: each is both what ASE users catch and what kakehashi users catch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from ase.calculators.calculator import CalculationFailed, InputError

from kakehashi_core.errors import InvalidInputError, KakehashiError


class CalculatorInputError(InvalidInputError, InputError):
    """A structure or an option cannot be handled; raised before anything expensive runs."""


class UnsupportedElementError(CalculatorInputError):
    """A structure contains elements that the model does not know."""

    @classmethod
    def build(cls, model: str, found: Iterable[str], known: Iterable[str]) -> Self:
        """Build the error from the elements of a structure and those of the model."""
        known = set(known)
        missing = sorted(set(found) - known)
        return cls(
            f"calculator {model!r} does not support {', '.join(missing)}; it knows "
            f"{', '.join(sorted(known))}. 'kakehashi list' shows what others cover."
        )


class NonFiniteResultError(KakehashiError, CalculationFailed):
    """A model returned NaN or infinity."""
