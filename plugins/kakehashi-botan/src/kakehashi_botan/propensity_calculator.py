"""Propensities as properties of a structure in ASE: ``calculator("botan")`` and ``calculator("t-botan")``."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Unpack, cast, get_args

import numpy as np

from kakehashi_ase import Calculator, CalculatorInputError, CalculatorOptions
from kakehashi_botan.inherent_structures import FireSettings
from kakehashi_botan.lennard_jones_calculator import LennardJonesMixture
from kakehashi_botan.mixtures import kob_andersen
from kakehashi_botan.particle_types import SPECIES, TYPES
from kakehashi_botan.shell_descriptors import REACH
from kakehashi_botan.snapshots import Snapshot, snapshot
from kakehashi_botan.structure_features import InputKind
from kakehashi_core.checkpoints import read_manifest
from kakehashi_core.errors import DomainWarning, InvalidInputError

if TYPE_CHECKING:
    from ase import Atoms

    from kakehashi_botan.propensity_model import PropensityModel, PropensityPrediction

logger = logging.getLogger(__name__)

LEARNED = ("propensity", "propensity_std", "bond_change", "bond_index", "out_of_domain")
TEMPERATURE = "temperature_estimate"


class PropensityCalculator(Calculator):
    """Mobility of the particles of a Kob-Andersen mixture, predicted from one configuration.

    Energy, forces and stress are those of the potential, in reduced units as with ``ka-lj``. The network runs
    only when one of its own properties is asked for, so that it costs nothing in most steps of molecular
    dynamics::

        atoms.calc = calculator("botan")
        mobility = atoms.calc.get_property("propensity", atoms)

    Properties besides those of the potential:
        propensity: Mean distance that each particle will have moved, (n_atoms,), sigma_AA.
        propensity_std: One standard deviation of its error, (n_atoms,), sigma_AA.
        bond_index: Pairs closer than 2 sigma_AA, each once, (2, n_pairs).
        bond_change: Mean change of their distance, (n_pairs,), sigma_AA.
        out_of_domain: 1 if the configuration is unlike those of the training, else 0; ``domain_notes`` says
            why.
    """

    implemented_properties: Sequence[str] = (
        "energy",
        "energies",
        "forces",
        "stress",
        *LEARNED,
    )
    registry_name = "botan"
    watched_arrays = (TYPES,)
    inapplicable_checks: Mapping[str, str] = MappingProxyType(
        dict.fromkeys(
            ("forces", "stress"),
            "those of ka-lj, which is checked itself; with hundreds of particles some pair is always at its "
            "cutoff, where the force jumps",
        )
    )
    inputs: ClassVar[Mapping[str, str]] = {
        "TS": "botan-ts",
        "IS": "botan-is",
        "TS+IS": "botan-ts-is",
    }

    def __init__(
        self,
        *,
        input: InputKind | None = None,  # noqa: A002  the word of the literature
        T: float | None = None,
        weights: str | None = None,
        potential: Mapping[str, Any] | None = None,
        species: Sequence[str] = SPECIES,
        device: str = "cpu",
        **common: Unpack[CalculatorOptions],
    ) -> None:
        """Choose a model.

        Args:
            input: What the model reads: "TS" the structure as it is, "IS" its inherent structure, "TS+IS"
                both. The last two minimize a copy of the structure, which takes longer than the network.
                None is what ``weights`` read, "TS+IS" without.
            T: Temperature of the structure, epsilon_AA / k_B, if it is known: compared with that of the
                training, and told to networks of your own that ask for it. The shipped ones do not.
            weights: A ".safetensors" file of your own training in place of the shipped weights.
            potential: Options of ``ka-lj``, for instance {"shift": "force"}.
            species: Chemical symbols that stand for A, B; ``atoms.arrays["types"]`` wins.
            device: Where the networks run: "cpu", "cuda[:i]" or "auto".
            common: ``name``, ``atoms``, ``directory``.

        Raises:
            CalculatorInputError: If an option has a value that is not allowed.
        """
        self.domain_notes: tuple[str, ...] = ()
        super().__init__(
            {
                "input": input,
                "T": T,
                "weights": weights,
                "potential": {} if potential is None else potential,
                "species": species,
                "device": device,
            },
            **common,
        )

    def configure(self) -> None:
        """Build the potential; the model is read when it is first used. See the base class."""
        options = self.parameters
        self.kind = self._chosen_kind()
        if options["T"] is not None and not (
            isinstance(options["T"], int | float) and options["T"] > 0.0
        ):
            raise CalculatorInputError(
                f"T is {options['T']!r}; a temperature in epsilon_AA / k_B is positive. Leave it out if it "
                "is not known."
            )
        self.base = LennardJonesMixture(**{"species": options["species"], **options["potential"]})
        self.cutoff_distances = self.base.cutoff_distances
        # Two minimizations of the same structure agree to their threshold.
        self.self_consistent = self.kind != "TS"
        self._model: PropensityModel | None = None

    def _chosen_kind(self) -> InputKind:
        """Return what the model reads, from the options and the file of weights."""
        chosen, weights = self.parameters["input"], self.parameters["weights"]
        if chosen not in (None, *get_args(InputKind)):
            raise CalculatorInputError(
                f"input is {chosen!r}; it must be one of {', '.join(get_args(InputKind))}."
            )
        if weights is None:
            if chosen is not None and chosen not in self.inputs:
                raise CalculatorInputError(
                    f"{self.name} is shipped for input {', '.join(self.inputs)}, not for {chosen}; choose "
                    "one of these, or give weights=..."
                )
            return cast("InputKind", chosen or "TS+IS")
        kind = read_manifest(weights).get("kind")
        if kind not in get_args(InputKind):
            raise CalculatorInputError(
                f"{weights} holds no model of propensities; files of kakehashi train botan are needed."
            )
        if chosen not in (None, kind):
            raise CalculatorInputError(
                f"the weights read {kind!r} and input is {chosen!r}; leave input= out, or give the same."
            )
        return cast("InputKind", kind)

    @property
    def model(self) -> PropensityModel:
        """The model, read from its file when it is first asked for."""
        if self._model is None:
            # torch takes seconds to import; energies and forces do without it.
            from kakehashi_botan.propensity_model import load_model, load_packaged_model

            weights = self.parameters["weights"]
            self._model = (
                load_packaged_model(self.inputs[self.kind])
                if weights is None
                else load_model(weights)
            )
            if TEMPERATURE in self.implemented_properties and not self._model.thermometer:
                self._model = None
                raise CalculatorInputError(
                    f"the weights of {weights} do not estimate a temperature; use calculator('botan', "
                    "weights=...) with them."
                )
        return self._model

    @property
    def weights_digest(self) -> str:
        """SHA-256 of the weights."""
        return self.model.sha256

    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        """Return what is asked for; see the base class."""
        learned = {*LEARNED, TEMPERATURE}.intersection(properties)
        ordinary = [name for name in properties if name not in learned]
        results = dict(self.base.evaluate(atoms, ordinary)) if ordinary else {}
        if learned:
            found = self._snapshot_of(atoms)
            prediction = self._prediction(found)
            self.domain_notes = domain_notes(
                self.model, found, T=self.parameters["T"], estimate=prediction.temperature
            )
            for note in self.domain_notes:
                logger.warning("%s: %s", self.name, note)
                warnings.warn(f"{self.name}: {note}", DomainWarning, stacklevel=2)
            results |= {
                "propensity": prediction.propensity,
                "propensity_std": prediction.propensity_std,
                "bond_index": prediction.bond_index,
                "bond_change": prediction.bond_change,
                "out_of_domain": float(bool(self.domain_notes)),
            }
            if prediction.temperature is not None:
                results[TEMPERATURE] = prediction.temperature
        return results

    def _snapshot_of(self, atoms: Atoms) -> Snapshot:
        if not atoms.pbc.all():
            flat = atoms.pbc[:2].all() and not atoms.positions[:, 2].any()
            raise CalculatorInputError(
                f"pbc is {atoms.pbc.tolist()}; "
                + (
                    "the model knows three dimensions only, and this system has two."
                    if flat
                    else "the model knows periodic boxes only. Set atoms.pbc = True and a cell."
                )
            )
        types = self.base.types(atoms)
        missing = [s for s in range(self.model.n_species) if not (types == s).any()]
        if missing or types.max() >= self.model.n_species:
            raise CalculatorInputError(
                f"the structure has {len(np.unique(types))} species; the model knows mixtures of "
                f"{self.model.n_species}. Check species= and the symbols."
            )
        volume = atoms.get_volume()
        areas = np.linalg.norm(np.cross(atoms.cell[[1, 2, 0]], atoms.cell[[2, 0, 1]]), axis=1)
        if volume / areas.max() < 2.0 * REACH:
            raise CalculatorInputError(
                f"the box is {volume / areas.max():.4g} sigma_AA high at its narrowest; the model sees "
                f"{REACH} sigma_AA far and needs {2.0 * REACH}. Repeat the structure: atoms * (2, 2, 2)."
            )
        try:
            return snapshot(
                atoms.positions,
                types,
                atoms.cell.array,
                kob_andersen(),  # what the weights know, whatever the potential's convention
                quench=self.kind != "TS",
                settings=FireSettings(),
            )
        except InvalidInputError as error:
            raise CalculatorInputError(str(error)) from error

    def _prediction(self, found: Snapshot) -> PropensityPrediction:
        options = self.parameters
        try:
            return self.model.predict(found, temperature=options["T"], device=options["device"])
        except InvalidInputError as error:
            raise CalculatorInputError(str(error)) from error


class TemperaturePropensityCalculator(PropensityCalculator):
    """The same across temperatures, with an estimate of the temperature (T-BOTAN).

    The propensity is that of one structural relaxation time at the temperature of the configuration.

    Properties besides those of ``botan``:
        temperature_estimate: epsilon_AA / k_B.
    """

    implemented_properties = (*PropensityCalculator.implemented_properties, TEMPERATURE)
    registry_name = "t-botan"
    inputs: ClassVar[Mapping[str, str]] = {"TS+IS": "t-botan"}


DENSITY_TOLERANCE = 0.02
COMPOSITION_TOLERANCE = 0.03
TEMPERATURE_TOLERANCE = 0.05


def domain_notes(
    model: PropensityModel, found: Snapshot, *, T: float | None, estimate: float | None
) -> tuple[str, ...]:
    """Return in what a configuration is unlike those of the training, one sentence each."""
    notes = []
    density = len(found.types) / abs(float(np.linalg.det(found.cell)))
    if abs(density / model.density - 1.0) > DENSITY_TOLERANCE:
        notes.append(
            f"the density is {density:.4g} / sigma_AA^3, training was at {model.density:.4g}"
        )
    share = float((found.types == 1).mean())
    if abs(share - model.share_of_b) > COMPOSITION_TOLERANCE:
        notes.append(f"{100 * share:.0f} % are B, in training {100 * model.share_of_b:.0f} %")
    low, high = min(model.temperatures), max(model.temperatures)
    for name, value in (("T", T), ("the temperature estimate", estimate)):
        if value is not None and not (
            low - TEMPERATURE_TOLERANCE <= value <= high + TEMPERATURE_TOLERANCE
        ):
            notes.append(
                f"{name} is {value:.3g}, training had {low:g}"
                + (f" to {high:g}" if high > low else "")
            )
    energy = found.thermal_energy
    if not model.energies[0] <= energy <= model.energies[1]:
        notes.append(
            f"the potential energy is {energy:.4g} epsilon_AA per particle, training had about "
            f"{model.energies[0]:.4g} to {model.energies[1]:.4g}"
        )
    return tuple(notes)
