"""Propensities, bond changes and temperature from one snapshot: a linear model and networks together."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_botan.invariant_form import InvariantNetwork, NetworkOutput, NetworkSettings
from kakehashi_botan.network_inputs import network_input
from kakehashi_botan.ridge_form import RidgePropensity
from kakehashi_botan.snapshots import Snapshot
from kakehashi_botan.structure_features import InputKind, StructureReading, read_structure
from kakehashi_core.checkpoints import (
    Checkpoint,
    load_checkpoint,
    load_packaged_checkpoint,
    read_manifest,
    read_packaged_manifest,
    save_checkpoint,
)
from kakehashi_core.devices import resolve_device
from kakehashi_core.errors import CheckpointError, InvalidInputError
from kakehashi_core.model_card import ModelCard

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
FORM = "invariant-botan"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PropensityPrediction:
    """What a model says about one configuration.

    Attributes:
        propensity: (n_atoms,), sigma_AA.
        propensity_std: One standard deviation of its error, (n_atoms,), sigma_AA.
        bond_index: Pairs closer than 2 sigma_AA in the thermal structure, each once, (2, n_pairs).
        bond_change: Mean change of their distance, (n_pairs,), sigma_AA.
        temperature: Estimate, epsilon_AA / k_B; None from models without a thermometer.
        state: What the networks keep of the whole configuration, one after the other; empty likewise.
    """

    propensity: FloatArray
    propensity_std: FloatArray
    bond_index: IntArray
    bond_change: FloatArray
    temperature: float | None
    state: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Factors that cross-validation gives.

    Attributes:
        spread: On the field of each species, (n_species,): regression alone gives too small a spread.
        error: What is left between field and truth, beyond what members disagree by, (n_species,),
            sigma_AA.
    """

    spread: FloatArray
    error: FloatArray

    @classmethod
    def none(cls, n_species: int) -> Self:
        """Return the calibration that changes nothing."""
        return cls(spread=np.ones(n_species), error=np.zeros(n_species))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PropensityModel:
    """p_i = mean of species and configuration + spread * field_i; the field is an average of members.

    Attributes:
        kind: What it reads.
        ridge: Linear member; gives the means where networks have no global head. None for none.
        networks: The other members, equal but for their seeds.
        ridge_share: Weight of the linear member in the field; the networks share the rest.
        calibration: From cross-validation.
        time: Until when particles move, tau_LJ; None where it follows the temperature.
        temperatures: Of the training data, epsilon_AA / k_B.
        energies: Lowest and highest thermal energy per particle that is like those of the training data,
            epsilon_AA.
        density: Of the training data, 1 / sigma_AA^3.
        share_of_b: Share of species B there.
        card: Where the weights come from.
    """

    kind: InputKind
    ridge: RidgePropensity | None
    networks: tuple[InvariantNetwork, ...]
    ridge_share: float
    calibration: Calibration
    time: float | None
    temperatures: tuple[float, ...]
    energies: tuple[float, float]
    density: float = 1.2
    share_of_b: float = 0.2
    card: ModelCard = field(default_factory=lambda: ModelCard(name="botan", version="", summary=""))
    sha256: str = ""

    @property
    def n_species(self) -> int:
        """Number of species of the mixture."""
        return len(self.calibration.spread)

    @property
    def conditioned(self) -> bool:
        """Whether the temperature has to be told."""
        return any(n.settings.conditioned for n in self.networks)

    @property
    def thermometer(self) -> bool:
        """Whether it estimates the temperature."""
        return any(n.settings.global_width for n in self.networks)

    def predict(
        self, snapshot: Snapshot, *, temperature: float | None = None, device: str = "cpu"
    ) -> PropensityPrediction:
        """Say what will move.

        Args:
            snapshot: A configuration, with its inherent structure unless ``kind`` is "TS".
            temperature: Of the thermal structure, for conditioned models.
            device: Where networks run.

        Raises:
            InvalidInputError: If the snapshot lacks what is read, or the temperature has to be told.
        """
        if self.conditioned and temperature is None:
            raise InvalidInputError("this model has to be told the temperature; give T=...")
        reading = read_structure(snapshot, self.kind, n_species=self.n_species)
        return self.predict_reading(reading, temperature=temperature, device=device)

    def predict_reading(
        self, reading: StructureReading, *, temperature: float | None = None, device: str = "cpu"
    ) -> PropensityPrediction:
        """Say the same from what was read before."""
        types = reading.types
        outputs = self._network_outputs(reading, temperature, device)
        members, weights = self._members(reading, outputs)
        centered = np.array([self._centered(m, types) for m in members])
        spread = self.calibration.spread[types]
        combined = spread * np.einsum("m,mi->i", weights, centered)
        disagreement = spread**2 * (centered.var(axis=0, ddof=1) if len(centered) > 1 else 0.0)
        means, estimate = self._whole(reading, outputs)
        changes = [o.changes.numpy() for o in outputs]
        return PropensityPrediction(
            propensity=means[types] + combined,
            propensity_std=np.sqrt(self.calibration.error[types] ** 2 + disagreement),
            bond_index=reading.pair_index,
            bond_change=np.mean(changes, axis=0) if changes else np.zeros(0),
            temperature=estimate,
            state=np.concatenate([o.state[0].numpy() for o in outputs]) if outputs else np.zeros(0),
        )

    def _network_outputs(
        self, reading: StructureReading, temperature: float | None, device: str
    ) -> list[NetworkOutput]:
        if not self.networks:
            return []
        place = resolve_device(device)
        # Trained in float32, asked in float64: the order of particles then changes nothing that is seen.
        inputs = network_input(reading, temperature=temperature or 0.0, dtype=torch.float64)
        inputs, outputs = inputs.to(place), []
        for network in self.networks:
            asked = copy.deepcopy(network).to(place, torch.float64).eval()
            with torch.no_grad():
                found = asked(inputs)
            outputs.append(NetworkOutput(*(tensor.cpu() for tensor in found)))
        return outputs

    def _members(
        self, reading: StructureReading, outputs: Sequence[NetworkOutput]
    ) -> tuple[list[FloatArray], FloatArray]:
        members = [o.field.numpy() for o in outputs]
        if self.ridge is None:
            return members, np.full(len(members), 1.0 / len(members))
        share = self.ridge_share if members else 1.0
        weights = [(1.0 - share) / len(members) for _ in members]
        features = reading.levels(self.ridge.n_levels)
        return [*members, self.ridge.field(features, reading.types)], np.array([*weights, share])

    def _centered(self, values: FloatArray, types: IntArray) -> FloatArray:
        centered = np.zeros(len(values))
        for species in np.unique(types):
            chosen = types == species
            centered[chosen] = values[chosen] - values[chosen].mean()
        return centered

    def _whole(
        self, reading: StructureReading, outputs: Sequence[NetworkOutput]
    ) -> tuple[FloatArray, float | None]:
        """Return the mean of each species, (n_species,), and the temperature."""
        answers = [o.whole[0].numpy() for o in outputs if o.whole.shape[1]]
        if answers:
            mean = np.mean(answers, axis=0)
            return mean[1:], float(mean[0])
        assert self.ridge is not None  # noqa: S101  one of the two gives the means
        return self.ridge.means[:, 0] + self.ridge.means[:, 1:] @ reading.configuration, None


