"""The base class of all kakehashi calculators: everything that ASE expects, once."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypedDict, TypeVar

import numpy as np
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import (
    Parameters,
    PropertyNotImplementedError,
    compare_atoms,
)
from ase.outputs import Properties, all_outputs

from kakehashi_ase.errors import CalculatorInputError
from kakehashi_ase.option_values import plain_value
from kakehashi_ase.result_checks import Results, checked_results
from kakehashi_ase.structure_checks import check_finite_values, check_structure
from kakehashi_core.errors import CheckpointError, refuse_unknown_options

if TYPE_CHECKING:
    from ase import Atoms

_NEEDS_VOLUME = frozenset({"stress", "stresses"})
_MISSING = object()
Answer = TypeVar("Answer")


class _Stored(NamedTuple):
    """Results and the structure they belong to."""

    atoms: Atoms
    results: Results


class CalculatorOptions(TypedDict, total=False):
    """Options that every calculator takes besides its own.

    Attributes:
        name: What databases and trajectories record; the registry name unless given.
        atoms: A structure to attach the calculator to.
        directory: Kept for ASE tools that expect it; kakehashi calculators write no files.
    """

    name: str
    atoms: Atoms
    directory: str


class Calculator(AseCalculator):
    """Base of all kakehashi calculators (eV, Å; stress in eV/Å³, Voigt xx,yy,zz,yz,xz,xy).

    A subclass writes ``evaluate``, and a constructor that names its options once::

        class Spring(Calculator):
            implemented_properties = ("energy", "forces")
            watched_info = ("field",)

            def __init__(self, *, k: float = 1.0, **common: Unpack[CalculatorOptions]) -> None:
                super().__init__({"k": k}, **common)

            def evaluate(self, atoms, properties):
                k = self.parameters["k"]
                x = atoms.positions
                return {"energy": 0.5 * k * (x**2).sum(), "forces": -k * x}

    The keys of the first argument must be the names of the constructor's keyword arguments: copies,
    pickles and ``set`` go through them. Everything else is done here: validation of the
    structure before the model runs, caching that sees every watched value, ``free_energy``, fresh
    and finite float64 results, refusal of unknown options, storage. ``compute`` evaluates many
    structures; a model that is faster on a batch overrides ``evaluate_batch`` as well.

    Attributes:
        implemented_properties: What ``evaluate`` can return; ``free_energy`` follows from
            ``energy``. Each instance has its own list.
        registry_name: Name under which the class is registered, for messages and databases; the class's own
            name, in lower case, where it is empty.
        supported_elements: Chemical symbols that the model knows; None for all.
        minimum_distance: Smallest distance between two atoms that is accepted, Å; zero for any.
        watched_info: Keys of ``atoms.info`` that the model reads; a changed value discards results.
        watched_arrays: Names of per-atom arrays that the model reads beyond those ASE compares.
        check_finite: Whether NaN and infinity in results raise.
        self_consistent: Whether results come from an iteration or an integration grid, so that equal
            structures agree to its threshold only; conformance checks are looser then.
        cutoff_distances: Distances at which pairs stop interacting, Å; conformance checks walk a pair
            of atoms through each.
        interaction_range: Distance beyond which moving an atom changes nothing for another one, Å;
            None if there is no such distance.
        inapplicable_checks: Name of a conformance check that does not apply (``"locality"``,
            ``"rotation"``, ...) to the reason why.
    """

    implemented_properties: Sequence[str] = ()  # type: ignore[assignment]  # a list per instance
    registry_name: ClassVar[str] = ""
    supported_elements: ClassVar[Collection[str] | None] = None
    minimum_distance: ClassVar[float] = 0.0
    watched_info: ClassVar[tuple[str, ...]] = ()
    watched_arrays: ClassVar[tuple[str, ...]] = ()
    check_finite: ClassVar[bool] = True
    self_consistent: bool = False
    cutoff_distances: Sequence[float] = ()
    interaction_range: float | None = None
    inapplicable_checks: Mapping[str, str] = MappingProxyType({})

    discard_results_on_any_change = True
    nolabel = True  # otherwise "ase run" passes label=

    def __init__(
        self,
        parameters: Mapping[str, object] | None = None,
        *,
        name: str | None = None,
        atoms: Atoms | None = None,
        directory: str = ".",
        **unknown: object,
    ) -> None:
        """Take the options of the subclass and those of ``CalculatorOptions``.

        Args:
            parameters: Option name to value, complete with defaults.
            name: See ``CalculatorOptions``.
            atoms: See ``CalculatorOptions``.
            directory: See ``CalculatorOptions``.
            unknown: Whatever the constructor of the subclass did not recognize; always refused.

        Raises:
            CalculatorInputError: If an option is unknown or has a value that is not allowed.
        """
        self._batch: list[_Stored] = []
        super().__init__(directory=directory)  # type: ignore[no-untyped-call]
        default = type(self).registry_name or type(self).__name__.lower()
        self._name = default if name is None else str(name)
        self.implemented_properties = _with_free_energy(type(self).implemented_properties)
        parameters = parameters or {}
        refuse_unknown_options(
            f"calculator {self._name!r}",
            unknown,
            [*parameters, *CalculatorOptions.__optional_keys__],
            CalculatorInputError,
        )
        self.parameters = Parameters(
            {key: plain_value(key, value) for key, value in parameters.items()}
        )
        self.configure()
        if atoms is not None:
            atoms.calc = self

    # For subclasses.

    @abstractmethod
    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        """Return what the model says about a structure.

        Args:
            atoms: A private copy of the structure, already validated; without a calculator.
            properties: What is asked for. Returning more is welcome when it costs nothing;
                ``free_energy`` is asked for as ``energy`` unless the class implements it itself.

        Returns:
            Property name to number or array, eV and Å. Names that ASE does not know may be added,
            for instance an uncertainty per atom.
        """

    def evaluate_batch(
        self, structures: Sequence[Atoms], properties: Collection[str]
    ) -> Sequence[Mapping[str, object]]:
        """Return what ``evaluate`` returns, for every structure, in the same order.

        One by one unless a subclass knows better; ``compute`` is the only caller.

        Args:
            structures: Private copies, already validated; at least one.
            properties: What is asked for, the same for all.
        """
        return [_noted(index, self.evaluate, a, properties) for index, a in enumerate(structures)]

    def configure(self) -> None:
        """Check ``self.parameters`` and derive from them whatever ``evaluate`` needs.

        Called by the constructor and after every change through ``set``; must be cheap, a model
        is better loaded when it is first used. State derived from old options is dropped here.

        Raises:
            CalculatorInputError: If an option has a value that is not allowed.
        """

    @property
    def weights_digest(self) -> str:
        """SHA-256 of the weights behind the numbers; empty without weights."""
        return ""

    # ASE's protocol.

    @property
    def name(self) -> str:
        """Name in databases, trajectories and messages."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = str(name)

    def _get_name(self) -> str:
        return self._name

    def set(self, **changes: object) -> dict[str, object]:
        """Change options; results are discarded if a value differs.

        Returns:
            The options that changed.

        Raises:
            CalculatorInputError: If an option is unknown or its value is not allowed; nothing has
                changed then.
        """
        if not changes:
            return {}
        before = Parameters(self.parameters)
        refuse_unknown_options(f"calculator {self.name!r}", changes, before, CalculatorInputError)
        values = {key: plain_value(key, value) for key, value in changes.items()}
        changed: dict[str, object] = {k: v for k, v in values.items() if v != before[k]}
        if changed:
            self.parameters = Parameters({**before, **changed})
            try:
                self.configure()
            except Exception:
                self.parameters = before
                self.configure()
                raise
            self.reset()
        return changed

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Return what differs from the structure of the stored results.

        Besides what ASE compares this sees ``watched_info`` (as ``"info:KEY"``) and
        ``watched_arrays`` (as ``"arrays:NAME"``), by value, arrays included.
        """
        if self.atoms is None:
            return list(super().check_state(atoms, tol=tol))  # type: ignore[no-untyped-call]
        return self._changes(self.atoms, atoms, tol)

    def reset(self) -> None:
        """Forget all results."""
        super().reset()  # type: ignore[no-untyped-call]
        self._batch = []

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Iterable[str] | None = None,
        system_changes: Iterable[str] | None = None,  # noqa: ARG002  see the docstring
    ) -> None:
        """Evaluate the model and store its results.

        Nothing is stored when this raises: results always belong to ``self.atoms``.

        Args:
            atoms: The structure; the one of the last calculation if None. Not modified.
            properties: What is wanted; the energy if None.
            system_changes: Part of ASE's protocol; found out again, since callers pass anything.

        Raises:
            CalculatorInputError: If the structure cannot be handled.
            PropertyNotImplementedError: If the model does not offer a property, or a stress is
                wanted without a volume.
            NonFiniteResultError: If the model returns NaN or infinity.
        """
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise CalculatorInputError(
                f"calculator {self.name!r} has no structure; pass atoms, or set atoms.calc first."
            )
        wanted = self._resolve_properties(properties, has_volume=_has_volume(atoms))
        self._check_input(atoms)
        unchanged = self.atoms is not None and not self.check_state(atoms)
        snapshot = self._snapshot(atoms)
        results = self._checked(self.evaluate(self._snapshot(atoms), wanted), snapshot)
        self.results: Results = {**self.results, **results} if unchanged else results
        self.atoms = snapshot

    def compute(
        self, structures: Sequence[Atoms], properties: Iterable[str] | None = None
    ) -> list[Results]:
        """Evaluate many structures, each with the results it would have alone.

        All structures are validated before the model runs. One that equals the structure of the
        stored results, or that at the same place of the last call, is not evaluated again. The
        stored results of ``calculate`` stay what they are.

        Args:
            structures: Any number of structures; not modified, their calculators are not used.
            properties: What is wanted for each; the energy if None.

        Returns:
            One dictionary per structure, property name to number or array, owned by the caller.

        Raises:
            CalculatorInputError: If a structure cannot be handled; the message gives its index.
            PropertyNotImplementedError: If the model does not offer a property, or a stress is
                wanted for a structure without a volume.
            NonFiniteResultError: If the model returns NaN or infinity.
        """
        structures = list(structures)
        names = ("energy",) if properties is None else tuple(properties)
        wanted: tuple[str, ...] = ()
        for index, atoms in enumerate(structures):
            wanted = _indexed(index, self._resolve_properties, names, has_volume=_has_volume(atoms))
            _indexed(index, self._check_input, atoms)
        known = [self._known(index, atoms) for index, atoms in enumerate(structures)]
        missing = [
            k for k, one in enumerate(known) if one is None or not set(wanted) <= {*one.results}
        ]
        snapshots = {k: self._snapshot(structures[k]) for k in missing}
        raw: Sequence[Mapping[str, object]] = ()
        if missing:
            raw = self.evaluate_batch([self._snapshot(snapshots[k]) for k in missing], wanted)
        if len(raw) != len(missing):
            raise TypeError(
                f"calculator {self.name!r} returned {len(raw)} results for {len(missing)} structures. "
                "This is a mistake in the calculator, please report it."
            )
        for k, answer in zip(missing, raw, strict=True):
            results = _noted(k, self._checked, answer, snapshots[k])
            before = known[k]
            known[k] = _Stored(
                snapshots[k], results if before is None else {**before.results, **results}
            )
        self._batch = [one for one in known if one is not None]
        return [copy.deepcopy(one.results) for one in self._batch]

    def export_properties(self) -> Properties:
        """Return the results that ASE knows by name; extra ones stay in ``results`` only."""
        return Properties({k: v for k, v in self.results.items() if k in all_outputs})

    def todict(self, skip_default: bool = False) -> dict[str, Any]:  # noqa: ARG002  ASE's signature
        """Return all options and the digest of the weights as JSON data.

        Defaults are never skipped: a database must still say what was calculated when a later
        version has other defaults.
        """
        options = copy.deepcopy(dict(self.parameters))
        digest = self.weights_digest
        return {**options, "weights_sha256": digest} if digest else options

    # Copies and pickles: rebuilt from the options, so that no tensor or foreign object travels.

    def __reduce__(self) -> tuple[Any, ...]:
        identity = (dict(self.parameters), self._name, self.directory, self.weights_digest)
        return _rebuild, (type(self), *identity), {"atoms": self.atoms, "results": self.results}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.atoms, self.results = state["atoms"], state["results"]

    # Internal.

    def _changes(self, before: Atoms, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Return what differs between two structures, as far as the model reads them."""
        changes: list[str] = list(
            compare_atoms(before, atoms, tol=tol, excluded_properties=set(self.ignored_changes))
        )
        changes += [
            f"info:{key}"
            for key in self.watched_info
            if not _same(before.info.get(key, _MISSING), atoms.info.get(key, _MISSING))
        ]
        changes += [
            f"arrays:{key}"
            for key in self.watched_arrays
            if not _same(before.arrays.get(key, _MISSING), atoms.arrays.get(key, _MISSING))
        ]
        return changes

    def _known(self, index: int, atoms: Atoms) -> _Stored | None:
        """Return stored results of this structure, of the last batch or the last calculation."""
        candidates = self._batch[index : index + 1]
        if self.atoms is not None:
            candidates = [*candidates, _Stored(self.atoms, self.results)]
        same = (one for one in candidates if not self._changes(one.atoms, atoms))
        return next(same, None)

    def _checked(self, answer: Mapping[str, object], atoms: Atoms) -> Results:
        """Return what the model answered as checked results of its own."""
        raw = dict(answer)
        if not _has_volume(atoms):
            raw = {key: value for key, value in raw.items() if key not in _NEEDS_VOLUME}
        if "energy" in raw:
            raw.setdefault("free_energy", raw["energy"])
        return checked_results(
            raw, n_atoms=len(atoms), model=self.name, check_finite=self.check_finite
        )

    def _resolve_properties(
        self, properties: Iterable[str] | None, *, has_volume: bool
    ) -> tuple[str, ...]:
        own_free_energy = "free_energy" in type(self).implemented_properties
        wanted: dict[str, None] = {}
        for name in ["energy"] if properties is None else properties:
            if name not in self.implemented_properties:
                raise PropertyNotImplementedError(
                    f"calculator {self.name!r} does not offer {name!r}; it offers "
                    f"{', '.join(self.implemented_properties)}."
                )
            if name in _NEEDS_VOLUME and not has_volume:
                raise PropertyNotImplementedError(
                    f"{name} is not defined without a volume; set a cell with three vectors and "
                    "periodic boundary conditions."
                )
            wanted["energy" if name == "free_energy" and not own_free_energy else name] = None
        return tuple(wanted)

    def _check_input(self, atoms: Atoms) -> None:
        check_structure(
            atoms,
            supported_elements=self.supported_elements,
            minimum_distance=self.minimum_distance,
            model=self.name,
        )
        for key in self.watched_info:
            check_finite_values(f"atoms.info[{key!r}]", atoms.info.get(key))
        for key in (*self.watched_arrays, "initial_charges", "initial_magmoms"):
            check_finite_values(f"atoms.arrays[{key!r}]", atoms.arrays.get(key))

    def _snapshot(self, atoms: Atoms) -> Atoms:
        """Return a copy that shares no watched value: ``Atoms.copy`` copies ``info`` shallowly."""
        snapshot: Atoms = atoms.copy()
        for key in self.watched_info:
            if key in snapshot.info:
                snapshot.info[key] = copy.deepcopy(snapshot.info[key])
        return snapshot


