"""Operator lists and bases of QuSpin become spin models, and never a wrong one."""

from __future__ import annotations

import numpy as np
import pytest
from quspin.basis import spin_basis_1d, spin_basis_general, spinless_fermion_basis_1d
from quspin.operators import hamiltonian, quantum_LinearOperator, quantum_operator

from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_quspin.basis_integers import integers_of, spins_of
from kakehashi_quspin.connected_states import ConnectedStates
from kakehashi_quspin.exact_thermal import exact_thermal, quspin_hamiltonian
from kakehashi_quspin.operator_lists import pauli_sum
from kakehashi_quspin.spin_model import SpinModel
from kakehashi_quspin.sublattice_rotation import is_stoquastic, rotation_to_positive

QUIET = {"check_herm": False, "check_symm": False, "check_pcon": False}
EVERYTHING = [
    ["zz", [[-1.0, 0, 1], [0.5, 1, 0], [0.7, 2, 3]]],
    ["x", [[-0.8, 0], [0.3, 2]]],
    ["y", [[0.2, 1]]],
    ["z", [[0.1, 3]]],
    ["+-", [[0.4 + 0.3j, 0, 2]]],
    ["-+", [[0.4 - 0.3j, 0, 2]]],
    ["xyz", [[0.6, 0, 1, 3]]],
    ["zz", [[0.25, 2, 2]]],
    ["+-", [[0.5, 1, 1]]],
    ["I", [[1.5, 0]]],
]


@pytest.mark.parametrize("pauli", [-1, 0, 1])
@pytest.mark.parametrize("general", [False, True])
def test_models_are_those_of_quspin(pauli, general):
    """Oracle: QuSpin's own matrix; all conventions, duplicates, products on one site."""
    basis = (spin_basis_general if general else spin_basis_1d)(4, pauli=pauli)
    exact = hamiltonian(EVERYTHING, [], basis=basis, dtype=np.complex128, **QUIET).toarray()
    model = SpinModel.from_quspin(EVERYTHING, basis)
    assert model.pauli == pauli
    assert model.matrix() == pytest.approx(exact, abs=1e-13)
    again = SpinModel.from_quspin(EVERYTHING, 4, pauli=pauli)
    assert again.terms == model.terms
    assert quspin_hamiltonian(model).toarray() == pytest.approx(exact, abs=1e-12)


def test_objects_that_still_know_their_lists():
    """Oracle: the model of the list itself."""
    basis = spin_basis_1d(4)
    static = [
        ["zz", [[-1.0, i, (i + 1) % 4] for i in range(4)]],
        ["x", [[-1.0, i] for i in range(4)]],
    ]
    expected = SpinModel.from_quspin(static, basis).terms
    for make in (quantum_LinearOperator, lambda s, **k: hamiltonian(s, [], **k)):
        known = make(static, basis=basis, dtype=np.float64, **QUIET)
        assert SpinModel.from_quspin(known, basis).terms == expected


def test_objects_that_forgot():
    """Oracle: what messages say; a Hamiltonian after arithmetic is never read as zero."""
    basis = spin_basis_1d(4)
    static = [["zz", [[-1.0, 0, 1]]], ["x", [[-1.0, i] for i in range(4)]]]
    h = hamiltonian(static, [], basis=basis, dtype=np.float64, **QUIET)
    for lost in (2 * h, h + h, -h, h.copy(), h.T, h.astype(np.complex128)):
        with pytest.raises(InvalidInputError, match="forgotten"):
            SpinModel.from_quspin(lost, basis)
    linear = quantum_LinearOperator(static, basis=basis, dtype=np.float64, **QUIET)
    with pytest.raises(InvalidInputError, match="None"):
        SpinModel.from_quspin(2 * linear, basis)
    matrices = quantum_operator({"a": static}, basis=basis, dtype=np.float64, **QUIET)
    with pytest.raises(InvalidInputError, match="static list"):
        SpinModel.from_quspin(matrices, basis)
    drive = hamiltonian(
        static, [["x", [[1.0, 0]], lambda t: t, []]], basis=basis, dtype=np.float64, **QUIET
    )
    with pytest.raises(InvalidInputError, match="time"):
        SpinModel.from_quspin(drive, basis)