_RIDGE_ARRAYS = ("center", "scale", "weights", "means", "residual")


def save_model(path: Path, model: PropensityModel) -> str:
    """Write a model and its card; return the SHA-256 of the tensor file."""
    manifest = {
        "form": FORM,
        "kind": model.kind,
        "n_species": model.n_species,
        "n_levels": 0 if model.ridge is None else model.ridge.n_levels,
        "n_global": 0 if model.ridge is None else model.ridge.means.shape[1] - 1,
        "ridge_share": model.ridge_share,
        "n_networks": len(model.networks),
        "network": asdict(model.networks[0].settings) if model.networks else {},
        "time": model.time,
        "temperatures": list(model.temperatures),
        "energies": list(model.energies),
        "density": model.density,
        "share_of_b": model.share_of_b,
        **model.card.to_manifest(),
    }
    return save_checkpoint(path, _tensors(model), manifest=manifest)


def load_model(path: str | Path) -> PropensityModel:
    """Read a model of your own training.

    Args:
        path: The ".safetensors" file, its manifest beside it.

    Raises:
        CheckpointError: If anything about the files is wrong.
    """
    manifest = read_manifest(path)
    shell = _shell(manifest, str(path))
    return _filled(shell, load_checkpoint(path, shapes=_shapes(shell)))


