"""An ASE calculator that runs Kohn-Sham calculations in PySCF with any functional, by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np
import numpy.typing as npt
from ase.calculators.calculator import PropertyNotImplementedError, SCFError
from pyscf import dft

from kakehashi_ase import Calculator, CalculatorInputError, CalculatorOptions
from kakehashi_core.results import ConvergenceReport
from kakehashi_pyscf._calculator_options import check_options
from kakehashi_pyscf._molecules import Names, build_molecule, charge_and_spin
from kakehashi_pyscf._units import (
    BOHR_IN_ANGSTROM,
    HARTREE_IN_EV,
    HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM,
)
from kakehashi_pyscf.attachment import attach
from kakehashi_pyscf.functional_library import REGISTRY_LIBRARY
from kakehashi_pyscf.scf_driver import LADDER, SCFConvergenceError, converge

if TYPE_CHECKING:
    from ase import Atoms

Method = Literal["auto", "rks", "uks", "roks"]

_METHODS = {"rks": dft.rks.RKS, "uks": dft.uks.UKS, "roks": dft.roks.ROKS}


class CalculatorSCFError(SCFConvergenceError, SCFError):
    """No method converged the SCF; caught as ASE's ``SCFError`` and as ``ConvergenceError``."""


@dataclass(frozen=True, eq=False)
class _State:
    """A molecule as far as an SCF depends on it, options aside."""

    numbers: npt.NDArray[np.int64]
    positions: npt.NDArray[np.float64]
    charge: int
    spin: int

    def same_molecule(self, other: _State) -> bool:
        """Return whether a density matrix of one is a sensible start for the other."""
        return (self.charge, self.spin) == (other.charge, other.spin) and np.array_equal(
            self.numbers, other.numbers
        )

    def same_geometry(self, other: _State) -> bool:
        return self.same_molecule(other) and np.array_equal(self.positions, other.positions)


