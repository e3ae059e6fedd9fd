"""Which pair of atoms a predicted Hamiltonian comes from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_deqh.block_batches import BlockBatch, Molecule
from kakehashi_deqh.hamiltonian_model import HamiltonianModel

FloatArray = npt.NDArray[np.float64]

BATCH = 16


def pair_contributions(model: HamiltonianModel, molecule: Molecule) -> dict[str, FloatArray]:
    """Return how much pairs of atoms contribute, root mean squares of matrix elements, hartree.

    Args:
        model: What predicts.
        molecule: With the matrices "overlap" and "start".

    Returns:
        Name to (n_atoms, n_atoms): "change", of the block of each pair between start and prediction;
        "feedback", the part of that which comes from the present Hamiltonian; "overlap" and "start", how much
        the whole prediction changes when what the network reads of that pair is what it is on average.
    """
    network = model.network.double().eval()
    (found,) = model.predict([molecule])
    change = found.hamiltonian - molecule.matrices["start"]
    batch = BlockBatch.join([molecule])
    with torch.no_grad():
        first = network.first(network.prepare(batch), batch)
        packed = batch.packed(network.changes(batch, first), network.irreps)
    alone = batch.matrices_of(packed)[0].numpy()
    result = {
        "change": _by_pair(molecule, change),
        "feedback": _by_pair(molecule, change - alone),
    }
    n = len(molecule.numbers)
    pairs = [(i, j) for i in range(n) for j in range(i, n)]
    for name in ("overlap", "start"):
        table = np.zeros((n, n))
        for at in range(0, len(pairs), BATCH):
            chosen = pairs[at : at + BATCH]
            predictions = model.predict([_averaged(model, molecule, name, p) for p in chosen])
            for (i, j), one in zip(chosen, predictions, strict=True):
                # The start Hamiltonian itself is part of the prediction; what the network adds is compared.
                start = _averaged(model, molecule, name, (i, j)).matrices["start"]
                other = one.hamiltonian - start
                table[i, j] = table[j, i] = float(np.sqrt(((other - change) ** 2).mean()))
        result[name] = table
    return result


def _by_pair(molecule: Molecule, matrix: FloatArray) -> FloatArray:
    n = len(molecule.numbers)
    blocks = [
        [np.sqrt((molecule.layout.block(matrix, i, j) ** 2).mean()) for j in range(n)]
        for i in range(n)
    ]
    return np.array(blocks, dtype=np.float64)


def _averaged(
    model: HamiltonianModel, molecule: Molecule, name: str, pair: tuple[int, int]
) -> Molecule:
    """Return the molecule with blocks of one pair of a matrix as they are on average in training."""
    network = model.network
    scales = network.inputs[name]
    matrix = molecule.matrices[name].copy()
    edges = molecule.layout.first
    i, j = pair
    for a, b in {(i, j), (j, i)}:
        kind = (int(molecule.numbers[a]), int(molecule.numbers[b]), a == b)
        mean = scales.mean(kind).double()  # type: ignore[operator]
        block = network.irreps(kind).given_back(mean).cpu().numpy()
        matrix[edges[a] : edges[a + 1], edges[b] : edges[b + 1]] = block
    return replace(molecule, matrices={**molecule.matrices, name: matrix})
