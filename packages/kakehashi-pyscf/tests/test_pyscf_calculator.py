"""The ASE calculator that runs PySCF: small molecules, small basis sets."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ase.db
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import InputError, PropertyNotImplementedError, SCFError
from ase.calculators.fd import calculate_numerical_forces
from ase.optimize import BFGS
from ase.units import Bohr, Hartree
from pyscf import dft, gto

from kakehashi_ase import CalculatorInputError, calculator
from kakehashi_core import registry
from kakehashi_core.errors import ConvergenceError, DomainWarning, UnknownNameError
from kakehashi_core.registry import Plugin, State
from kakehashi_core.specs import API_VERSION, Domain, XCSpec
from kakehashi_pyscf._entry_points import bench_scf, pyscf_calculator
from kakehashi_pyscf.calculator import CalculatorSCFError, PySCFCalculator
from kakehashi_pyscf.functional_library import REGISTRY_LIBRARY
from kakehashi_pyscf.scf_driver import LADDER


def water() -> Atoms:
    atoms = molecule("H2O")
    atoms.rattle(0.03, seed=1)
    return atoms


def hydroxyl() -> Atoms:
    return Atoms("OH", positions=[[0.1, 0, 0], [0, 0.2, 1.0]], magmoms=[1, 0])


def amidogen() -> Atoms:
    """NH2, a radical whose ground state is not degenerate, unlike that of OH."""
    atoms = molecule("NH2")
    atoms.rattle(0.03, seed=1)
    return atoms


def hydrogen(distance: float = 0.8) -> Atoms:
    return Atoms("H2", positions=[[0, 0, 0], [0, 0, distance]])


def small(**options: object) -> PySCFCalculator:
    defaults: dict[str, object] = {"basis": "sto-3g"}
    return PySCFCalculator(**{**defaults, **options})  # type: ignore[arg-type]


def plain_pyscf(atoms: Atoms, options: Mapping[str, Any], spin: int) -> Any:
    mol = gto.M(
        atom=[(s, tuple(p)) for s, p in zip(atoms.symbols, atoms.positions, strict=True)],
        basis=options["basis"],
        spin=spin,
        verbose=0,
    )
    mf = (dft.UKS if spin else dft.RKS)(mol, xc=options["xc"])
    mf.conv_tol = options["conv_tol"]
    return mf.run()


# Numbers.


@pytest.mark.parametrize(
    ("build", "spin", "options"),
    [
        (water, 0, {"basis": "6-31g"}),
        (amidogen, 1, {}),
        (hydroxyl, 1, {"conv_tol": 1e-9}),
        (water, 0, {"density_fit": True}),
    ],
    ids=["RKS", "UKS", "UKS, degenerate", "RKS, fitted"],
)
def test_energy_and_dipole_are_those_of_plain_pyscf(
    build: object, spin: int, options: dict[str, object]
) -> None:
    """Oracle: PySCF itself, given coordinates in Å; 1e-9 hartree."""
    atoms = build()  # type: ignore[operator]
    atoms.calc = small(**{"conv_tol": 1e-11, **options})
    reference = plain_pyscf(atoms, atoms.calc.parameters, spin)
    if atoms.calc.parameters["density_fit"]:
        fitted = reference.density_fit().run()
        assert abs(fitted.e_tot - reference.e_tot) > 1e-7
        reference = fitted
    assert atoms.get_potential_energy() / Hartree == pytest.approx(reference.e_tot, abs=1e-9)
    dipole = reference.dip_moment(unit="AU", verbose=0) * Bohr
    assert np.linalg.norm(dipole) > 0.1
    assert atoms.get_dipole_moment() == pytest.approx(dipole, abs=1e-6)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (water, {"xc": "pbe"}),
        (amidogen, {"xc": "pbe"}),
        (amidogen, {"xc": "r2scan", "method": "roks"}),
        (water, {"xc": "pbe", "density_fit": True}),
    ],
    ids=["RKS", "UKS", "ROKS", "RKS, fitted"],
)
def test_forces_are_minus_the_gradient(build: object, options: dict[str, object]) -> None:
    """Oracle: central difference. Without grid response: 1.5e-4 (PBE), 6e-2 eV/Å (r2SCAN) off."""
    atoms = build()  # type: ignore[operator]
    atoms.calc = small(conv_tol=1e-11, **options)
    forces = atoms.get_forces()
    assert np.abs(forces).max() > 0.1
    numerical = calculate_numerical_forces(atoms, eps=1e-3, iatoms=[0])
    assert forces[0] == pytest.approx(numerical[0], abs=5e-5)


class TorchSlater:
    """Slater exchange written in torch; libxc's name for it is "lda,"."""

    family, hybrid, max_deriv = "LDA", 0.0, 2

    def energy_density(self, variables: torch.Tensor, spin: int) -> torch.Tensor:
        factor = -0.75 * (3.0 / np.pi) ** (1.0 / 3.0)
        if spin:
            return factor * 2.0 ** (1.0 / 3.0) * (variables ** (4.0 / 3.0)).sum(dim=0)
        return factor * variables[0] ** (4.0 / 3.0)


