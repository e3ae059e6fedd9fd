"""SOAP on blocks: which matrices there are, that bases do not matter, and resuming."""

from __future__ import annotations

import copy

import pytest
import torch

from kakehashi_deqh.hamiltonian_network import HamiltonianNetwork
from kakehashi_deqh.training.eigenbasis_optimizer import EVERY, Soap, blocks_of

N_STEPS = 3 * EVERY + 1


def problem(generator, rows=4, columns=4):
    """Return an ill-conditioned quadratic function of a matrix, with other data at every step."""
    left = torch.randn(rows, rows, generator=generator)
    right = torch.randn(columns, columns, generator=generator)
    scales = torch.logspace(0.0, -0.7, rows)
    data = torch.randn(N_STEPS, rows, columns, generator=generator)
    return lambda w, k: (scales[:, None] * (left @ (w - data[k]) @ right)).square().sum()


def trained(loss, start, n=N_STEPS):
    module = torch.nn.Module()
    module.weight = torch.nn.Parameter(start.clone())
    optimizer = Soap(module, lr=0.02)
    for k in range(n):
        optimizer.zero_grad()
        loss(module.weight, k).backward()
        optimizer.step()
    return module.weight.detach()


@pytest.fixture
def generator():
    torch.set_default_dtype(torch.float64)
    yield torch.Generator().manual_seed(3)
    torch.set_default_dtype(torch.float32)


def test_bases_do_not_matter(generator):
    """Oracle: the same problem in turned coordinates has the turned solution."""
    loss = problem(generator)
    start = torch.randn(4, 4, generator=generator)
    q, _ = torch.linalg.qr(torch.randn(4, 4, generator=generator))
    p, _ = torch.linalg.qr(torch.randn(4, 4, generator=generator))
    found = trained(loss, start)
    turned = trained(lambda w, k: loss(q.T @ w @ p.T, k), q @ start @ p)
    assert (found - start).abs().max() > 0.1
    assert torch.allclose(q.T @ turned @ p.T, found, atol=1e-8)


def test_vectors_are_left_to_adam(generator):
    """Oracle: torch's Adam, one step behind."""
    scales = torch.logspace(0, -2, 5)
    start = torch.randn(5, generator=generator)

    def loss(x, k):
        return (scales * (x - k / 10.0).square()).sum()

    found = trained(loss, start, 8)
    x = torch.nn.Parameter(start.clone())
    adam = torch.optim.Adam([x], lr=0.02, betas=(0.95, 0.95), eps=1e-8)
    for k in range(1, 8):
        adam.zero_grad()
        loss(x, k).backward()
        adam.step()
    assert torch.allclose(found, x.detach(), atol=1e-10)


def test_every_number_is_in_one_block():
    """Oracle: numbers of parameters."""
    network = HamiltonianNetwork({1: (2, 1), 8: (3, 2, 1)}, n_channels=4, n_layers=1)
    seen = {id(p): torch.zeros_like(p) for p in network.parameters()}
    blocks = blocks_of(network)
    for block in blocks:
        block.of(seen[id(block.parameter)]).add_(1.0)
    assert all(bool((count == 1.0).all()) for count in seen.values())
    embedding = next(iter(network.embeddings.linears.values()))
    shapes = [b.shape for b in blocks if b.parameter is embedding.weight]
    assert len(shapes) > 1
    assert all(columns == 4 for _, columns in shapes)


def test_resuming(generator):
    """Oracle: the same steps without an interruption; parameters without a gradient stay as they are."""
    loss = problem(generator)
    module = torch.nn.Module()
    module.weight = torch.nn.Parameter(torch.randn(4, 4, generator=generator))
    module.other = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = Soap(module, lr=0.02)

    def steps(module, optimizer, first, last):
        for k in range(first, last):
            optimizer.zero_grad()
            loss(module.weight, k).backward()
            optimizer.step()

    steps(module, optimizer, 0, EVERY - 2)
    again = copy.deepcopy(module)
    resumed = Soap(again, lr=0.02)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(module, optimizer, EVERY - 2, EVERY + 3)
    steps(again, resumed, EVERY - 2, EVERY + 3)
    assert torch.equal(again.weight, module.weight)
    assert torch.equal(module.other, torch.ones(2, 2))
