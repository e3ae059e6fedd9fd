"""The error that every conformance check raises."""

from __future__ import annotations

from kakehashi_core.errors import KakehashiError


class ConformanceError(KakehashiError, AssertionError):
    """A model does not keep its contract; the message says how, by how much and what to do."""


def require(condition: object, message: str) -> None:
    """Raise ``ConformanceError`` with ``message`` unless ``condition`` is true."""
    if not condition:
        raise ConformanceError(message)