def load_packaged_model(name: str) -> PropensityModel:
    """Read a model that is shipped: "botan-ts", "botan-is", "botan-ts-is" or "t-botan"."""
    file = f"weights/{name}.safetensors"
    shell = _shell(read_packaged_manifest("kakehashi_botan", file), file)
    found = load_packaged_checkpoint("kakehashi_botan", file, shapes=_shapes(shell))
    return _filled(shell, found)


def _shell(manifest: Mapping[str, Any], name: str) -> PropensityModel:
    """Return the model that a manifest describes, with numbers yet to come."""
    if manifest.get("form") != FORM:
        raise CheckpointError(
            f"{name} holds the form {manifest.get('form')!r}; {FORM!r} is needed. Original state dicts are "
            "opened by kakehashi_botan.load_original."
        )
    try:
        kind, n_species = manifest["kind"], int(manifest["n_species"])
        settings = [NetworkSettings(**manifest["network"])] * int(manifest["n_networks"])
        ridge = None
        if manifest["n_levels"]:
            ridge = RidgePropensity.empty(
                kind,
                n_species=n_species,
                n_levels=int(manifest["n_levels"]),
                n_global=int(manifest["n_global"]),
            )
        return PropensityModel(
            kind=kind,
            ridge=ridge,
            networks=tuple(InvariantNetwork(s) for s in settings),
            ridge_share=float(manifest["ridge_share"]),
            calibration=Calibration.none(n_species),
            time=manifest["time"],
            temperatures=tuple(float(t) for t in manifest["temperatures"]),
            energies=(float(manifest["energies"][0]), float(manifest["energies"][1])),
            density=float(manifest["density"]),
            share_of_b=float(manifest["share_of_b"]),
            card=ModelCard.from_manifest(manifest),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"the manifest of {name} does not describe a model of this version: {error!r}"
        ) from error


def _tensors(model: PropensityModel) -> dict[str, torch.Tensor]:
    tensors = {
        "calibration.spread": torch.as_tensor(model.calibration.spread),
        "calibration.error": torch.as_tensor(model.calibration.error),
    }
    if model.ridge is not None:
        for name in _RIDGE_ARRAYS:
            tensors[f"ridge.{name}"] = torch.as_tensor(getattr(model.ridge, name))
    for number, network in enumerate(model.networks):
        for name, tensor in network.state_dict().items():
            tensors[f"network.{number}.{name}"] = tensor
    return tensors


def _shapes(model: PropensityModel) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in _tensors(model).items()}


def _filled(shell: PropensityModel, found: Checkpoint) -> PropensityModel:
    """Return a shell with the numbers of a checkpoint."""
    arrays = {name: tensor.double().numpy() for name, tensor in found.tensors.items()}
    for number, network in enumerate(shell.networks):
        prefix = f"network.{number}."
        network.load_state_dict(
            {n.removeprefix(prefix): t for n, t in found.tensors.items() if n.startswith(prefix)}
        )
        network.eval()
    ridge = shell.ridge
    if ridge is not None:
        stored: dict[str, Any] = {name: arrays[f"ridge.{name}"] for name in _RIDGE_ARRAYS}
        ridge = replace(ridge, **stored)
    calibration = Calibration(
        spread=arrays["calibration.spread"], error=arrays["calibration.error"]
    )
    return replace(shell, ridge=ridge, calibration=calibration, sha256=found.sha256)