def test_a_registered_functional_gives_energy_and_forces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the same functional from libxc."""
    monkeypatch.setitem(REGISTRY_LIBRARY._functionals, "torch-slater", TorchSlater())
    ours, libxc = hydroxyl(), hydroxyl()
    ours.calc, libxc.calc = small(xc="Torch_Slater"), small(xc="lda,")
    assert ours.get_potential_energy() == pytest.approx(libxc.get_potential_energy(), abs=1e-8)
    assert ours.get_forces() == pytest.approx(libxc.get_forces(), abs=1e-5)
    libxc.calc.set(xc="pbe")
    assert abs(ours.get_potential_energy() - libxc.get_potential_energy()) > 1.0


def test_bfgs_finds_the_minimum_of_water() -> None:
    """Oracle: PBE/STO-3G from PySCF, whose energy rises when any bond is changed by 0.01 Å."""
    atoms = water()
    atoms.calc = small()
    assert BFGS(atoms, logfile=None).run(fmax=2e-3, steps=30)
    lowest = atoms.get_potential_energy()
    for change in (-0.01, 0.01):
        moved = atoms.copy()
        moved.calc = small()
        moved.set_distance(0, 1, atoms.get_distance(0, 1) + change, fix=0)
        assert moved.get_potential_energy() - lowest > 1e-4
    assert 95 < atoms.get_angle(1, 0, 2) < 105


# Charge and spin.


@pytest.mark.parametrize(
    ("build", "options", "info", "expected"),
    [
        (hydroxyl, {}, {}, (0, 1)),
        (hydroxyl, {}, {"charge": -1, "spin": 0}, (-1, 0)),
        (hydroxyl, {"charge": -1, "spin": 0}, {"charge": 5, "spin": 7}, (-1, 0)),
        (hydroxyl, {"multiplicity": 4}, {}, (0, 3)),
        (hydroxyl, {"spin": 1, "multiplicity": 2}, {}, (0, 1)),
        (water, {"charge": 1.0}, {"spin": np.int64(1)}, (1, 1)),
        (water, {}, {"charge": np.array([2])}, (2, 0)),
    ],
)
def test_charge_and_spin_come_from_options_then_info_then_moments(
    build: object, options: dict[str, object], info: dict[str, object], expected: tuple[int, int]
) -> None:
    atoms = build()  # type: ignore[operator]
    atoms.info.update(info)
    atoms.calc = small(grid_level=0, xc="lda,vwn", **options)
    atoms.get_potential_energy()
    mol = atoms.calc.mean_field.mol
    assert (mol.charge, mol.spin) == expected
    assert isinstance(atoms.calc.mean_field, dft.uks.UKS if expected[1] else dft.rks.RKS)


def test_negative_moments_count_by_their_sum() -> None:
    atoms = hydroxyl()
    atoms.set_initial_magnetic_moments([-1.5, 0.5])
    atoms.calc = small(grid_level=0)
    atoms.get_potential_energy()
    assert atoms.calc.mean_field.mol.spin == 1


@pytest.fixture
def no_scf(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        pytest.fail("an SCF was started")

    monkeypatch.setattr("kakehashi_pyscf.calculator.converge", refuse)


@pytest.mark.usefixtures("no_scf")
@pytest.mark.parametrize(
    ("info", "magmoms", "message"),
    [
        (
            {"spin": 1},
            None,
            r"1 unpaired electrons \(from atoms.info\['spin'\]\) do not fit the 10",
        ),
        ({"charge": 1}, None, "do not fit the 9 electrons .* an odd number from 1 to 9"),
        ({}, [1, 0, 0], "from the initial magnetic moments"),
        ({"spin": 12}, None, "an even number from 0 to 10"),
        ({"spin": -2}, None, "-2 unpaired electrons"),
        ({"charge": 10}, None, "has 0 electrons"),
        ({"charge": 0.5}, None, "the charge is 0.5; it must be a whole number"),
        ({"charge": True}, None, "the charge is True; it must be one whole number"),
        ({"charge": "1"}, None, "the charge is '1'"),
        ({"charge": [1, 0, 0]}, None, r"the charge is \[1, 0, 0\]"),
        ({"charge": float("nan")}, None, r"atoms.info\['charge'\] is nan"),
        ({}, [0.7, 0, 0], "sum of the initial magnetic moments is 0.7"),
        ({}, np.zeros((3, 3)), r"have shape \(3, 3\); collinear ones"),
    ],
)
def test_impossible_charge_and_spin_stop_before_the_scf(
    info: dict[str, object], magmoms: object, message: str
) -> None:
    atoms = water()
    atoms.info.update(info)
    if magmoms is not None:
        atoms.set_initial_magnetic_moments(magmoms)
    atoms.calc = small()
    with pytest.raises(InputError, match=message):
        atoms.get_potential_energy()


def _nan_position(atoms: Atoms) -> None:
    atoms.positions[2, 0] = np.nan


def _duplicate(atoms: Atoms) -> None:
    atoms.positions[2] = atoms.positions[1]


def _periodic(atoms: Atoms) -> None:
    atoms.set_cell([9, 9, 9])
    atoms.pbc = True


def _oganesson(atoms: Atoms) -> None:
    atoms.numbers[0] = 118


# PySCF advises to install another package.
@pytest.mark.filterwarnings("ignore:Basis may be available:UserWarning")
@pytest.mark.usefixtures("no_scf")
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_nan_position, r"position of atom 2 \(H\) has x = nan"),
        (_duplicate, "0 Å apart"),
        (_periodic, "treats molecules in free space"),
        (_oganesson, "no basis set 'sto-3g'"),
    ],
)
def test_bad_structures_stop_before_the_scf(spoil: object, message: str) -> None:
    atoms = water()
    spoil(atoms)  # type: ignore[operator]
    atoms.calc = small()
    with pytest.raises(CalculatorInputError, match=message):
        atoms.get_forces()


@pytest.mark.usefixtures("no_scf")
def test_a_closed_shell_method_refuses_a_radical() -> None:
    atoms = hydroxyl()
    atoms.calc = small(method="rks")
    with pytest.raises(CalculatorInputError, match="'rks' needs a closed shell, but 1 electrons"):
        atoms.get_potential_energy()


def test_core_potentials_follow_the_basis_set() -> None:
    """Oracle: def2-SVP treats 28 of the 53 electrons of iodine as core."""
    atoms = Atoms("HI", positions=[[0, 0, 0], [0, 0, 1.6]])
    atoms.calc = PySCFCalculator(basis="def2-svp", grid_level=0, xc="lda,vwn")
    atoms.get_potential_energy()
    assert atoms.calc.mean_field.mol.nelectron == 54 - 28
    atoms.calc = PySCFCalculator(basis="def2-svp", spin=40)
    with pytest.raises(CalculatorInputError, match="40 unpaired electrons, but the core potential"):
        atoms.get_potential_energy()


def test_basis_sets_can_differ_between_elements() -> None:
    atoms = water()
    atoms.calc = small(basis={"O": "6-31g", "H": "sto-3g"}, grid_level=0)
    atoms.get_potential_energy()
    assert atoms.calc.mean_field.mol.nao == 9 + 2


def test_stress_is_not_offered() -> None:
    atoms = hydrogen()
    atoms.calc = small()
    with pytest.raises(PropertyNotImplementedError, match="stress property not implemented"):
        atoms.get_stress()


# Options.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bassis": "sto-3g"}, r"no option 'bassis'\. Did you mean 'basis'"),
        ({"basis": "def2-svp\nH S\n 1.0 __import__('os')"}, "option 'basis' is \"def2-svp"),
        ({"basis": "../basis.dat"}, "Files are not read"),
        ({"basis": None}, "option 'basis' is None"),
        ({"auxbasis": 3}, "option 'auxbasis' is 3"),
        ({"xc": ""}, "option 'xc' is ''"),
        ({"spin": -1}, "option 'spin' is -1"),
        ({"spin": 1.5}, r"option 'spin' is 1\.5"),
        ({"multiplicity": 0}, "option 'multiplicity' is 0"),
        ({"spin": 1, "multiplicity": 1}, "contradict each other; the multiplicity would be 2"),
        ({"charge": "cation"}, "option 'charge' is 'cation'"),
        ({"method": "gks"}, "option 'method' is 'gks'; it must be one of auto, rks, uks, roks"),
        ({"density_fit": "yes"}, "option 'density_fit' is 'yes'"),
        ({"grid_level": 10}, "option 'grid_level' is 10; it must be from 0 to 9"),
        ({"max_cycle": 0}, "option 'max_cycle' is 0; it must be at least 1"),
        ({"conv_tol": 0.0}, r"option 'conv_tol' is 0\.0; it must be a positive"),
        ({"max_memory": -1}, "option 'max_memory' is -1"),
        ({"scf_options": {"levelshift": 0.1}}, r"'levelshift'\. Did you mean 'level_shift'"),
        ({"scf_options": {"conv_tol": 1e-6}}, "set with the option 'conv_tol'"),
        ({"scf_options": {"mo_coeff": []}}, "unknown name 'mo_coeff'"),
        ({"scf_options": {"init_guess": "mini"}}, r"init_guess is 'mini'\. Did you mean 'minao'"),
        ({"scf_options": [1]}, r"option 'scf_options' is \[1\]"),
    ],
)
def test_bad_options_are_refused_at_construction(options: dict[str, object], message: str) -> None:
    with pytest.raises(CalculatorInputError, match=message):
        PySCFCalculator(**options)  # type: ignore[arg-type]


def test_unknown_functionals_are_refused_at_construction() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown functional 'r2scam'.*r2scan'"):
        PySCFCalculator(xc="r2scam")


def test_a_file_named_like_a_basis_set_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PySCF prefers a file of that name and evaluates what it finds there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sto-3g").write_text("H S\n1.0 1.0\n")
    with pytest.raises(CalculatorInputError, match="the current folder has a file of that name"):
        small()


def test_scf_options_reach_pyscf() -> None:
    atoms = hydrogen()
    atoms.calc = small(
        scf_options={"level_shift": 0.2, "damp": 0.3, "diis_space": 4, "init_guess": "atom"},
        max_cycle=40,
        max_memory=1234,
        grid_level=1,
    )
    atoms.get_potential_energy()
    mf = atoms.calc.mean_field
    assert (mf.level_shift, mf.damp, mf.diis_space, mf.init_guess) == (0.2, 0.3, 4, "atom")
    assert (mf.max_cycle, mf.mol.max_memory, mf.grids.level) == (40, 1234, 1)


def test_nothing_is_printed_or_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    atoms = hydrogen()
    atoms.calc = small()
    atoms.get_forces()
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


# Cache and reuse of densities.


def count_scf(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Record for every SCF whether it started from a density."""
    from kakehashi_pyscf import calculator as module

    starts: list[bool] = []
    original = module.converge

    def counted(mf: object, start: object, **kwargs: object) -> object:
        starts.append(start is not None)
        return original(mf, start, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "converge", counted)
    return starts


