"""Predicted initial guesses: what they save, what they cost when they are wrong, what they survive."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import scipy.linalg
from pyscf import dft, gto, scf

import kakehashi_pyscf as kp
from kakehashi_core.contracts import GuessRequest, GuessResult
from kakehashi_core.errors import (
    DomainWarning,
    InvalidInputError,
    UnknownNameError,
    UnsupportedError,
)
from kakehashi_core.results import ConvergenceReport
from kakehashi_pyscf import initial_guesses

GEOMETRY = "O 0 0 0; H 0 .757 .587; H 0 -.757 .587"


def water(basis="6-31g", **options):
    return gto.M(atom=GEOMETRY, basis=basis, verbose=0, **options)


def calculation(mol=None, **options):
    mf = dft.RKS(mol or water(), xc="pbe", **options)
    mf.grids.level = 1
    return mf


class Known:
    """Predicts what a converged calculation has, plus an error."""

    def __init__(self, hamiltonian, error=0.0, warnings=(), threshold=0.4, factor=1.0):
        self.hamiltonian, self.error = hamiltonian, error
        self.warnings, self.threshold, self.factor = warnings, threshold, factor
        self.requests: list[GuessRequest] = []

    def __call__(self, request):
        self.requests.append(request)
        rng = np.random.default_rng(0)
        noise = rng.normal(size=self.hamiltonian.shape) * self.error
        h = self.hamiltonian + noise + noise.T
        _, c = scipy.linalg.eigh(h, request.overlap)
        n = int(request.numbers.sum()) // 2
        dm = self.factor * 2.0 * c[:, :n] @ c[:, :n].T
        report = ConvergenceReport(
            converged=True, method="known", n_iterations=1, warnings=self.warnings
        )
        return GuessResult(
            hamiltonian=h, density_matrix=dm, report=report, rejection_threshold=self.threshold
        )


@pytest.fixture(scope="module")
def converged():
    mf = calculation()
    mf.conv_tol = 1e-12
    with kp.counted_builds(mf) as builds:
        mf.kernel()
    mf2 = calculation()
    with kp.counted_builds(mf2) as builds:
        mf2.kernel()
    return {"fock": mf.get_fock(), "energy": mf.e_tot, "builds": builds.n, "dm": mf.make_rdm1()}


def run(monkeypatch, predictor, mf=None):
    monkeypatch.setattr(initial_guesses, "_predictor", lambda name, options=(): predictor)
    mf = kp.initial_guess(mf or calculation(), "known")
    with kp.counted_builds(mf) as builds:
        mf.kernel()
    return mf, builds.n


def test_a_perfect_prediction_costs_three_fock_matrices(monkeypatch, converged):
    """Oracle: one before the loop, one cycle, one after it (note of the method, section 3.4)."""
    mf, builds = run(monkeypatch, Known(converged["fock"]))
    assert builds == 3 < converged["builds"]
    assert mf.e_tot == pytest.approx(converged["energy"], abs=1e-9)
    assert mf.guess_outcome.decision == "used"
    assert mf.guess_outcome.energy_error < 1e-10
    assert mf.guess_outcome.commutator < 1e-5


def test_a_good_prediction_with_its_estimated_error(monkeypatch, converged):
    """Oracle: the energy of the predicted density, above the minimum."""
    predictor = Known(converged["fock"], error=1e-3)
    mf, builds = run(monkeypatch, predictor)
    assert builds < converged["builds"]
    dm = predictor(kp.guess_request(calculation())).density_matrix
    plain = calculation()
    true = plain.energy_tot(dm) - converged["energy"]
    assert 0.5 < mf.guess_outcome.energy_error / true < 2.0


def test_a_bad_prediction_costs_one_fock_matrix(monkeypatch, converged):
    """Oracle: PySCF without a prediction, and one more build."""
    mf, builds = run(monkeypatch, Known(converged["fock"], error=0.5))
    assert mf.guess_outcome.decision == "rejected"
    assert builds == converged["builds"] + 1
    assert mf.e_tot == pytest.approx(converged["energy"], abs=1e-9)
    assert "minao" in str(mf.guess_outcome)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warnings": ("a bond is too long",)}, "a bond is too long"),
        ({"factor": 0.9}, "electrons"),
        ({"factor": np.nan}, "not finite"),
    ],
)
def test_a_doubtful_prediction_costs_nothing(monkeypatch, converged, options, message):
    """Oracle: PySCF without a prediction."""
    with pytest.warns(DomainWarning, match=message):
        mf, builds = run(monkeypatch, Known(converged["fock"], **options))
    assert mf.guess_outcome.decision == "refused"
    assert message in mf.guess_outcome.reason
    assert builds == converged["builds"]
    assert mf.e_tot == pytest.approx(converged["energy"], abs=1e-9)


def test_a_refusal_of_the_predictor_is_not_an_error(monkeypatch, converged):
    """Oracle: PySCF without a prediction."""

    def refuses(request):
        raise UnsupportedError("no such element")

    with pytest.warns(DomainWarning, match="no such element"):
        mf, builds = run(monkeypatch, refuses)
    assert builds == converged["builds"]
    assert mf.guess_outcome.to_dict()["decision"] == "refused"


def test_density_fitting_newton_spins_and_pickle(monkeypatch, converged):
    """Oracle: the same calculations without a prediction."""
    predictor = Known(converged["fock"])
    monkeypatch.setattr(initial_guesses, "_predictor", lambda name, options=(): predictor)
    fitted = kp.initial_guess(calculation(), "known").density_fit()
    fitted.kernel()
    assert fitted.guess_outcome.decision == "used"
    plain = calculation().density_fit()
    assert fitted.e_tot == pytest.approx(plain.kernel(), abs=1e-8)

    for second in (
        kp.initial_guess(calculation(), "known").newton(),
        kp.initial_guess(calculation().newton(), "known"),
    ):
        n = len(predictor.requests)
        steps = []
        second.callback = lambda envs, steps=steps: steps.append("macro" if "ukf" in envs else envs)
        second.kernel()
        assert len(predictor.requests) > n
        assert second.e_tot == pytest.approx(converged["energy"], abs=1e-8)
        assert not any("fock_last" in envs for envs in steps if isinstance(envs, dict))  # no DIIS

    spins = kp.initial_guess(calculation(), "known").to_uks()
    spins.kernel()
    assert spins.e_tot == pytest.approx(converged["energy"], abs=1e-8)

    copied = pickle.loads(pickle.dumps(kp.initial_guess(calculation(), "known")))
    assert copied.kernel() == pytest.approx(converged["energy"], abs=1e-9)
    gradient = kp.initial_guess(calculation(), "known").run().nuc_grad_method().kernel()
    assert gradient == pytest.approx(calculation().run().nuc_grad_method().kernel(), abs=1e-5)


def test_scanners_take_a_guess_by_hand(monkeypatch, converged):
    """Oracle: single calculations; a scanner of PySCF starts from the density before."""
    predictor = Known(converged["fock"])
    monkeypatch.setattr(initial_guesses, "_predictor", lambda name, options=(): predictor)
    scanner = kp.initial_guess(calculation(), "known").as_scanner()
    moved = gto.M(atom="O 0 0 0.01; H 0 .757 .587; H 0 -.757 .587", basis="6-31g", verbose=0)
    for mol in (water(), moved):
        assert scanner(mol) == pytest.approx(calculation(mol).kernel(), abs=1e-8)


def test_names(monkeypatch, converged):
    """Oracle: PySCF takes any misspelt name for minao; here it raises."""
    with pytest.raises(UnknownNameError, match="minao"):
        kp.initial_guess(calculation(), "deqh-watr")
    for name in ("minao", None):
        with pytest.raises(InvalidInputError, match="registered predictor"):
            kp.initial_guess(calculation(), name)
    with pytest.raises(InvalidInputError, match="mean-field"):
        kp.initial_guess(water(), "deqh-water")
    mf = calculation()
    mf.init_guess = "minoa"
    with kp.enable_initial_guesses(), pytest.raises(UnknownNameError, match="minoa"):
        mf.kernel()
    plain = scf.hf.SCF.get_init_guess
    with kp.enable_initial_guesses():
        for known in ("minao", "sap", "1e"):
            one = calculation()
            one.init_guess = known
            assert one.kernel() == pytest.approx(converged["energy"], abs=1e-8)
        monkeypatch.setattr(
            initial_guesses, "_predictor", lambda name, options=(): Known(converged["fock"])
        )
        mf = calculation()
        mf.init_guess = "known"
        with kp.counted_builds(mf) as builds:
            mf.kernel()
        assert builds.n == 3
        assert mf.guess_outcome.decision == "used"
        bad = Known(converged["fock"], error=0.5)
        monkeypatch.setattr(initial_guesses, "_predictor", lambda name, options=(): bad)
        mf = calculation()
        mf.init_guess = "known"
        with kp.counted_builds(mf) as builds:
            assert mf.kernel() == pytest.approx(converged["energy"], abs=1e-9)
        assert builds.n == converged["builds"] + 1
    assert scf.hf.SCF.get_init_guess is plain


def test_weights_that_were_written_anew(monkeypatch, tmp_path):
    """Oracle: how often a file is loaded."""
    loads = []
    monkeypatch.setattr(
        initial_guesses.registry, "load_factory", lambda kind, name: lambda checkpoint=None: None
    )
    monkeypatch.setattr(
        initial_guesses.registry, "load", lambda kind, name, **options: loads.append(name)
    )
    path = tmp_path / "own.safetensors"
    for content, expected in (("a", 1), (None, 1), ("bc", 2)):
        if content is not None:
            path.write_text(content)
        initial_guesses.load_predictor("of-a-file", checkpoint=str(path))
        assert len(loads) == expected
    initial_guesses.load_predictor("of-a-file")
    initial_guesses.load_predictor("of-a-file")
    assert len(loads) == 3


def test_what_a_predictor_is_told():
    """Oracle: PySCF's own guess from atomic potentials, its integrals, and its names of functionals."""
    mf = calculation(water("def2-svp"))
    request = kp.guess_request(mf)
    _, c = scipy.linalg.eigh(request.start_hamiltonians["sap"], request.overlap)
    mf.init_guess = "sap"
    assert 2.0 * c[:, :5] @ c[:, :5].T == pytest.approx(mf.get_init_guess(key="sap"), abs=1e-10)
    assert request.start_hamiltonians["hcore"] == pytest.approx(mf.get_hcore(), abs=1e-14)
    assert request.numbers.tolist() == [8, 1, 1]
    assert sum(n * (2 * degree + 1) for _, degree, n in request.shells) == mf.mol.nao
    same = kp.guess_request(dft.RKS(water("def2svp"), xc="PBE,PBE")).fingerprint
    assert {k: v for k, v in same.items() if k != "grid"} == {
        k: v for k, v in request.fingerprint.items() if k != "grid"
    }
    other = kp.guess_request(calculation(water("6-31g"))).fingerprint
    assert other["basis O"] != request.fingerprint["basis O"]
    assert kp.guess_request(dft.RKS(water(), xc="b3lyp5")).fingerprint["xc"] != other["xc"]
    ghost = gto.M(atom=GEOMETRY + "; ghost-H 0 0 2", basis="6-31g", verbose=0)
    core = water("def2-svp", ecp={"O": "ccecp"})
    for mf, message in (
        (calculation(water(cart=True)), "Cartesian"),
        (calculation(ghost), "ghost"),
        (calculation(core), "core potentials"),
        (calculation().x2c(), "relativistic"),
    ):
        with pytest.raises(UnsupportedError, match=message):
            kp.guess_request(mf)


def test_records_of_a_calculation():
    """Oracle: Kohn-Sham matrices of the densities of all Hamiltonians that were diagonalized."""
    mf = calculation()
    record = kp.record_scf(mf, forces=True)
    assert record.n_cycles == len(record.iterates) == len(record.images) == mf.cycles
    assert record.n_builds == mf.cycles + 2
    overlap = mf.get_ovlp()
    for h, image in zip(record.iterates, record.images, strict=True):
        _, c = scipy.linalg.eigh(h, overlap)
        dm = 2.0 * c[:, :5] @ c[:, :5].T
        assert mf.get_fock(dm=dm) == pytest.approx(image, abs=1e-8)
    assert mf.get_fock() == pytest.approx(record.hamiltonian, abs=1e-6)
    assert record.forces == pytest.approx(-calculation().run().nuc_grad_method().kernel(), abs=1e-5)
