"""JSON objects that carry a digest of themselves, so that any changed byte is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NoReturn

_DIGEST = "digest"


class SealError(ValueError):
    """The bytes are not what ``seal`` wrote."""


def seal(data: Mapping[str, Any]) -> bytes:
    """Render ``data`` with the SHA-256 of its canonical form added under "digest".

    Raises:
        ValueError: If the data hold a number that is not finite, or the key "digest".
        TypeError: If the data hold something that JSON does not know.
    """
    if _DIGEST in data:
        raise ValueError(f"the key {_DIGEST!r} is reserved")
    # As it will be read back: tuples become lists and keys strings before the digest is taken.
    data = json.loads(json.dumps(data, allow_nan=False))
    return _render({**data, _DIGEST: _digest(data)})


def parse(text: bytes) -> dict[str, Any]:
    """Return the JSON object in ``text`` without looking at its digest.

    Raises:
        SealError: If this is no JSON object.
    """
    try:
        data = json.loads(text.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise SealError(f"not valid JSON ({error})") from error
    if not isinstance(data, dict):
        raise SealError("not a JSON object")
    return data


def unseal(text: bytes) -> dict[str, Any]:
    """Return what was sealed, without the digest.

    Raises:
        SealError: If any byte differs from what ``seal`` wrote.
    """
    data = parse(text)
    stored = data.pop(_DIGEST, None)
    try:
        # The exact rendering is compared too: it rules out repeated keys and stray white space.
        intact = stored == _digest(data) and text == _render({**data, _DIGEST: stored})
    except ValueError:  # a number such as 1e999 parses, yet is not finite
        intact = False
    if not intact:
        raise SealError("its own digest does not match: it was edited or damaged")
    return data


def _digest(data: Mapping[str, Any]) -> str:
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _render(data: Mapping[str, Any]) -> bytes:
    text = json.dumps(data, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8") + b"\n"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