@pytest.mark.parametrize(
    ("operators", "message"),
    [
        ("zz", "static list"),
        ([["zq", [[1.0, 0, 1]]]], "'zq' is unknown"),
        ([["zz", [[1.0, 0]]]], "does not fit"),
        ([["zz", [[1.0, 0, 4]]]], "beyond 0 ... 3"),
        ([["zz", [["a", 0, 1]]]], "not a number"),
        ([["zz", [[np.nan, 0, 1]]]], "finite"),
        ([["zz", [[1.0, 0, 1.5]]]], "whole numbers"),
        ([["zz"]], "no term"),
        ([["+-", [[1.0, 0, 1]]]], "not Hermitian"),
        ([["x", [[1j, 0]]]], "not Hermitian"),
    ],
)
def test_lists_that_are_no_models(operators, message):
    """Oracle: what messages say."""
    with pytest.raises(InvalidInputError, match=message):
        SpinModel.from_quspin(operators, 4)


def test_bases_that_are_refused():
    """Oracle: what messages say; each is another ensemble or another system."""
    static = [["zz", [[1.0, 0, 1]]]]
    turn = np.array([1, 2, 3, 0])
    for basis in (spin_basis_1d(4, kblock=0), spin_basis_general(4, kb=(turn, 0))):
        with pytest.raises(UnsupportedError, match="symmetry"):
            SpinModel.from_quspin(static, basis)
    with pytest.raises(UnsupportedError, match="1/2"):
        SpinModel.from_quspin(static, spin_basis_1d(4, S="1"))
    with pytest.raises(UnsupportedError, match="joins"):
        SpinModel.from_quspin(static, spin_basis_general(4, Nup=[1, 2]))
    with pytest.raises(UnsupportedError, match="no basis of spins"):
        SpinModel.from_quspin(static, spinless_fermion_basis_1d(4))
    with pytest.raises(InvalidInputError, match="at least 1"):
        SpinModel.from_quspin(static, 0)
    with pytest.raises(InvalidInputError, match="pauli"):
        SpinModel.from_quspin(static, 4, pauli=2)
    with pytest.raises(InvalidInputError, match="Nup"):
        SpinModel.from_quspin([["x", [[1.0, 0]]]], spin_basis_1d(4, Nup=2))


def test_fixed_magnetization():
    """Oracle: QuSpin's matrix in the sector; exchange written three ways."""
    basis = spin_basis_1d(4, Nup=2)
    bonds = [[1.0, i, (i + 1) % 4] for i in range(4)]
    ways = (
        [["xx", bonds], ["yy", bonds], ["zz", bonds]],
        [
            ["+-", [[0.5, *b[1:]] for b in bonds]],
            ["-+", [[0.5, *b[1:]] for b in bonds]],
            ["zz", bonds],
        ],
    )
    for static in ways:
        model = SpinModel.from_quspin(static, basis)
        assert model.n_up == 2
        assert model.conserves_magnetization
        exact = hamiltonian(static, [], basis=basis, dtype=np.float64, **QUIET).toarray()
        found = np.linalg.eigvalsh(quspin_hamiltonian(model).toarray())
        assert found == pytest.approx(np.linalg.eigvalsh(exact), abs=1e-12)


@pytest.mark.parametrize("n_sites", [3, 32, 33, 64, 70])
def test_integers_and_spins(n_sites):
    """Oracle: QuSpin where it goes so far; binary numbers."""
    rng = np.random.default_rng(n_sites)
    spins = rng.choice(np.array([-1, 1], dtype=np.int8), size=(20, n_sites))
    integers = integers_of(spins)
    assert integers.dtype == (
        np.uint32 if n_sites <= 32 else np.uint64 if n_sites <= 64 else object
    )
    assert np.array_equal(spins_of(integers, n_sites), spins)
    assert int(integers[0]) == int("".join("1" if s > 0 else "0" for s in spins[0]), 2)
    if n_sites == 3:
        basis = spin_basis_1d(3)
        assert np.array_equal(integers_of(spins_of(basis.states, 3)), basis.states)
        assert basis.int_to_state(5) == "|1 0 1>"
        assert spins_of([5], 3).tolist() == [[1, -1, 1]]
    with pytest.raises(InvalidInputError, match="not a state"):
        spins_of([1 << n_sites], n_sites)


