"""Trained fields as files: the field, what it was trained for, and its card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kakehashi_botan.mixtures import Mixture
from kakehashi_botan.sampling.flow import TOLERANCE, Flow
from kakehashi_botan.sampling.liquids import Liquid, checked_temperature
from kakehashi_botan.sampling.transport_field import TransportField
from kakehashi_core.checkpoints import (
    Checkpoint,
    load_checkpoint,
    load_packaged_checkpoint,
    read_manifest,
    read_packaged_manifest,
    save_checkpoint,
)
from kakehashi_core.errors import CheckpointError, InvalidInputError, unknown_name
from kakehashi_core.model_card import ModelCard

FORM = "transport-field"
PACKAGED = ("flow-ka2d",)
_SETTINGS = ("spacing", "nearest", "exponents", "degree")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedFlow:
    """A field with the temperatures it was made for.

    Attributes:
        field: Carries samples between any temperatures of its range.
        ladder: Descending temperatures; steps between neighbors keep a good share of the samples.
        card: Where the weights come from.
        sha256: Of the file; empty if it was not read from one.
    """

    field: TransportField
    ladder: tuple[float, ...]
    card: ModelCard = field(default_factory=lambda: ModelCard(name="flow", version="", summary=""))
    sha256: str = ""

    @property
    def liquid(self) -> Liquid:
        """What is carried."""
        return self.field.liquid

    def flow(self, *, tolerance: float = TOLERANCE, device: str = "cpu") -> Flow:
        """Return the map; arguments as of ``Flow``."""
        return Flow(self.field, tolerance=tolerance, device=device)

    def rungs(self, temperature: float) -> tuple[float, ...]:
        """Return the temperatures from the top of the ladder down to one.

        Raises:
            InvalidInputError: If it is not below the top, or below the lowest.
        """
        low, high = self.ladder[-1], self.ladder[0]
        if not low * (1.0 - 1e-9) <= checked_temperature(temperature) < high:
            raise InvalidInputError(
                f"temperature is {temperature:g}; this flow goes from {high:g} down to {low:g} and says "
                "nothing outside. Train one for your range (kakehashi train flow), or do without: "
                'moves="local" samples at any temperature.'
            )
        # A last step of nearly no length would be wasted.
        above = [t for t in self.ladder if t > temperature * (1.0 + 1e-6)]
        return (*above, float(temperature))

    def check_liquid(self, liquid: Liquid) -> None:
        """Raise ``InvalidInputError`` if a liquid is not the one the flow was trained for."""
        own, other = self.liquid.describe(), liquid.describe()
        for key, value in own.items():
            if other[key] != value:
                raise InvalidInputError(
                    f"this flow was trained for {key} = {value}, the liquid has {other[key]}; a flow carries "
                    "only what it was trained for"
                )


def save_flow(path: Path, trained: TrainedFlow) -> str:
    """Write a field and its card; return the SHA-256 of the tensor file."""
    transport = trained.field
    manifest = {
        "form": FORM,
        "liquid": transport.liquid.describe(),
        "temperatures": list(transport.temperatures),
        "ladder": list(trained.ladder),
        **{name: getattr(transport, name) for name in _SETTINGS},
        **trained.card.to_manifest(),
    }
    return save_checkpoint(path, transport.state_dict(), manifest=manifest)


def load_flow(path: str | Path) -> TrainedFlow:
    """Read a flow of your own training.

    Args:
        path: The ".safetensors" file, its manifest beside it.

    Raises:
        CheckpointError: If anything about the files is wrong.
    """
    shell = _shell(read_manifest(path), str(path))
    return _filled(shell, load_checkpoint(path, shapes=_shapes(shell), dtypes="float64"))


def load_packaged_flow(name: str = "flow-ka2d") -> TrainedFlow:
    """Read a flow that is shipped.

    Raises:
        UnknownNameError: If there is none of this name.
    """
    if name not in PACKAGED:
        raise unknown_name("flow", name, PACKAGED)
    file = f"weights/{name}.safetensors"
    shell = _shell(read_packaged_manifest("kakehashi_botan", file), file)
    shapes = _shapes(shell)
    return _filled(
        shell, load_packaged_checkpoint("kakehashi_botan", file, shapes=shapes, dtypes="float64")
    )


def _shell(manifest: Mapping[str, Any], name: str) -> TrainedFlow:
    if manifest.get("form") != FORM:
        raise CheckpointError(f"{name} holds the form {manifest.get('form')!r}; {FORM!r} is needed")
    try:
        liquid = _liquid(manifest["liquid"])
        low, high = (float(t) for t in manifest["temperatures"])
        settings = {key: manifest[key] for key in _SETTINGS}
        return TrainedFlow(
            field=TransportField(liquid, (low, high), **settings),
            ladder=tuple(float(t) for t in manifest["ladder"]),
            card=ModelCard.from_manifest(manifest),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"the manifest of {name} does not describe a flow of this version: {error!r}"
        ) from error


def _liquid(described: Mapping[str, Any]) -> Liquid:
    def matrix(name: str) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(float(v) for v in row) for row in described[name])

    return Liquid(
        mixture=Mixture(
            name=str(described["mixture"]),
            epsilon=matrix("epsilon"),
            sigma=matrix("sigma"),
            cutoff=matrix("cutoff"),
            shift=described["shift"],
        ),
        composition=tuple(int(n) for n in described["composition"]),
        density=float(described["density"]),
        dimension=int(described["dimension"]),
    )


def _shapes(trained: TrainedFlow) -> dict[str, tuple[int, ...]]:
    return {name: tuple(t.shape) for name, t in trained.field.state_dict().items()}


def _filled(shell: TrainedFlow, found: Checkpoint) -> TrainedFlow:
    shell.field.load_state_dict(dict(found.tensors))
    shell.field.requires_grad_(requires_grad=False)
    return TrainedFlow(field=shell.field, ladder=shell.ladder, card=shell.card, sha256=found.sha256)
