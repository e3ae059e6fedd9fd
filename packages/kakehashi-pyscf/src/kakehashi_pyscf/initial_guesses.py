"""Predicted initial guesses by name, guarded: a prediction that is refused costs one Fock matrix, no more."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from pyscf import lib
from pyscf.scf import hf

from kakehashi_core import registry
from kakehashi_core.contracts import GuessResult, InitialGuess
from kakehashi_core.errors import (
    DomainWarning,
    InvalidInputError,
    UnsupportedError,
    refuse_unknown_options,
    unknown_name,
)
from kakehashi_core.results import ConvergenceReport
from kakehashi_pyscf.attachment import class_recipe, composed
from kakehashi_pyscf.guess_requests import guess_request

FloatArray = npt.NDArray[np.float64]

CONVENTIONAL = "minao"
KNOWN = ("minao", "atom", "huckel", "mod_huckel", "hcore", "1e", "sap", "vsap", "chkfile", "chk")
"""Names that PySCF knows; any other one it takes for minao without a word."""
LARGEST_COMMUTATOR = 1.0
"""Hartree: no guess that is worth anything is this far from self-consistency."""
SMALLEST_GAP = 0.05
IDEMPOTENCY = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class GuessOutcome:
    """What became of a prediction.

    Attributes:
        name: Registry name of the predictor.
        decision: "used"; "refused", before anything was built; or "rejected", by the first Fock matrix.
        reason: Why it was not used; empty if it was.
        report: Of the predictor; None if it did not get that far.
        commutator: Largest element of F D S - S D F, hartree, with the Fock matrix F of the prediction; NaN
            if it was not built.
        energy_error: Estimate of how far the predicted density is above the minimum, hartree; or NaN.
    """

    name: str
    decision: str
    reason: str = ""
    report: ConvergenceReport | None = None
    commutator: float = float("nan")
    energy_error: float = float("nan")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    def __str__(self) -> str:
        text = f"{self.name}: {self.decision}" + (f", {self.reason}" if self.reason else "")
        if np.isfinite(self.energy_error):
            text += f" (energy error about {self.energy_error:.1e}, commutator {self.commutator:.1e} hartree)"
        return text


class _RejectedError(Exception):
    """Breaks off an SCF whose first Fock matrix says that another guess is better."""


class GuessMixin:
    """What ``initial_guess`` adds to the class of a mean-field object."""

    __name_mixin__ = "Predicted"
    _keys = frozenset({"guess_outcome", "guess_options"})

    guess_outcome: GuessOutcome | None = None
    guess_options: tuple[tuple[str, Any], ...] = ()

    def get_init_guess(self, mol: Any = None, key: Any = CONVENTIONAL, **kwargs: Any) -> Any:
        """Return a density: predicted if ``key`` is a registered name, else PySCF's own.

        Raises:
            UnknownNameError: If neither PySCF nor the registry knows the name.
        """
        mf = cast(Any, self)
        if not isinstance(key, str) or key.lower() in KNOWN:
            return super().get_init_guess(mol, key, **kwargs)  # type: ignore[misc]
        self._waiting = None
        predictor = _predictor(key, self.guess_options)
        target = mf if mol is None or mol is mf.mol else mf.copy().reset(mol)
        try:
            result = predictor(replace(guess_request(target), inside_only=True))
        except UnsupportedError as error:
            return self._refused(key, str(error), None, kwargs)
        if result.report.warnings:
            return self._refused(key, "; ".join(result.report.warnings), result.report, kwargs)
        wrong = _mistake(result, target)
        if wrong:
            return self._refused(key, wrong, result.report, kwargs)
        self.guess_outcome = GuessOutcome(name=key, decision="used", report=result.report)
        self._waiting = result
        return _density(result, target)

    def pre_kernel(self, envs: dict[str, Any]) -> None:
        """Look at the first Fock matrix, and break off if minao is the better start."""
        super().pre_kernel(envs)  # type: ignore[misc]
        result, self._waiting = getattr(self, "_waiting", None), None
        if result is None or self.guess_outcome is None:
            return
        fock = np.asarray(envs["h1e"] + envs["vhf"])
        dm = np.asarray(envs["dm"])
        if fock.ndim == 3:
            fock, dm = fock.mean(axis=0), dm.sum(axis=0)
        overlap = np.asarray(envs["s1e"])
        commutator = float(np.abs(fock @ dm @ overlap - overlap @ dm @ fock).max())
        error = estimated_energy_error(fock, result.hamiltonian, overlap, self.mol.nelectron)  # type: ignore[attr-defined]
        doubt = error > result.rejection_threshold or commutator > LARGEST_COMMUTATOR
        before = self.guess_outcome
        self.guess_outcome = GuessOutcome(
            name=before.name,
            decision="rejected" if doubt else "used",
            reason=f"the first Fock matrix is further from self-consistency than that of {CONVENTIONAL}"
            if doubt
            else "",
            report=before.report,
            commutator=commutator,
            energy_error=error,
        )
        if doubt:
            raise _RejectedError

    def scf(self, dm0: Any = None, **kwargs: Any) -> Any:
        """Run the SCF; from minao if the first Fock matrix of a prediction is a bad one."""
        self._waiting = None
        try:
            return super().scf(dm0, **kwargs)  # type: ignore[misc]
        except _RejectedError:
            lib.logger.note(self, "%s; starting again from %s", self.guess_outcome, CONVENTIONAL)
            dm0 = super().get_init_guess(self.mol, CONVENTIONAL)  # type: ignore[attr-defined, misc]
            return super().scf(dm0, **kwargs)  # type: ignore[misc]

    def _refused(
        self, name: str, reason: str, report: ConvergenceReport | None, kwargs: dict[str, Any]
    ) -> Any:
        self.guess_outcome = GuessOutcome(
            name=name, decision="refused", reason=reason, report=report
        )
        warnings.warn(
            f"{name} is not used as initial guess ({reason}); the calculation starts from {CONVENTIONAL}",
            DomainWarning,
            stacklevel=4,
        )
        return super().get_init_guess(self.mol, CONVENTIONAL, **kwargs)  # type: ignore[attr-defined, misc]

    def __reduce__(self) -> tuple[Any, ...]:
        # PySCF composes classes at run time, which pickle cannot find by name; send the recipe instead.
        return (_restore, (class_recipe(type(self)), cast(Any, self).__getstate__()))


def initial_guess(mf: Any, name: str, **options: Any) -> Any:
    """Return a copy of a Kohn-Sham object that starts from a predicted Hamiltonian.

    Only this object is affected. Converged results are those without the prediction.

    Args:
        mf: RKS object; also density-fitted, also after ``attach``.
        name: Registry name, such as "deqh-water"; ``kakehashi list --kind init_guess``.
        options: Of the predictor, such as ``checkpoint`` with a file of your own.

    Returns:
        An object of the same kind; ``guess_outcome`` says afterwards what became of the prediction.

    Raises:
        UnknownNameError: If nothing is registered under the name.
        PluginLoadError: If the plugin behind the name cannot be used.
        InvalidInputError: If ``mf`` is no mean-field object.

    Example:
        >>> from pyscf import dft, gto
        >>> mol = gto.M(atom="O 0 0 0; H 0 .757 .587; H 0 -.757 .587", basis="def2-svp", verbose=0)
        >>> mf = initial_guess(dft.RKS(mol, xc="pbe"), "deqh-water").run()
        >>> mf.guess_outcome.decision
        'used'
    """
    if not isinstance(mf, hf.SCF):
        raise InvalidInputError(
            f"initial_guess() needs a mean-field object of PySCF, got {type(mf).__name__}"
        )
    if not isinstance(name, str) or name.lower() in KNOWN:
        raise InvalidInputError(
            f"{name!r} is no registered predictor; guesses of PySCF itself are set with mf.init_guess"
        )
    listed = tuple(sorted(options.items()))
    _predictor(name, listed)
    guessed: Any = mf if isinstance(mf, GuessMixin) else _with_mixin(mf)
    guessed = guessed.copy()
    guessed.init_guess, guessed.guess_options = registry.normalize_name(name), listed
    return guessed


@contextmanager
def enable_initial_guesses() -> Iterator[None]:
    """Let every mean-field object take registered names in ``mf.init_guess`` within the block.

    A misspelt name raises, which PySCF itself takes for minao. Two attributes of PySCF are replaced, and put
    back afterwards: ``SCF.scf`` and ``SCF.get_init_guess``.
    """
    plain, plain_scf = hf.SCF.get_init_guess, hf.SCF.scf

    def run(self: Any, dm0: Any = None, **kwargs: Any) -> Any:
        name = self.init_guess
        conventional = not isinstance(name, str) or name.lower() in KNOWN
        if isinstance(self, GuessMixin) or conventional or dm0 is not None:
            return plain_scf(self, dm0, **kwargs)
        guessed = initial_guess(self, name)
        energy = guessed.scf(**kwargs)
        self.__dict__.update(guessed.__dict__)
        return energy

    def get_init_guess(self: Any, mol: Any = None, key: Any = CONVENTIONAL, **kwargs: Any) -> Any:
        if isinstance(self, GuessMixin) or not isinstance(key, str) or key.lower() in KNOWN:
            return plain(self, mol, key, **kwargs)
        guessed = initial_guess(self, key)
        density = guessed.get_init_guess(mol, key, **kwargs)
        self.guess_outcome = guessed.guess_outcome
        return density

    hf.SCF.get_init_guess, hf.SCF.scf = get_init_guess, run
    try:
        yield
    finally:
        hf.SCF.get_init_guess, hf.SCF.scf = plain, plain_scf


def estimated_energy_error(
    fock: FloatArray, hamiltonian: FloatArray, overlap: FloatArray, n_electrons: int
) -> float:
    """Return how far the density of a Hamiltonian is above the minimum of the energy, hartree.

    Second order in the Fock matrix between occupied and unoccupied orbitals.

    Args:
        fock: Kohn-Sham matrix of that density.
        hamiltonian: Whose orbitals make the density.
        overlap: Of the atomic orbitals.
        n_electrons: Even.
    """
    import scipy.linalg

    _, c = scipy.linalg.eigh(hamiltonian, overlap)
    n = n_electrons // 2
    inside = c.T @ fock @ c
    gaps = np.diag(inside)[None, n:] - np.diag(inside)[:n, None]
    return float(2.0 * (inside[:n, n:] ** 2 / np.maximum(gaps, SMALLEST_GAP)).sum())


def _predictor(name: str, options: tuple[tuple[str, Any], ...] = ()) -> InitialGuess:
    try:
        plugin = registry.find("init_guess", name)
    except KeyError as error:
        known = [*KNOWN, *registry.entry_names("init_guess")]
        raise unknown_name("initial guess", name, known) from error
    return load_predictor(plugin.qualified_name, **dict(options))


def load_predictor(name: str, **options: Any) -> InitialGuess:
    """Return the predictor of a registered name; it is loaded once in a process, or when its file changes.

    Args:
        name: Registry name.
        options: Of the predictor, such as ``checkpoint``.

    Raises:
        UnknownNameError: If nothing is registered under the name.
        PluginLoadError: If the plugin behind the name cannot be used.
    """
    return _loaded(name, _stamp(options.get("checkpoint")), **options)


@cache
def _loaded(name: str, _: tuple[int, ...], **options: Any) -> InitialGuess:
    known = inspect.signature(registry.load_factory("init_guess", name)).parameters
    refuse_unknown_options(f"predictor {name!r}", options, known)
    found: InitialGuess = registry.load("init_guess", name, **options)
    return found


def _stamp(checkpoint: object) -> tuple[int, ...]:
    """Return what changes when the weights or their card are written anew; empty without a file."""
    if not isinstance(checkpoint, str | Path):
        return ()
    paths = (Path(checkpoint), Path(checkpoint).with_suffix(".json"))
    found = [path.stat() for path in paths if path.exists()]
    return tuple(n for s in found for n in (s.st_mtime_ns, s.st_size, s.st_ino))


def _density(result: GuessResult, mf: Any) -> Any:
    dm = np.asarray(result.density_matrix)
    if getattr(mf, "nelec", None) is not None and mf.istype("UHF") and dm.ndim == 2:
        return np.stack([0.5 * dm, 0.5 * dm])
    return dm


def _mistake(result: GuessResult, mf: Any) -> str:
    """Return what is wrong with a density of doubly occupied orbitals; empty if nothing."""
    dm = np.asarray(result.density_matrix)
    if dm.ndim == 3:
        dm = dm.sum(axis=0)
    n = mf.mol.nao
    if dm.shape != (n, n) or not np.isfinite(dm).all():
        return f"the density has the shape {dm.shape} for {n} orbitals, or is not finite"
    overlap = mf.get_ovlp()
    electrons = float(np.einsum("ij,ji->", dm, overlap))
    if abs(electrons - mf.mol.nelectron) > IDEMPOTENCY * mf.mol.nelectron:
        return f"the density holds {electrons:.6f} electrons instead of {mf.mol.nelectron}"
    if np.abs(dm @ overlap @ dm - 2.0 * dm).max() > IDEMPOTENCY * max(1.0, np.abs(dm).max()):
        return "the density is not that of doubly occupied orbitals"
    return ""


def _with_mixin(mf: Any) -> Any:
    return mf.view(lib.make_class((GuessMixin, type(mf))))


def _restore(recipe: Any, state: dict[str, Any]) -> Any:
    mf: Any = object.__new__(composed(recipe))
    mf.__setstate__(state)
    return mf