def test_bad_spins_and_integers():
    """Oracle: what messages say."""
    with pytest.raises(InvalidInputError, match=r"\+1 and -1"):
        integers_of([[0, 1]])
    with pytest.raises(InvalidInputError, match="integers are needed"):
        spins_of([0.5], 3)


def test_connected_states_are_the_matrix():
    """Oracle: the dense matrix; local values of a vector, and QuSpin's Op_bra_ket."""
    model = SpinModel.from_quspin(EVERYTHING, 4)
    matrix = model.matrix() - model.constant * np.eye(16)
    states = spins_of(np.arange(15, -1, -1), 4)  # QuSpin's order
    connected = ConnectedStates(model.terms, 4)
    elements = connected.elements(states)
    dense = np.zeros((16, 16), dtype=complex)
    for k in range(len(connected.flips)):
        columns = 15 - integers_of(connected.flipped(states, k)).astype(int)
        dense[np.arange(16), columns] += elements[:, k]
    assert dense == pytest.approx(matrix, abs=1e-13)
    rng = np.random.default_rng(0)
    vector = rng.normal(size=16) + 1j * rng.normal(size=16)

    def log_amplitude(spins):
        return np.log(vector[15 - integers_of(spins).astype(int)])

    local = connected.local_values(states, log_amplitude)
    assert local == pytest.approx(matrix @ vector / vector, abs=1e-11)
    general = spin_basis_general(4, make_basis=False)
    terms = pauli_sum([["+-", [[0.7, 0, 2]]]], 4, pauli=1)
    asked = integers_of(states)
    found, bra, ket = general.Op_bra_ket(
        "+-", [0, 2], 0.7, np.complex128, asked, reduce_output=False
    )
    own = ConnectedStates(terms, 4)
    one = np.zeros((16, 16), dtype=complex)
    values = own.elements(states)
    for k in range(len(own.flips)):
        one[np.arange(16), 15 - integers_of(own.flipped(states, k)).astype(int)] += values[:, k]
    for value, b, c in zip(found, bra, ket, strict=True):
        assert one[15 - int(b), 15 - int(c)] == pytest.approx(value)
    assert np.abs(one).sum() == pytest.approx(np.abs(found).sum())


def test_signs_and_the_rotation_that_removes_them():
    """Oracle: off-diagonal elements of the matrix in the rotated frame."""
    ring = [[1.0, i, (i + 1) % 4] for i in range(4)]
    triangle = [[1.0, i, (i + 1) % 3] for i in range(3)]
    cases = (
        ([["zz", ring], ["x", [[-1.0, 0], [0.5, 1]]]], 4, True),
        ([["xx", ring], ["yy", ring], ["zz", ring]], 4, True),
        ([["xx", triangle], ["yy", triangle], ["zz", triangle]], 3, False),
        ([["xx", ring], ["yy", ring], ["x", [[-1.0, 0]]]], 4, True),
        ([["xx", [[-1.0, 0, 1]]], ["yy", [[0.3, 0, 1]]]], 2, True),
        ([["xx", [[0.3, 0, 1]]], ["yy", [[1.0, 0, 1]]]], 2, False),
        ([["y", [[1.0, 0]]]], 2, False),
        ([["xz", [[1.0, 0, 1]]]], 2, False),
    )
    for static, n, possible in cases:
        model = SpinModel.from_quspin(static, n)
        rotation = rotation_to_positive(model)
        assert (rotation is not None) is possible, static
        if rotation is None:
            continue
        turned = rotation.apply(model.terms)
        assert is_stoquastic(turned)
        assert rotation.apply(turned) == pytest.approx(dict(model.terms))
        matrix = SpinModel(n_sites=n, terms=turned).matrix()
        off = matrix - np.diag(np.diag(matrix))
        assert off.real.max() < 1e-12
        assert np.abs(off.imag).max() < 1e-12
        spectra = [np.linalg.eigvalsh(m) for m in (matrix, model.matrix())]
        assert spectra[0] == pytest.approx(spectra[1] - model.constant, abs=1e-12)