class PySCFCalculator(Calculator):
    """Kohn-Sham DFT of a molecule (eV, Å, e·Å).

    Charge and spin come from the options, else from ``atoms.info["charge"]`` and
    ``atoms.info["spin"]`` (number of unpaired electrons), else the spin is the sum of the initial
    magnetic moments and the charge zero. Initial charges are not read. Changing any of these
    recalculates.

    Forces always include the response of the integration grid. The dipole of an ion refers to the
    origin of the coordinates. There is no stress, and periodic boundary conditions are refused.
    """

    implemented_properties = ("energy", "forces", "dipole")
    registry_name = "pyscf"
    self_consistent = True
    minimum_distance = 0.1
    watched_info = ("charge", "spin")

    def __init__(
        self,
        *,
        xc: str = "pbe",
        basis: Names = "def2-svp",
        charge: int | None = None,
        spin: int | None = None,
        multiplicity: int | None = None,
        ecp: Names | None = "auto",
        method: Method = "auto",
        density_fit: bool = False,
        auxbasis: Names | None = None,
        grid_level: int = 3,
        conv_tol: float = 1e-9,
        max_cycle: int = 50,
        max_memory: float | None = None,
        verbose: int = 0,
        robust: bool = True,
        reuse_density: bool = True,
        scf_options: Mapping[str, object] | None = None,
        **common: Unpack[CalculatorOptions],
    ) -> None:
        """Choose functional, basis set and how to converge; nothing is computed yet.

        Args:
            xc: A functional registered with kakehashi, or any name that libxc knows.
            basis: Basis set name, or chemical symbol to name.
            charge: Total charge; None to read it from the structure.
            spin: Number of unpaired electrons, 2S; None to read it from the structure.
            multiplicity: 2S + 1, in place of ``spin``.
            ecp: Effective core potential; "auto" is the one made for the basis set, None is none.
            method: "auto" is "rks" without unpaired electrons, else "uks".
            density_fit: Fit the Coulomb interaction: faster, about 1e-4 eV per atom off.
            auxbasis: Auxiliary basis of the fit; None for PySCF's choice.
            grid_level: Size of the integration grid, 0 to 9. Below 3 forces are off by 0.01 eV/Å.
            conv_tol: Energy change at which the SCF is converged, hartree.
            max_cycle: Cycles of the first attempt.
            max_memory: MB; None for PySCF's default.
            verbose: PySCF's verbosity, 0 to 9; it prints to stdout.
            robust: Try level shift, second-order and other methods before giving up.
            reuse_density: Start from the density of the last geometry of the same molecule, which
                saves cycles. False makes results independent of history, beyond ``conv_tol``.
            scf_options: Further attributes of PySCF's SCF object, such as "level_shift", "damp",
                "diis_space" or "init_guess".
            common: See ``kakehashi_ase.CalculatorOptions``.

        Raises:
            UnknownNameError: If neither kakehashi nor libxc knows the functional.
            CalculatorInputError: If an option is unknown or has a value that is not allowed.
        """
        self.report: ConvergenceReport | None = None
        super().__init__(
            {
                "xc": xc,
                "basis": basis,
                "charge": charge,
                "spin": spin,
                "multiplicity": multiplicity,
                "ecp": ecp,
                "method": method,
                "density_fit": density_fit,
                "auxbasis": auxbasis,
                "grid_level": grid_level,
                "conv_tol": conv_tol,
                "max_cycle": max_cycle,
                "max_memory": max_memory,
                "verbose": verbose,
                "robust": robust,
                "reuse_density": reuse_density,
                "scf_options": {} if scf_options is None else scf_options,
            },
            **common,
        )

    @property
    def mean_field(self) -> Any:
        """The converged PySCF object of the last calculation (hartree, bohr), or None."""
        return self._mean_field

    @property
    def weights_digest(self) -> str:
        """SHA-256 of the functional's weights; empty for functionals without weights."""
        functional = REGISTRY_LIBRARY.find(self.parameters["xc"])
        card = getattr(functional, "card", None)
        digest = getattr(functional, "sha256", "") or getattr(card, "sha256", "")
        return digest if isinstance(digest, str) else ""

    def configure(self) -> None:
        """Check the options and forget the densities that were computed with others."""
        self._mean_field: Any = None
        self._state: _State | None = None
        self._density: npt.NDArray[np.float64] | None = None
        self.report = None
        check_options(self.parameters, methods=("auto", *_METHODS))

    def evaluate(self, atoms: Atoms, properties: Collection[str]) -> Mapping[str, object]:
        """Run the SCF unless this geometry is already converged, then what else is asked for."""
        if atoms.pbc.any():
            raise CalculatorInputError(
                f"atoms.pbc is {atoms.pbc.tolist()}; this calculator treats molecules in free "
                "space. Set atoms.pbc = False."
            )
        charge, spin = charge_and_spin(
            atoms, **{key: self.parameters[key] for key in ("charge", "spin", "multiplicity")}
        )
        state = _State(atoms.numbers, atoms.positions, charge, spin)
        if self._state is None or not self._state.same_geometry(state):
            self._solve(atoms, state)
        results: dict[str, object] = {
            "energy": float(self._mean_field.e_tot) * HARTREE_IN_EV,
            "dipole": self._mean_field.dip_moment(unit="AU", verbose=0) * BOHR_IN_ANGSTROM,
        }
        if "forces" in properties:
            results["forces"] = self._forces()
        return results

    def _solve(self, atoms: Atoms, state: _State) -> None:
        """Converge the SCF for ``state``; keep nothing of the last one if that fails."""
        start = self._density if self._may_start_from(state) else None
        self._mean_field, self._state, self._density = None, None, None
        p = self.parameters
        molecule = build_molecule(
            atoms,
            charge=state.charge,
            spin=state.spin,
            basis=p["basis"],
            ecp=p["ecp"],
            verbose=p["verbose"],
            max_memory=p["max_memory"],
        )
        mean_field = self._build_mean_field(molecule)
        self.report = self._converge(mean_field, start)
        self._mean_field, self._state = mean_field, state
        # A plain array: the tags PySCF adds would refer to the orbitals of this geometry.
        self._density = np.array(mean_field.make_rdm1())

    def _may_start_from(self, state: _State) -> bool:
        return (
            bool(self.parameters["reuse_density"])
            and self._state is not None
            and self._state.same_molecule(state)
        )

    def _build_mean_field(self, molecule: Any) -> Any:
        p = self.parameters
        method = p["method"]
        if method == "auto":
            method = "uks" if molecule.spin else "rks"
        if method == "rks" and molecule.spin:
            raise CalculatorInputError(
                f"method 'rks' needs a closed shell, but {molecule.spin} electrons are unpaired; "
                "use 'auto', 'uks' or 'roks'."
            )
        mean_field = _METHODS[method](molecule, xc=p["xc"])
        mean_field.grids.level = p["grid_level"]
        mean_field.conv_tol = p["conv_tol"]
        mean_field.max_cycle = p["max_cycle"]
        close_checkpoint_file(mean_field)
        for option, value in p["scf_options"].items():
            setattr(mean_field, option, value)
        mean_field = attach(mean_field)
        if p["density_fit"]:
            mean_field = mean_field.density_fit(auxbasis=p["auxbasis"])
        return mean_field

    def _converge(
        self, mean_field: Any, start: npt.NDArray[np.float64] | None
    ) -> ConvergenceReport:
        ladder = LADDER if self.parameters["robust"] else LADDER[:1]
        try:
            try:
                return converge(mean_field, start, ladder=ladder)
            except SCFConvergenceError:
                if start is None:
                    raise
                # The old density may be what hinders; it must never be worse than having none.
                return converge(mean_field, None, ladder=ladder)
        except SCFConvergenceError as error:
            self.report = error.report
            raise CalculatorSCFError(str(error), error.report) from error

    def _forces(self) -> npt.NDArray[np.float64]:
        try:
            gradients = self._mean_field.nuc_grad_method()
            gradients.grid_response = True
            gradients.verbose = self.parameters["verbose"]
            gradient = np.asarray(gradients.kernel(), dtype=np.float64)
        except NotImplementedError as error:
            raise PropertyNotImplementedError(
                f"PySCF has no forces for xc={self.parameters['xc']!r} with "
                f"method={self.parameters['method']!r}: {error}"
            ) from error
        return -gradient * HARTREE_PER_BOHR_IN_EV_PER_ANGSTROM


def close_checkpoint_file(mean_field: Any) -> None:
    """Close the temporary file that PySCF opens for every object, one per geometry."""
    opened = getattr(mean_field, "_chkfile", None)
    if opened is not None:
        opened.close()
    mean_field.chkfile = None
