"""Results as JSON, which knows no NaN."""

from __future__ import annotations

import math
from typing import Any


def without_nan(value: Any) -> Any:
    """Return nested data with None in place of NaN and infinity."""
    if isinstance(value, dict):
        return {k: without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
