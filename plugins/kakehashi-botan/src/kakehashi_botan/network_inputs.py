"""From arrays of a structure to the tensors that the network reads."""

from __future__ import annotations

import numpy as np
import torch

from kakehashi_botan.invariant_form import NetworkInput
from kakehashi_botan.structure_features import StructureReading


def network_input(
    reading: StructureReading, *, temperature: float = 0.0, dtype: torch.dtype = torch.float32
) -> NetworkInput:
    """Return one configuration as tensors on the CPU.

    Args:
        reading: What the network may read.
        temperature: Given temperature, epsilon_AA / k_B; read by conditioned networks only.
        dtype: Of everything but indices.
    """

    def numbers(values: object) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values), dtype=dtype)

    def indices(values: object) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values), dtype=torch.int64)

    return NetworkInput(
        descriptors=numbers(reading.descriptors),
        types=indices(reading.types),
        edge_index=indices(reading.edge_index),
        lengths=numbers(reading.lengths),
        pair_index=indices(reading.pair_index),
        pair_lengths=numbers(reading.pair_lengths),
        configuration=numbers(reading.configuration)[None],
        membership=torch.zeros(len(reading.types), dtype=torch.int64),
        temperature=numbers([temperature]),
    )