def test_exact_thermal_states():
    """Oracle: closed form of free spins, sums over the spectrum, Lanczos against full diagonalization."""
    field = exact_thermal([["x", [[-0.7, i] for i in range(3)]]], 3, beta=1.3)
    assert field.log_partition.mean == pytest.approx(3 * np.log(2 * np.cosh(0.91)))
    assert field.energy.mean == pytest.approx(-3 * 0.7 * np.tanh(0.91))
    assert field.specific_heat.mean == pytest.approx(3 * (0.91 / np.cosh(0.91)) ** 2)
    assert field.entropy == pytest.approx(field.log_partition.mean + 1.3 * field.energy.mean)
    n = 10
    static = [
        ["zz", [[-1.0, i, (i + 1) % n] for i in range(n)]],
        ["x", [[-1.0, i] for i in range(n)]],
    ]
    exact = exact_thermal(static, spin_basis_1d(n), beta=1.0)
    random = exact_thermal(static, n, beta=1.0, method="lanczos", seed=1)
    assert (exact.method, random.method) == ("full", "lanczos")
    for name in ("log_partition", "energy", "specific_heat"):
        one, two = getattr(exact, name), getattr(random, name)
        assert abs(two.z_score(one.mean)) < 4
        assert 0.0 < two.stderr < 0.1 * abs(one.mean)
    hot = exact_thermal(static, n, beta=0.0)
    assert hot.log_partition.mean == pytest.approx(n * np.log(2))
    with pytest.raises(InvalidInputError, match="beta"):
        exact_thermal(static, n, beta=-1.0)
    with pytest.raises(UnsupportedError, match="too many"):
        exact_thermal([["z", [[1.0, 0]]]], 40, beta=1.0)


def test_objects_that_are_not_what_their_list_says():
    """Oracle: what messages say; arithmetic in place, and bases that differ from that of the object."""
    static = [["zz", [[-1.0, 0, 1], [-1.0, 1, 2]]], ["x", [[-1.0, i] for i in range(3)]]]
    basis = spin_basis_1d(3)

    def made(where=basis, what=static):
        return hamiltonian(what, [], basis=where, dtype=np.float64, **QUIET)

    h = made()
    assert SpinModel.from_quspin(h, 3).terms == SpinModel.from_quspin(static, basis).terms
    h *= 2
    with pytest.raises(InvalidInputError, match="not that of its operator list"):
        SpinModel.from_quspin(h, basis)
    halves = spin_basis_1d(3, pauli=0)
    assert SpinModel.from_quspin(made(halves), 3).pauli == 0
    with pytest.raises(InvalidInputError, match="convention"):
        SpinModel.from_quspin(made(halves), basis)
    with pytest.raises(InvalidInputError, match="3 sites, not 4"):
        SpinModel.from_quspin(made(), 4)
    exchange = [["+-", [[1.0, 0, 1]]], ["-+", [[1.0, 0, 1]]]]
    fixed = spin_basis_1d(3, Nup=1)
    assert SpinModel.from_quspin(made(fixed, exchange), 3).n_up == 1
    with pytest.raises(InvalidInputError, match="spins up"):
        SpinModel.from_quspin(made(fixed, exchange), basis)
    with pytest.raises(UnsupportedError, match="kblock"):
        SpinModel.from_quspin(
            made(spin_basis_1d(3, kblock=0), [["xx", [[1.0, i, (i + 1) % 3] for i in range(3)]]]), 3
        )
    with pytest.raises(InvalidInputError, match="not a number"):
        SpinModel.from_quspin([["zz", [["-1", 0, 1]]]], 3)
