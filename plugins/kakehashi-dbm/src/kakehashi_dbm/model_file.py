"""Spin models in files: the lists that a user of QuSpin has, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kakehashi_core.errors import InvalidInputError
from kakehashi_quspin.spin_model import SpinModel

KEYS = ("static", "n_sites", "pauli", "Nup", "observables")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """What a file holds.

    Attributes:
        model: Spin model.
        observables: Name to operator list.
        content: The file as it is.
    """

    model: SpinModel
    observables: Mapping[str, Any] = field(repr=False)
    content: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> ModelFile:
        """Read a file.

        Raises:
            InvalidInputError: If it is no JSON, lacks "static" or "n_sites", or holds something else.
        """
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InvalidInputError(f"{path} is no JSON file: {error}") from error
        if not isinstance(content, dict):
            raise InvalidInputError(f"{path} must hold an object with {', '.join(KEYS)}")
        return cls.from_content(content, str(path))

    @classmethod
    def from_content(cls, content: Mapping[str, Any], name: str = "the model") -> ModelFile:
        """Take the content of a file.

        Raises:
            InvalidInputError: See ``read``.
        """
        unknown = sorted(set(content) - set(KEYS))
        missing = sorted({"static", "n_sites"} - set(content))
        if unknown or missing:
            what = (
                f"does not know {', '.join(unknown)}" if unknown else f"lacks {', '.join(missing)}"
            )
            raise InvalidInputError(f"{name} {what}; its keys are {', '.join(KEYS)}")
        n, pauli, n_up = content["n_sites"], content.get("pauli", 1), content.get("Nup")
        if pauli not in (1, 0, -1):
            raise InvalidInputError(f"{name}: pauli is {pauli!r}; 1, 0 or -1 is needed")
        if not isinstance(n, int) or not isinstance(n_up, int | None):
            raise InvalidInputError(
                f"{name}: n_sites and Nup must be integers, got {n!r} and {n_up!r}"
            )
        basis: Any = n
        if n_up is not None:
            from quspin.basis import spin_basis_general

            basis = spin_basis_general(n, Nup=n_up, pauli=pauli, make_basis=False)
        model = SpinModel.from_quspin(content["static"], basis, pauli=int(pauli))
        observables = content.get("observables", {})
        if not isinstance(observables, dict):
            raise InvalidInputError(f"{name}: observables must map names to operator lists")
        return cls(model=model, observables=observables, content=dict(content))