def test_each_state_is_converged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Energy first, forces later: one SCF. Then changes that matter, and one that does not."""
    starts = count_scf(monkeypatch)
    atoms = hydroxyl()
    atoms.calc = small(grid_level=1)
    energies = [atoms.get_potential_energy()]
    atoms.get_forces()
    atoms.get_dipole_moment()
    atoms.info["comment"] = "irrelevant"
    atoms.get_potential_energy()
    assert starts == [False]
    atoms.positions[1, 2] += 0.01
    energies.append(atoms.get_potential_energy())
    assert starts == [False, True]
    atoms.info["charge"], atoms.info["spin"] = -1, 0
    energies.append(atoms.get_potential_energy())
    assert starts == [False, True, False]
    atoms.info["charge"], atoms.info["spin"] = 1, 2
    energies.append(atoms.get_potential_energy())
    assert starts == [False, True, False, False]
    atoms.numbers[0] = 16
    energies.append(atoms.get_potential_energy())
    assert starts == [False, True, False, False, False]
    atoms.calc.set(basis="6-31g")
    energies.append(atoms.get_potential_energy())
    assert starts == [False, True, False, False, False, False]
    assert np.abs(np.diff(energies)).min() > 1e-3


def test_changed_moments_recalculate(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = count_scf(monkeypatch)
    atoms = hydrogen(1.5)
    atoms.calc = small(grid_level=0, basis="6-31g")
    singlet = atoms.get_potential_energy()
    atoms.set_initial_magnetic_moments([1, 1])
    assert atoms.get_potential_energy() - singlet > 0.1
    assert starts == [False, False]


def test_the_last_density_saves_cycles_and_changes_no_result() -> None:
    """Oracle: the same geometry from scratch."""
    atoms = water()
    atoms.calc = small(basis="6-31g")
    atoms.get_potential_energy()
    first = atoms.calc.report.n_iterations
    atoms.positions[1, 1] += 0.005
    reused, cycles = atoms.get_potential_energy(), atoms.calc.report.n_iterations
    atoms.calc = small(basis="6-31g", reuse_density=False)
    assert atoms.get_potential_energy() == pytest.approx(reused, abs=1e-7)
    assert cycles < atoms.calc.report.n_iterations
    assert cycles < first


def test_an_unconverged_scf_raises_with_its_report_and_leaves_nothing() -> None:
    atoms = water()
    atoms.calc = small(max_cycle=2, robust=False, grid_level=0)
    with pytest.raises(CalculatorSCFError, match="did not converge") as caught:
        atoms.get_potential_energy()
    assert isinstance(caught.value, SCFError)
    assert isinstance(caught.value, ConvergenceError)
    assert not caught.value.report.converged
    assert caught.value.report.n_iterations == 2
    assert atoms.calc.report == caught.value.report
    assert atoms.calc.results == {}
    assert atoms.calc.mean_field is None
    assert pickle.loads(pickle.dumps(caught.value)).report == caught.value.report


def test_the_ladder_rescues_what_the_first_attempt_misses() -> None:
    atoms = water()
    atoms.calc = small(max_cycle=2, grid_level=0)
    energy = atoms.get_potential_energy()
    assert [stage.converged for stage in atoms.calc.report.stages][-1]
    assert len(atoms.calc.report.stages) > 1
    atoms.calc = small(grid_level=0)
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-7)


def test_a_density_that_hinders_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    from kakehashi_pyscf import calculator as module

    original = module.converge

    def hindered(mf: object, start: object, **kwargs: object) -> object:
        if start is not None:
            return original(mf, start, ladder=())
        return original(mf, start, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "converge", hindered)
    atoms = hydrogen()
    atoms.calc = small(grid_level=0)
    atoms.get_potential_energy()
    atoms.positions[0, 2] -= 0.01
    atoms.get_potential_energy()
    assert atoms.calc.report.converged


# Domain, provenance, storage.


def test_elements_outside_the_domain_warn_and_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = XCSpec(
        name="pbe",
        api_version=API_VERSION,
        factory="m:f",
        summary="",
        family="GGA",
        domain=Domain(elements=("H",)),
    )

    def find(kind: str, name: str) -> Plugin:
        return Plugin(
            kind=kind,
            name=name,
            distribution="d",
            version="1",
            value="m:s",
            state=State.OK,
            spec=spec,
        )

    monkeypatch.setattr(registry, "find", find)
    atoms = hydrogen()
    atoms.calc = small(grid_level=0)
    atoms.get_potential_energy()
    assert atoms.calc.report.warnings == ()
    atoms = water()
    atoms.calc = small(grid_level=0)
    with pytest.warns(DomainWarning, match="not trained on O"):
        atoms.get_potential_energy()
    assert "not trained on O" in atoms.calc.report.warnings[0]


@pytest.mark.parametrize(
    "functional",
    [SimpleNamespace(sha256="12ab"), SimpleNamespace(card=SimpleNamespace(sha256="12ab"))],
)
def test_todict_is_json_and_names_the_weights(
    monkeypatch: pytest.MonkeyPatch, functional: object
) -> None:
    calc = small(charge=np.int64(1), scf_options={"level_shift": np.float64(0.1)})
    stored = json.loads(json.dumps(calc.todict()))
    assert stored == calc.todict()
    assert (stored["charge"], stored["scf_options"]) == (1, {"level_shift": 0.1})
    assert "weights_sha256" not in stored
    monkeypatch.setattr(REGISTRY_LIBRARY, "find", lambda xc: functional)
    assert calc.todict()["weights_sha256"] == "12ab"


def pickled(calc: PySCFCalculator) -> PySCFCalculator:
    twin: PySCFCalculator = pickle.loads(pickle.dumps(calc))
    return twin


@pytest.mark.parametrize("duplicate", [pickled, copy.deepcopy])
def test_copies_keep_options_and_results(
    duplicate: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = count_scf(monkeypatch)
    atoms = hydrogen()
    atoms.calc = small(scf_options={"damp": 0.1})
    energy = atoms.get_potential_energy()
    twin = duplicate(atoms.calc)  # type: ignore[operator]
    assert twin.parameters == atoms.calc.parameters
    assert twin.get_property("energy", atoms) == energy
    assert len(starts) == 1
    atoms.positions[0, 2] -= 0.05
    assert twin.get_property("energy", atoms) == pytest.approx(
        atoms.get_potential_energy(), abs=1e-7
    )
    assert len(starts) == 3


def test_database_round_trip(tmp_path: Path) -> None:
    atoms = water()
    atoms.calc = calculator("pyscf", basis="sto-3g", grid_level=1)
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    with ase.db.connect(tmp_path / "test.db") as database:
        database.write(atoms)
        row = database.get(id=1)
    assert row.calculator == "pyscf"
    assert row.calculator_parameters["xc"] == "pbe"
    assert (row.energy, row.free_energy) == (energy, energy)
    assert row.dipole == pytest.approx(atoms.get_dipole_moment(), abs=0)
    assert row.toatoms().get_forces() == pytest.approx(forces, abs=0)


def test_specs() -> None:
    spec = pyscf_calculator()
    calc = small()
    assert set(spec.implemented_properties) == set(calc.implemented_properties)
    assert set(spec.units) == set(spec.implemented_properties)
    assert bench_scf().serves == "xc"
    assert len(LADDER) > 1
