"""Model cards: what a user must know before trusting a set of weights."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kakehashi_core.errors import CheckpointError, InvalidInputError
from kakehashi_core.specs import Citation, Domain

MANIFEST_FIELD = "model_card"
"""Name of the manifest entry that holds the card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """Where a set of weights comes from and how far it can be trusted.

    Attributes:
        name: Registry name of the model.
        version: Version of the weights.
        summary: One line.
        training_data: What it was trained on, with sources.
        domain: Where it may be trusted.
        units: Quantity to unit.
        limits: What is known to fail, one sentence each.
        metrics: Name with unit ("held-out MAE, kcal/mol") to finite value.
        seed: Seed of the training run; None for weights that were not trained here.
        script: Training script, relative to the package.
        code_license: SPDX identifier of the code.
        weights_license: SPDX identifier of the weights.
        citation: How to cite the model.
        sha256: Hash of the tensor file, hexadecimal; filled in by ``from_manifest``.
    """

    name: str
    version: str
    summary: str
    training_data: str = ""
    domain: Domain = field(default_factory=Domain)
    units: Mapping[str, str] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    seed: int | None = None
    script: str = ""
    code_license: str = "MIT"
    weights_license: str = ""
    citation: Citation = field(default_factory=lambda: Citation(text=""))
    sha256: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidInputError("a model card needs a name")
        for metric, value in self.metrics.items():
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise InvalidInputError(
                    f"metric {metric!r} of model card {self.name} must be a finite number, "
                    f"got {value!r}"
                )

    def to_manifest(self) -> dict[str, Any]:
        """Return the manifest entry for ``save_checkpoint``; the hash is left to the manifest."""
        fields = dataclasses.asdict(self)
        del fields["sha256"]
        return {MANIFEST_FIELD: fields}

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> ModelCard:
        """Read the card out of a checkpoint manifest.

        Raises:
            CheckpointError: If there is no card, or a field of it is unknown or of the wrong type.
        """
        entry = manifest.get(MANIFEST_FIELD)
        if not isinstance(entry, Mapping):
            raise CheckpointError(
                f"the manifest holds no {MANIFEST_FIELD!r}; it has {sorted(manifest)}"
            )
        try:
            domain: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in entry.get("domain", {}).items()
            }
            return cls(
                **{
                    **entry,
                    "domain": Domain(**domain),
                    "citation": Citation(**entry.get("citation", {"text": ""})),
                    "limits": tuple(entry.get("limits", ())),
                    "sha256": str(manifest.get("sha256", "")),
                }
            )
        except (TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"the manifest holds an invalid model card: {error}") from error

    def rows(self) -> tuple[tuple[str, str], ...]:
        """Return label and text of every field that says something, in reading order."""
        domain = [
            f"{item.name} {value if isinstance(value, str) else ', '.join(value)}"
            for item in dataclasses.fields(self.domain)
            if (value := getattr(self.domain, item.name))
        ]
        rows = (
            ("Version", self.version),
            ("Training data", self.training_data),
            ("Domain", "; ".join(domain)),
            ("Units", "; ".join(f"{name}: {unit}" for name, unit in self.units.items())),
            ("Limits", "; ".join(self.limits)),
            ("Metrics", "; ".join(f"{name}: {value:.4g}" for name, value in self.metrics.items())),
            ("Seed", "" if self.seed is None else str(self.seed)),
            ("Training script", self.script),
            ("License of the code", self.code_license),
            ("License of the weights", self.weights_license),
            ("Citation", self.citation.text),
            ("DOI", self.citation.doi),
            ("SHA-256", self.sha256),
        )
        return tuple((label, text) for label, text in rows if text)

    def to_markdown(self) -> str:
        """Return the card as a markdown section."""
        lines = [f"## {self.name}", "", self.summary, ""]
        lines += [f"- **{label}:** {text}" for label, text in self.rows()]
        return "\n".join(lines) + "\n"

    def __str__(self) -> str:
        rows = self.rows()
        width = max((len(label) for label, _ in rows), default=0)
        lines = [f"{self.name}: {self.summary}"]
        lines += [f"  {label:<{width}}  {text}" for label, text in rows]
        return "\n".join(lines)