def _has_volume(atoms: Atoms) -> bool:
    return bool(atoms.pbc.any()) and int(atoms.cell.rank) == 3


def _indexed(
    index: int, check: Callable[..., Answer], *arguments: object, **options: object
) -> Answer:
    """Call a check of one structure of a batch; its error says which one."""
    try:
        return check(*arguments, **options)
    except (CalculatorInputError, PropertyNotImplementedError) as error:
        raise type(error)(f"structure {index} of the batch: {error}") from error


def _noted(index: int, function: Callable[..., Answer], *arguments: object) -> Answer:
    """Call into the model for one structure of a batch; what it raises passes, with a note."""
    try:
        return function(*arguments)
    except Exception as error:
        error.add_note(f"structure {index} of the batch")
        raise


def _with_free_energy(properties: Iterable[str]) -> list[str]:
    names = list(dict.fromkeys(properties))
    if "energy" in names and "free_energy" not in names:
        # Optimizers, filters and numerical stresses ask for it.
        names.insert(names.index("energy") + 1, "free_energy")
    return names


def _same(before: object, now: object) -> bool:
    if before is _MISSING or now is _MISSING:
        return before is now
    try:
        return bool(np.array_equal(before, now))  # type: ignore[arg-type]
    except (TypeError, ValueError):  # nested arrays and the like: a needless evaluation at worst
        return False


def _rebuild(
    cls: type[Calculator], parameters: dict[str, Any], name: str, directory: str, digest: str
) -> Calculator:
    """Build a calculator from its options and insist on the same weights."""
    calc = cls(**parameters)
    calc.name, calc.directory = name, directory
    if digest and calc.weights_digest != digest:
        raise CheckpointError(
            f"calculator {name!r} was stored with weights of SHA-256 {digest}, here they have "
            f"{calc.weights_digest or 'none'}; results would not agree. Install the same version."
        )
    return calc
