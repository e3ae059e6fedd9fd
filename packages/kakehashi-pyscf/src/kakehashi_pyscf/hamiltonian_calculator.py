"""An ASE calculator around a predictor of Hamiltonians: from no Fock matrix at all to a full SCF."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np
import numpy.typing as npt
import scipy.linalg
from ase.calculators.calculator import PropertyNotImplementedError
from pyscf import dft, lib
from pyscf.scf import diis

from kakehashi_ase import Calculator, CalculatorInputError, CalculatorOptions
from kakehashi_core import registry
from kakehashi_core.errors import DomainWarning, UnsupportedError
from kakehashi_core.results import ConvergenceReport
from kakehashi_pyscf._molecules import build_molecule, charge_and_spin
from kakehashi_pyscf._units import (
    BOHR_IN_ANGSTROM,
    HARTREE_IN_EV,
    HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM,
)
from kakehashi_pyscf.attachment import attach
from kakehashi_pyscf.calculator import close_checkpoint_file
from kakehashi_pyscf.guess_requests import guess_request
from kakehashi_pyscf.initial_guesses import (
    estimated_energy_error,
    initial_guess,
    load_predictor,
)
from kakehashi_pyscf.scf_driver import converge
from kakehashi_pyscf.scf_records import counted_builds

if TYPE_CHECKING:
    from ase import Atoms

FloatArray = npt.NDArray[np.float64]
Mode = Literal["scf", "corrected", "oneshot", "predict"]
Fallback = Literal["scf", "raise", "warn"]
MODES: tuple[Mode, ...] = ("scf", "corrected", "oneshot", "predict")
FALLBACKS: tuple[Fallback, ...] = ("scf", "raise", "warn")

ORBITAL_PROPERTIES = ("orbital_energies", "gap")
UNKNOWN = -1.0
RELIABILITY = ("energy_error", "commutator", "n_builds", "in_domain", "from_scf")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Solution:
    """Orbitals of one geometry, hartree.

    Attributes:
        mean_field: PySCF's object; converged where ``from_scf``.
        orbital_energies: (n_orbitals,); with an axis for spins in front after an SCF of an open shell.
        coefficients: (n_ao, n_orbitals), likewise.
        occupations: (n_orbitals,), likewise.
        energy: None if no Fock matrix was built.
        fock: Of the density of the orbitals, or None.
        reliability: The numbers of ``RELIABILITY``.
    """

    mean_field: Any
    orbital_energies: FloatArray = field(repr=False)
    coefficients: FloatArray = field(repr=False)
    occupations: FloatArray = field(repr=False)
    energy: float | None
    fock: FloatArray | None = field(repr=False)
    reliability: dict[str, float]

    @property
    def density_matrix(self) -> FloatArray:
        c = self.coefficients
        return np.asarray((c * self.occupations[..., None, :]) @ np.swapaxes(c, -1, -2))


class HamiltonianCalculator(Calculator):
    """Closed-shell molecules with predicted Kohn-Sham Hamiltonians (eV, Å, e·Å).

    Modes:
        scf: A full SCF that starts from the prediction. Energy, forces and dipole are those of PySCF.
        corrected: ``n_corrections`` + 1 Fock matrices; the energy is variational, above that of the SCF.
        oneshot: One Fock matrix, of the predicted density. Energy and forces do not belong to each other
            exactly: not for dynamics that should conserve energy.
        predict: None. Orbital energies, gap, dipole and charges; no energy. With ``fallback="scf"`` a full
            SCF answers for molecules outside the domain.

    Properties besides those of ASE:
        orbital_energies: (n_orbitals,), eV.
        gap: Of orbital energies, eV.
        energy_error: Estimate of how far the energy is above that of the SCF, eV; zero after an SCF, -1 in
            mode "predict", which does not know it.
        commutator: Largest element of F D S - S D F, eV; likewise.
        n_builds: Fock matrices that were built.
        in_domain: 1 if the molecule is like those of the training, else 0; ``doubts`` says why.
        from_scf: 1 if a full SCF gave the results.
    """

    implemented_properties = (
        "energy",
        "forces",
        "dipole",
        "charges",
        *ORBITAL_PROPERTIES,
        *RELIABILITY,
    )
    registry_name = "deqh"
    self_consistent = True
    minimum_distance = 0.1
    watched_info = ("charge", "spin")

    def __init__(
        self,
        *,
        model: str = "deqh-water",
        checkpoint: str | None = None,
        mode: Mode = "scf",
        fallback: Fallback = "scf",
        tolerance: float = 2.7e-3,
        n_corrections: int = 1,
        grid_level: int = 3,
        conv_tol: float = 1e-9,
        **common: Unpack[CalculatorOptions],
    ) -> None:
        """Choose the predictor and how far to trust it; nothing is computed yet.

        Args:
            model: Registered predictor; functional and basis set are those that it was trained with.
            checkpoint: File with other weights for it, such as fine-tuned ones.
            mode: See the class.
            fallback: What to do where the molecule is outside the domain, or the estimated error of the
                energy is above the tolerance: a full SCF, an error, or a warning (an error, too, where
                nothing can be predicted: charge, spin, elements). Without effect in mode "scf".
            tolerance: Of the energy, eV; not in mode "scf".
            n_corrections: Of mode "corrected": how often the density is made anew from its own Fock matrix.
            grid_level: Size of the integration grid, 0 to 9.
            conv_tol: Energy change at which an SCF is converged, hartree.
            common: See ``kakehashi_ase.CalculatorOptions``.

        Raises:
            UnknownNameError: If the predictor is not registered.
            CalculatorInputError: If an option has a value that is not allowed.
        """
        super().__init__(
            {
                "model": model,
                "checkpoint": checkpoint,
                "mode": mode,
                "fallback": fallback,
                "tolerance": tolerance,
                "n_corrections": n_corrections,
                "grid_level": grid_level,
                "conv_tol": conv_tol,
            },
            **common,
        )

    @property
    def _options(self) -> dict[str, str]:
        checkpoint = self.parameters["checkpoint"]
        return {} if checkpoint is None else {"checkpoint": checkpoint}

    @property
    def mean_field(self) -> Any:
        """The PySCF object of the last calculation (hartree, bohr), or None."""
        return None if self._solution is None else self._solution.mean_field

    def configure(self) -> None:
        """Check the options and forget what was computed with others."""
        self._solution: _Solution | None = None
        self._geometry: tuple[Any, ...] | None = None
        self.report: ConvergenceReport | None = None
        self.doubts: tuple[str, ...] = ()
        p = self.parameters
        for option, known in (("mode", MODES), ("fallback", FALLBACKS)):
            if p[option] not in known:
                raise CalculatorInputError(
                    f"option {option!r} is {p[option]!r}; it must be one of {', '.join(known)}."
                )
        for option in ("tolerance", "conv_tol"):
            value = p[option]
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0.0:
                raise CalculatorInputError(
                    f"option {option!r} is {value!r}; it must be a positive number."
                )
        for option, least, most in (("n_corrections", 1, 9), ("grid_level", 0, 9)):
            value = p[option]
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise CalculatorInputError(
                    f"option {option!r} is {value!r}; it must be from {least} to {most}."
                )
        if not isinstance(p["model"], str):
            raise CalculatorInputError(
                f"option 'model' is {p['model']!r}; it must be the name of a predictor, such as 'deqh-water'."
            )
        spec = registry.find("init_guess", p["model"]).spec
        if spec is None or not (spec.domain.xc and spec.domain.basis):
            raise CalculatorInputError(
                f"the predictor {p['model']!r} does not say which functional and basis set it knows"
            )
        self._xc, self._basis = spec.domain.xc, spec.domain.basis

    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        """Predict unless this geometry is there already, then what else is asked for."""
        if atoms.pbc.any():
            raise CalculatorInputError(
                f"atoms.pbc is {atoms.pbc.tolist()}; this calculator treats molecules in free "
                "space. Set atoms.pbc = False."
            )
        charge, spin = charge_and_spin(atoms, charge=None, spin=None, multiplicity=None)
        geometry = (atoms.numbers.tobytes(), atoms.positions.tobytes(), charge, spin)
        if self._solution is None or self._geometry != geometry:
            self._solution = None
            self._solution = self._solve(self._mean_field(atoms, charge, spin))
            self._geometry = geometry
        found = self._solution
        mf, dm = found.mean_field, found.density_matrix
        results: dict[str, object] = {
            "dipole": mf.dip_moment(mf.mol, dm, unit="AU", verbose=0) * BOHR_IN_ANGSTROM,
            "charges": mf.mulliken_pop(mf.mol, dm, verbose=0)[1],
            **found.reliability,
        }
        energies = found.orbital_energies * HARTREE_IN_EV
        if energies.ndim == 1:
            n = mf.mol.nelectron // 2
            results |= {"orbital_energies": energies, "gap": float(energies[n] - energies[n - 1])}
        elif set(ORBITAL_PROPERTIES) & set(properties):
            raise PropertyNotImplementedError("orbital energies are those of closed shells only")
        if found.energy is not None:
            results["energy"] = found.energy * HARTREE_IN_EV
            if "forces" in properties:
                results["forces"] = self._forces(found)
        elif {"energy", "forces", "free_energy"} & set(properties):
            raise PropertyNotImplementedError(
                "mode 'predict' builds no Fock matrix, without which there is no energy worth the name; use "
                "mode 'oneshot', 'corrected' or 'scf'"
            )
        return results

    def _mean_field(self, atoms: Atoms, charge: int, spin: int) -> Any:
        mol = build_molecule(
            atoms,
            charge=charge,
            spin=spin,
            basis=self._basis,
            ecp="auto",
            verbose=0,
            max_memory=None,
        )
        mf = (dft.UKS if spin else dft.RKS)(mol, xc=self._xc)
        close_checkpoint_file(mf)
        mf = attach(mf)
        mf.grids.level, mf.conv_tol = self.parameters["grid_level"], self.parameters["conv_tol"]
        return mf

    def _solve(self, mf: Any) -> _Solution:
        mode = self.parameters["mode"]
        self.doubts = ()
        if mode == "scf":
            return self._converged(initial_guess(mf, self.parameters["model"], **self._options))
        found = None
        try:
            found = self._predicted(mf)
        except UnsupportedError as error:
            self.doubts = (str(error),)
        if found is not None and not self.doubts:
            return found
        reason = "; ".join(self.doubts)
        fallback = self.parameters["fallback"]
        if fallback == "raise" or (fallback == "warn" and found is None):
            raise UnsupportedError(f"{self.parameters['model']}: {reason}")
        if fallback == "warn" and found is not None:
            warnings.warn(f"{self.parameters['model']}: {reason}", DomainWarning, stacklevel=2)
            return found
        if found is None:
            return self._converged(mf)
        solution = self._converged(mf, int(found.reliability["n_builds"]))
        solution.reliability["in_domain"] = found.reliability["in_domain"]
        return solution

    def _converged(self, mf: Any, spent: int = 0) -> _Solution:
        """Run a full SCF; Fock matrices that were spent before count."""
        with warnings.catch_warnings(record=True) as caught, counted_builds(mf) as builds:
            warnings.simplefilter("always", DomainWarning)
            self.report = converge(mf)
        outcome = getattr(mf, "guess_outcome", None)
        if outcome is not None and outcome.decision != "used":
            self.doubts = (outcome.reason,)
        for one in caught:
            if not issubclass(one.category, DomainWarning):
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        return _Solution(
            mean_field=mf,
            orbital_energies=np.asarray(mf.mo_energy),
            coefficients=np.asarray(mf.mo_coeff),
            occupations=np.asarray(mf.mo_occ),
            energy=float(mf.e_tot),
            fock=None,
            reliability={
                "energy_error": 0.0,
                "commutator": 0.0,
                "n_builds": float(builds.n + spent),
                "in_domain": float(not self.doubts),
                "from_scf": 1.0,
            },
        )

    def _predicted(self, mf: Any) -> _Solution:
        mode = self.parameters["mode"]
        only = self.parameters["fallback"] != "warn"
        request = replace(guess_request(mf), inside_only=only)
        result = load_predictor(self.parameters["model"], **self._options)(request)
        self.report, self.doubts = result.report, tuple(result.report.warnings)
        inside = float(not self.doubts)
        overlap, n = request.overlap, mf.mol.nelectron // 2
        hamiltonian, energy, fock, n_builds = result.hamiltonian, None, None, 0
        error = commutator = np.inf
        rounds = {"predict": 0, "oneshot": 1}.get(mode, 1 + self.parameters["n_corrections"])
        orbital_energies, c = scipy.linalg.eigh(hamiltonian, overlap)
        dm = 2.0 * c[:, :n] @ c[:, :n].T
        mixing = diis.CDIIS(mf)
        for k in range(rounds):
            if k and fock is not None:
                hamiltonian = np.asarray(mixing.update(overlap, dm, fock))
                orbital_energies, c = scipy.linalg.eigh(hamiltonian, overlap)
            dm = 2.0 * c[:, :n] @ c[:, :n].T
            core = mf.get_hcore()
            vhf = mf.get_veff(mf.mol, dm)
            n_builds += 1
            energy = float(mf.energy_tot(dm, core, vhf))
            fock = np.asarray(core + vhf)
            error = estimated_energy_error(fock, hamiltonian, overlap, mf.mol.nelectron)
            commutator = float(np.abs(fock @ dm @ overlap - overlap @ dm @ fock).max())
        if n_builds and error * HARTREE_IN_EV > self.parameters["tolerance"]:
            self.doubts += (
                f"the energy is about {error * HARTREE_IN_EV:.2g} eV too high, more than the tolerance, "
                f"{self.parameters['tolerance']:g} eV",
            )
        occupations = np.zeros(len(orbital_energies))
        occupations[:n] = 2.0
        return _Solution(
            mean_field=mf,
            orbital_energies=orbital_energies,
            coefficients=c,
            occupations=occupations,
            energy=energy,
            fock=fock,
            reliability={
                "energy_error": error * HARTREE_IN_EV if n_builds else UNKNOWN,
                "commutator": commutator * HARTREE_IN_EV if n_builds else UNKNOWN,
                "n_builds": float(n_builds),
                "in_domain": inside,
                "from_scf": 0.0,
            },
        )

    def _forces(self, found: _Solution) -> FloatArray:
        mf = found.mean_field.copy()
        mf.mo_coeff, mf.mo_occ = found.coefficients, found.occupations
        mf.mo_energy, mf.e_tot, mf.converged = found.orbital_energies, found.energy, True
        gradients = mf.nuc_grad_method()
        if found.fock is not None:
            gradients = gradients.view(lib.make_class((_AwayFromConvergence, type(gradients))))
            gradients.fock = found.fock
        gradients.grid_response, gradients.verbose = True, 0
        return -np.asarray(gradients.kernel()) * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM


class _AwayFromConvergence:
    """Gradients at a density that is not self-consistent: its own Fock matrix weighs it with energies."""

    __name_mixin__ = "AwayFromConvergence"
    _keys = frozenset({"fock"})
    fock: FloatArray

    def make_rdm1e(self, mo_energy: Any, mo_coeff: FloatArray, mo_occ: FloatArray) -> FloatArray:
        """Return D F D / 2 of doubly occupied orbitals."""
        del mo_energy
        dm = (mo_coeff * mo_occ) @ mo_coeff.T
        return np.asarray(0.5 * dm @ self.fock @ dm)
