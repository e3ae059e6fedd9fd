"""Specs: what can be known about a plugin without importing it.

An entry point of one of the groups in ``GROUPS`` resolves to a spec (or to a function without arguments
that returns one). Modules that hold specs import ``kakehashi_core`` only, so listing stays cheap; the
heavy part is named by ``factory`` and imported when somebody asks for the model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from kakehashi_core.errors import InvalidInputError

API_VERSION = 1
"""Version of the contracts in ``kakehashi_core.contracts``; a spec with another one is not loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """How to cite a model: one line for people, BibTeX for programs."""

    text: str
    doi: str = ""
    bibtex: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """Where a model was trained and tested; an empty field means "no restriction known"."""

    elements: tuple[str, ...] = ()
    lattices: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    basis: str = ""
    xc: str = ""
    note: str = ""

    def outside(self, elements: set[str]) -> tuple[str, ...]:
        """Return the given chemical symbols that the model was not trained on, sorted."""
        return tuple(sorted(elements - set(self.elements))) if self.elements else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSpec:
    """What every registered model says about itself.

    Attributes:
        name: Kebab-case registry name, stable forever.
        api_version: ``API_VERSION`` of the contracts the factory was written for.
        factory: Import string ``"module:callable"`` of what loading calls.
        summary: One line for listings.
        citation: How to cite the model.
        code_license: SPDX identifier of the code.
        weights_license: SPDX identifier of the shipped weights, empty without weights.
        domain: Where the model may be trusted.
        units: Property name to unit, for what the model returns.
        devices: Device types the model runs on.
        dtypes: Floating-point types the model runs in; the first is the default.
        checkpoint: File name of the default weights inside the distribution, empty without weights.
        samples: Inputs the conformance suite runs; what they look like depends on the kind.
    """

    kind: ClassVar[str] = ""

    name: str
    api_version: int
    factory: str
    summary: str
    citation: Citation = Citation(text="")
    code_license: str = "MIT"
    weights_license: str = ""
    domain: Domain = Domain()
    units: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ("cpu",)
    dtypes: tuple[str, ...] = ("float64",)
    checkpoint: str = ""
    samples: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if not self.name or self.name != self.name.strip().lower() or ":" in self.name:
            raise InvalidInputError(
                f"plugin name {self.name!r} must be lower-case kebab-case without ':'"
            )
        if self.factory.count(":") != 1 or not all(self.factory.split(":")):
            raise InvalidInputError(
                f"{self.name}: factory must read 'module:callable', got {self.factory!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class XCSpec(PluginSpec):
    """An exchange-correlation functional; the factory returns an ``XCFunctional``.

    Attributes:
        family: Which density variables the functional reads.
        hybrid: Fraction of exact exchange.
        max_deriv: Highest derivative order of the energy density that is offered.
        samples: Names of molecules in ASE's G2 set on which the suite runs SCF checks.
    """

    kind: ClassVar[str] = "xc"

    family: Literal["LDA", "GGA", "MGGA", "NONLOCAL"]
    hybrid: float = 0.0
    max_deriv: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CalculatorSpec(PluginSpec):
    """An ASE calculator; the factory is a class or function that takes keyword options."""

    kind: ClassVar[str] = "calculators"

    implemented_properties: tuple[str, ...] = ("energy", "free_energy", "forces")
    smooth_derivatives: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialGuessSpec(PluginSpec):
    """A predictor of the self-consistent Hamiltonian; the factory returns an ``InitialGuess``."""

    kind: ClassVar[str] = "init_guess"


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerSpec(PluginSpec):
    """A sampler of quantum or classical states; the factory returns a ``Sampler``.

    Attributes:
        samples: Arguments of ``kakehashi_quspin.sampler`` besides name and seed, as a mapping; or
            ``"module:callable"`` that returns a sampler for ``seed=``.
    """

    kind: ClassVar[str] = "samplers"


CORE_VERBS = ("demo", "bench", "train", "doctor")
"""Verbs of commands for which core has a subcommand of its own."""
RESERVED_VERBS = frozenset({"list", "info", "check", "cite", "new"})
"""Subcommands to which packages cannot add."""
_VERB = re.compile(r"[a-z][a-z0-9]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSpec(PluginSpec):
    """A section of the ``kakehashi`` command line that a package contributes.

    ``kakehashi VERB NAME`` runs the command of that verb called NAME: "bench" and "train", or a word of
    your own. The factory is a function whose typed keyword arguments become the options on the command
    line. Two verbs run all their commands in order of ``position``: a "demo" section is called with
    ``output`` (the folder for its files) and no other argument; a "doctor" section is called without
    arguments and returns what it found, dictionaries with the fields of ``cli.diagnosis.Finding``.

    Attributes:
        verb: The subcommand this belongs to; one lower-case word.
        serves: A plugin kind. Such a command also answers to every registered model of that kind,
            whose name it gets as its first argument.
        position: Order among the sections of ``kakehashi demo``.
    """

    kind: ClassVar[str] = "commands"

    verb: str
    serves: str = ""
    position: int = 100

    def __post_init__(self) -> None:
        """Check the verb besides what every spec checks."""
        super(CommandSpec, self).__post_init__()
        if not _VERB.fullmatch(self.verb) or self.verb in RESERVED_VERBS:
            raise InvalidInputError(
                f"{self.name}: verb is {self.verb!r}; it must be one lower-case word and none of "
                f"{', '.join(sorted(RESERVED_VERBS))}, which core has itself"
            )


SPEC_TYPES: dict[str, type[PluginSpec]] = {
    spec.kind: spec for spec in (CalculatorSpec, XCSpec, InitialGuessSpec, SamplerSpec, CommandSpec)
}
"""Plugin kind to spec class."""

GROUPS: dict[str, str] = {kind: f"kakehashi.{kind}" for kind in SPEC_TYPES}
"""Plugin kind to entry-point group."""
