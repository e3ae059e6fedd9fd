"""The network on matrices that PySCF computes: symmetries, batches, far molecules, derivatives, files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from e3nn import o3

from kakehashi_core.contracts import GuessRequest
from kakehashi_core.errors import (
    CheckpointError,
    NonFiniteError,
    UnknownNameError,
    UnsupportedError,
)
from kakehashi_deqh import coupling_kernel
from kakehashi_deqh.block_batches import BlockBatch, IrrepsOf, Molecule, StateRows
from kakehashi_deqh.equivariant_layers import FEW_COLUMNS, KINDS, Couplings, harmonics
from kakehashi_deqh.hamiltonian_model import HamiltonianModel, ModelSettings
from kakehashi_deqh.hamiltonian_network import CUTOFF, HamiltonianNetwork, envelope_of
from kakehashi_deqh.orbital_layout import AXES, OrbitalLayout
from kakehashi_deqh.orbitals import orbitals_of
from kakehashi_deqh.predictor import HamiltonianPredictor
from kakehashi_deqh.tensor_products import tensor_product
from kakehashi_deqh.training.losses import EigenFrame, LossWeights, hamiltonian_loss
from kakehashi_deqh.training_domain import TrainingDomain, formula

gto = pytest.importorskip("pyscf.gto", reason="the oracle is PySCF")

NUMBERS = [8, 1, 6, 1]
POSITIONS = np.random.default_rng(0).normal(size=(4, 3)) * 2.0


def request(numbers, positions, basis="def2-svp", **options):
    mol = gto.M(
        atom=[(z, tuple(x)) for z, x in zip(numbers, positions, strict=True)],
        basis=basis,
        unit="bohr",
        spin=None,
        verbose=0,
    )
    shells = [(mol.bas_atom(b), mol.bas_angular(b), mol.bas_nctr(b)) for b in range(mol.nbas)]
    core = mol.intor("int1e_kin") + mol.intor("int1e_nuc")
    return GuessRequest(
        numbers=np.array(numbers),
        positions=np.asarray(positions, dtype=float),
        charge=options.get("charge", 0),
        spin=0,
        shells=shells,
        overlap=mol.intor("int1e_ovlp"),
        # Half of the attraction, or what the network sees of far atoms grows like one over the distance.
        start_hamiltonians={
            "sap": mol.intor("int1e_kin") - 5.0 * mol.intor("int1e_ovlp"),
            "hcore": core,
        },
        fingerprint={
            "xc": "pbe",
            "grid": "level 3",
            "basis O": "a",
            "basis H": "b",
            "basis C": "c",
        },
    )


def molecule(numbers, positions, basis="def2-svp", start="sap"):
    r = request(numbers, positions, basis)
    layout = OrbitalLayout.of(r.shells, len(numbers))
    h = r.start_hamiltonians[start]
    matrices = {"overlap": r.overlap, "start": h, "final": 0.9 * h}
    return Molecule(
        numbers=r.numbers,
        positions=r.positions,
        layout=layout,
        matrices={k: layout.taken(v) for k, v in matrices.items()},
    )


def network(example, **options):
    torch.manual_seed(0)
    counts = dict(zip(example.numbers.tolist(), example.layout.counts, strict=True))
    found = HamiltonianNetwork(counts, n_channels=4, n_layers=1, **options).double()
    batch = BlockBatch.join([example])
    for name, scales in found.inputs.items():
        scales.fit([batch.matrices[name]])
    found.output_scales.fit([found.unscaled(batch, "final")])
    return found


def twice(net, batch):
    """Return changes of the Hamiltonian after two steps with feedback, one matrix for each molecule."""
    with torch.no_grad():
        prepared = net.prepare(batch)
        state = net.first(prepared, batch)
        for _ in range(2):
            state = net.step(prepared, batch, state)
        return [
            m.numpy()
            for m in batch.matrices_of(batch.packed(net.changes(batch, state), net.irreps))
        ]


def turn_of_orbitals(layout, turn):
    """Return what orbitals of a layout do when the molecule turns, from spherical harmonics."""
    points = torch.randn(60, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    proper = turn * torch.sign(torch.linalg.det(turn))
    blocks = []
    for counts in layout.counts:
        for degree, n in enumerate(counts):
            here, there = (
                o3.spherical_harmonics(degree, x, normalize=True)
                for x in (points, points @ proper.T)
            )
            d = torch.linalg.lstsq(here, there).solution.T
            blocks += [d * torch.sign(torch.linalg.det(turn)) ** degree] * n
    return torch.block_diag(*blocks).numpy()


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("basis", ["def2-svp", "def2-tzvp"])
def test_hamiltonians_turn_with_the_molecule(basis, mirror):
    """Oracle: the representation of the turn on s to f orbitals; 1e-10."""
    r = torch.linalg.qr(
        torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    )[0]
    r = r * torch.sign(torch.linalg.det(r)) * (-1 if mirror else 1)
    before = molecule(NUMBERS, POSITIONS, basis, "hcore")
    after = molecule(NUMBERS, POSITIONS @ r.numpy().T, basis, "hcore")
    net = network(before)
    axes = torch.eye(3, dtype=torch.float64)[list(AXES)]
    d = turn_of_orbitals(before.layout, axes @ r @ axes.T)
    (x,), (y,) = (twice(net, BlockBatch.join([m])) for m in (before, after))
    assert np.abs(x).max() > 0.01
    assert np.abs(x - x.T).max() < 1e-12
    assert np.abs(d @ x @ d.T - y).max() < 1e-10


def test_order_of_atoms_shifts_and_neighbors_in_a_batch():
    """Oracle: the molecule as it was, alone."""
    first = molecule(NUMBERS, POSITIONS)
    net = network(first)
    (alone,) = twice(net, BlockBatch.join([first]))
    order = [3, 1, 0, 2]
    other = molecule([NUMBERS[k] for k in order], POSITIONS[order] + 7.0)
    small = molecule([8, 1], POSITIONS[:2])
    (one,) = twice(net, BlockBatch.join([small]))
    a, b, c = twice(net, BlockBatch.join([other, small, first]))
    assert np.abs(c - alone).max() < 1e-12
    assert np.abs(b - one).max() < 1e-12
    edges = first.layout.first
    moved = np.concatenate([np.arange(edges[k], edges[k + 1]) for k in order])
    assert np.abs(a - alone[np.ix_(moved, moved)]).max() < 1e-10


def test_molecules_far_from_each_other_do_not_interact():
    """Oracle: each of them alone."""
    first, second = molecule(NUMBERS, POSITIONS), molecule([1, 8], POSITIONS[:2])
    net = network(first)
    together = molecule([*NUMBERS, 1, 8], np.concatenate([POSITIONS, POSITIONS[:2] + 94.5]))
    (x,) = twice(net, BlockBatch.join([together]))
    a, b = twice(net, BlockBatch.join([first, second]))
    n = first.layout.n_orbitals
    assert np.abs(x[:n, n:]).max() == 0.0
    assert np.abs(x[:n, :n] - a).max() < 1e-10
    assert np.abs(x[n:, n:] - b).max() < 1e-10


def test_the_envelope_ends_smoothly():
    """Oracle: its values at both ends, and differences beyond."""
    r = torch.tensor([0.0, 1.0, CUTOFF - 1e-3, CUTOFF, 2.0 * CUTOFF], dtype=torch.float64)
    found = envelope_of(r)
    assert found[0] == 1.0
    assert 0.99 < float(found[1]) < 1.0
    assert found[2:].abs().max() < 1e-12


def test_products_by_cuequivariance():
    """Oracle: the standard product, with derivatives; the same predictions."""
    pytest.importorskip("cuequivariance_torch", reason="an extra")
    generator = torch.Generator().manual_seed(5)
    left, right = torch.randn(2, KINDS.dim, 3, 2, dtype=torch.float64, generator=generator)
    left.requires_grad_()
    found = []
    for backend in ("standard", "cuequivariance"):
        value = tensor_product(backend)(left, right)
        found.append((value, *torch.autograd.grad(value.square().sum(), left)))
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-10)
    example = molecule([8, 1], POSITIONS[:2])
    net = network(example)
    (standard,) = twice(net, BlockBatch.join([example]))
    net.use_tensor_products("cuequivariance")
    (other,) = twice(net, BlockBatch.join([example]))
    assert np.abs(standard).max() > 1e-3
    assert np.abs(other - standard).max() < 1e-10


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_products_of_many(dtype, monkeypatch):
    """Oracle: the sum over coefficients written down, with its derivatives; in one thread and in three."""
    monkeypatch.setattr(coupling_kernel, "FEWEST", 50)
    generator = torch.Generator().manual_seed(6)
    shape = 2, KINDS.dim, FEW_COLUMNS // 2 + 5, 2
    factors = torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()
    numbers = Couplings.standard(torch.float64, torch.device("cpu")).numbers
    expected = torch.einsum("kij,inc,jnc->knc", numbers, *factors)
    (derivative,) = torch.autograd.grad(expected.pow(3).sum(), factors)
    product = tensor_product()(*factors.to(dtype))
    (found,) = torch.autograd.grad(product.pow(3).sum(), factors)
    precision = 30.0 * torch.finfo(dtype).eps
    assert (product - expected).abs().max() < precision * expected.abs().max()
    assert (found - derivative).abs().max() < precision * derivative.abs().max()

    kernel = coupling_kernel.NonzeroCouplings.of(numbers.numpy())
    left, right = (x.detach().flatten(1).numpy() for x in factors)
    assert np.array_equal(kernel.product(left, right), kernel.product(left, right, 3))


def test_products_by_nobody():
    """Oracle: what the error says."""
    with pytest.raises(UnknownNameError, match="cuequivariance, standard"):
        tensor_product("einsum")


def test_products_turn_with_their_factors():
    """Oracle: harmonics of turned vectors, finite differences of first and second derivatives."""
    generator = torch.Generator().manual_seed(3)
    a, b = torch.randn(2, 5, 3, dtype=torch.float64, generator=generator)
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=generator))[0]
    turn = turn * torch.sign(torch.linalg.det(turn))
    product = tensor_product()

    def of(x, y):
        return product(harmonics(x)[:, :, None], harmonics(y)[:, :, None])[..., 0]

    points = torch.randn(80, 3, dtype=torch.float64, generator=generator)
    d = []
    for _, ir in KINDS:
        here, there = (
            o3.spherical_harmonics(ir.l, x, normalize=True) for x in (points, points @ turn.T)
        )
        d.append(torch.linalg.lstsq(here, there).solution.T)
    expected = torch.block_diag(*d) @ of(a, b)
    assert torch.allclose(of(a @ turn.T, b @ turn.T), expected, atol=1e-10)
    assert of(a, b)[25:].abs().max() > 0.1  # vectors make pseudo-vectors
    left, right = torch.randn(2, KINDS.dim, 2, 1, dtype=torch.float64, generator=generator)
    inputs = (left.requires_grad_(), right.requires_grad_())
    assert torch.autograd.gradcheck(product, inputs)
    weights = torch.randn(KINDS.dim, dtype=torch.float64, generator=generator)
    (slope,) = torch.autograd.grad(
        (product(left, right)[:, 0, 0] * weights).sum(), left, create_graph=True
    )
    (second,) = torch.autograd.grad(slope.square().sum(), right)
    step = 1e-5 * torch.randn(right.shape, dtype=torch.float64, generator=generator)

    def squared(y):
        out = (product(left, y)[:, 0, 0] * weights).sum()
        return torch.autograd.grad(out, left)[0].square().sum()

    assert float(squared(right + step) - squared(right - step)) == pytest.approx(
        float(2.0 * (second * step).sum()), rel=1e-5
    )


def test_blocks_and_rows_come_back():
    """Oracle: themselves, in batches of different molecules."""
    molecules = [molecule(NUMBERS, POSITIONS), molecule([1, 8], POSITIONS[:2])]
    batch = BlockBatch.join(molecules)
    irreps = IrrepsOf(dict(zip(NUMBERS, molecules[0].layout.counts, strict=True)))
    packed = batch.packed(batch.matrices["overlap"], irreps)
    for found, m in zip(batch.matrices_of(packed), molecules, strict=True):
        assert found.numpy() == pytest.approx(m.matrices["overlap"], abs=1e-13)
    blocks = batch.matrices["final"]
    rows = StateRows(batch, {t: blocks[t].shape[1] for t in batch.types})
    joined = rows.joined(blocks)
    assert joined.shape == (2, molecules[0].layout.n_orbitals ** 2)
    assert (joined[1] == 0).sum() >= joined.shape[1] - molecules[1].layout.n_orbitals ** 2
    for t, found in rows.split(joined).items():
        assert torch.equal(found, blocks[t])


def trained(example):
    torch.manual_seed(1)
    counts = dict(zip(example.numbers.tolist(), example.layout.counts, strict=True))
    model = HamiltonianModel(ModelSettings(n_channels=4, n_layers=1), counts)
    model.network.load_state_dict(network(example).state_dict(), strict=False)
    return model


def test_a_fixed_point_is_one(tmp_path):
    """Oracle: one more step of the network; the same model from its file; plain networks have none."""
    example = molecule(NUMBERS, POSITIONS)
    model = trained(example)
    (found,) = model.predict([example])
    assert found.converged
    assert found.evaluations > 1
    assert found.residuals[-1] < 1e-7
    assert found.atom_residuals.max() < 1e-6
    model.save(tmp_path / "model.safetensors")
    again = HamiltonianModel.load(tmp_path / "model.safetensors")
    assert again.settings == model.settings
    (same,) = again.predict([example])
    assert same.hamiltonian == pytest.approx(found.hamiltonian, abs=1e-5)  # weights are float32
    batch = BlockBatch.join([example])
    state, _ = model.solve(batch)
    after = model.network.step(model.network.prepare(batch), batch, state)
    assert max(float((after[t] - state[t]).detach().abs().max()) for t in batch.types) < 1e-5
    plain = HamiltonianModel(replace(model.settings, feedback=False), model.counts)
    (once,) = plain.predict([example])
    assert once.converged
    assert once.evaluations == 1
    other = tmp_path / "other.safetensors"
    model.card = replace(model.card, name="other")
    model.save(other)
    text = other.with_suffix(".json").read_text().replace("block-deq", "block-deg")
    other.with_suffix(".json").write_text(text)
    with pytest.raises(CheckpointError):
        HamiltonianModel.load(other)


def test_gradients_at_the_fixed_point():
    """Oracle: automatic differentiation of forty steps; 1e-5."""
    example = molecule([8, 1], POSITIONS[:2])
    model = trained(molecule(NUMBERS, POSITIONS))
    net = model.network.double()
    batch = BlockBatch.join([example])
    results = []
    for unrolled in (True, False):
        net.zero_grad()
        if unrolled:
            prepared = net.prepare(batch)
            state = net.first(prepared, batch)
            for _ in range(40):
                state = net.step(prepared, batch, state)
        else:
            state, _ = model.solve(batch)
        sum((v**2).sum() for v in state.values()).backward()
        results.append({k: p.grad.clone() for k, p in net.named_parameters() if p.grad is not None})
    assert results[0].keys() == results[1].keys()
    for k, exact in results[0].items():
        assert float((results[1][k] - exact).abs().max()) < 1e-5 * float(
            exact.abs().max().clamp(min=1e-3)
        )


def test_losses():
    """Oracle: first-order perturbation theory by a diagonalization, and the mean of the elements."""
    example = molecule([8, 1, 1], POSITIONS[:3])
    frame = EigenFrame.of(example, "start", torch.float64)
    rng = np.random.default_rng(0)
    error = rng.normal(size=(example.layout.n_orbitals,) * 2) * 1e-7
    error = torch.as_tensor(error + error.T)
    packed, matrices = error.reshape(-1), [error]
    only = LossWeights(absolute=1.0, squared=0.0, orbitals=0.0, energy=0.0)
    assert float(hamiltonian_loss(packed, matrices, [frame], only)) == pytest.approx(
        1e3 * float(error.abs().mean())
    )
    h, s = (torch.as_tensor(example.matrices[k]) for k in ("start", "overlap"))
    moved = orbitals_of((h + error).numpy(), s.numpy(), 10).energies - frame.energies.numpy()
    weights = np.where(np.arange(len(moved)) <= 5, 2.0, 1.0)
    only = LossWeights(absolute=0.0, squared=0.0, orbitals=1.0, energy=0.0)
    assert float(hamiltonian_loss(packed, matrices, [frame], only)) == pytest.approx(
        1e3 * float(np.mean(weights * np.abs(moved))), rel=1e-3
    )


def test_what_is_outside_the_domain():
    """Oracle: what messages say."""
    inside = request([8, 1, 1], [[0, 0, 0], [0, 1.43, 1.1], [0, -1.43, 1.1]])
    domain = TrainingDomain.of([inside], [0.3], same_compositions=True)
    assert domain.outside(inside) == ()
    assert domain.reference_error(inside.numbers) == 0.3
    assert TrainingDomain.from_json(domain.to_json()) == domain
    cases = {
        "charge 1": replace(inside, charge=1),
        "elements N": replace(inside, numbers=np.array([7, 1, 1])),
        "another functional": replace(inside, fingerprint={**inside.fingerprint, "xc": "b3lyp"}),
        "another unit": replace(inside, positions=inside.positions * 0.1),
        "H-O is": replace(inside, positions=inside.positions * 1.1),
        "HO was not": request([8, 1], inside.positions[:2]),
        "H-O is 3.00 Å": replace(
            inside, positions=inside.positions * np.array([[1], [1], [3.1423]])
        ),
        "H-O is 95.": replace(inside, positions=inside.positions * 100.0),
    }
    for message, case in cases.items():
        assert any(message in remark for remark in domain.outside(case)), message
    assert formula([6, 6, 8, *[1] * 6]) == "C2H6O"


def test_what_is_outside_the_domain_of_many_molecules():
    """Oracle: what messages say: longer molecules are inside, parts that fell off are not."""
    chain = np.array([[0.0, 0, 0], [1.2, 2.4, 0], [3.9, 2.4, 0]])
    domain = TrainingDomain.of(
        [request([8, 1, 1], chain), request([8, 8], chain[:2])], [0.3, 0.4], same_compositions=False
    )
    assert TrainingDomain.from_json(domain.to_json()) == domain
    longer = request([8, 8, 1, 1], np.vstack([chain[1] - [2.7, 0, 0], chain]))
    assert not [r for r in domain.outside(longer) if "parts" in r]
    fallen = request([8, 1, 1], chain * np.array([[1], [1], [3]]))
    assert any("2 parts are more than 2.4 Å apart" in r for r in domain.outside(fallen))


def test_predictions_for_a_host(monkeypatch):
    """Oracle: orbitals of the predicted matrix; refusals name the reason."""
    positions = np.array([[0.0, 0, 0], [0, 1.43, 1.1], [0, -1.43, 1.1]])
    example = molecule([8, 1, 1], positions)
    model = trained(molecule(NUMBERS, POSITIONS))
    told = request([8, 1, 1], positions)
    model.domain = TrainingDomain.of([told], [0.3], same_compositions=True)
    predictor = HamiltonianPredictor(model)
    found = predictor(told)
    (own,) = model.predict([example])
    assert found.hamiltonian == pytest.approx(example.layout.given_back(own.hamiltonian), abs=1e-10)
    d, s = found.density_matrix, told.overlap
    assert np.trace(d @ s) == pytest.approx(10.0)
    assert np.abs(d @ s @ d - 2.0 * d).max() < 1e-9
    assert found.rejection_threshold == 0.3
    assert found.report.converged
    assert found.report.warnings == ()
    assert len(found.report.atom_residuals) == 3
    stretched = predictor(replace(told, positions=positions * 1.2))
    assert "H-O" in stretched.report.warnings[0]
    with monkeypatch.context() as patch, pytest.raises(UnsupportedError, match="H-O"):
        patch.setattr(model, "predict", None)
        predictor(replace(told, positions=positions * 1.2, inside_only=True))
    with pytest.raises(UnsupportedError, match="charge 1"):
        predictor(replace(told, charge=1))
    with pytest.raises(UnsupportedError, match="hcore"):
        predictor(replace(told, start_hamiltonians={"hcore": told.overlap}))
    with pytest.raises(NonFiniteError):
        orbitals_of(np.full((3, 3), np.nan), np.eye(3), 2)
