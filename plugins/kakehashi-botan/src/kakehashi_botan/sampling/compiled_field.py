"""A transport field as tables, for sampling on a CPU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_botan.sampling.field_kernels import write_field
from kakehashi_botan.sampling.radial_functions import softened_powers
from kakehashi_botan.sampling.transport_field import TransportField

FloatArray = npt.NDArray[np.float64]

N_CELLS = 512


class CompiledField:
    """The same as a ``TransportField``, evaluated by compiled loops.

    Args:
        field: Whose weights are taken; later changes of them are not seen.
        n_cells: Cells of the mesh of distances. With 512 velocities differ from those of the field by 1e-9 of
            their size, and belong to their own divergence to rounding.
    """

    def __init__(self, field: TransportField, *, n_cells: int = N_CELLS) -> None:
        self.liquid, self._field = field.liquid, field
        self._types, self._edge = self.liquid.types, self.liquid.edge
        self._step = field.radial.reach / n_cells
        nodes = torch.arange(n_cells + 1, dtype=torch.float64) * self._step
        with torch.no_grad():
            _, f1, f2 = (part.numpy() for part in field.radial(nodes))
        third = _third_derivatives(field, nodes).numpy()
        # psi' is what the pairs need, so one derivative more.
        self._slopes = _quintic(f1, f2, third, self._step)
        sigma = torch.as_tensor(np.array(self.liquid.mixture.sigma))
        shape = (*sigma.shape, len(nodes))
        with torch.no_grad():
            q, q1, q2 = softened_powers(
                nodes.expand(shape),
                sigma[..., None].expand(shape),
                field.exponents,
                field.radial.reach,
            )
        self._vectors = _quintic(q.numpy(), q1.numpy(), q2.numpy(), self._step)
        self._pair_weights = field.pair_weights.detach().numpy().copy()
        self._vector_weights = field.matrices(field.vector_weights.detach()).numpy()
        species = range(len(self.liquid.composition))
        index = {pair: k for k, pair in enumerate(field.species_pairs)}
        self._pairs = np.array([[index[min(a, b), max(a, b)] for b in species] for a in species])

    def __call__(self, positions: FloatArray, temperature: float) -> tuple[FloatArray, FloatArray]:
        """Return velocities and divergences; see ``TransportField.forward``."""
        powers = self._field.powers(temperature).numpy()
        weights = np.einsum("d,dsk->sk", powers, self._pair_weights)
        table = np.einsum("lck,sk->slc", self._slopes, weights)[self._pairs]
        strengths = np.einsum("d,damn->amn", powers, self._vector_weights)[self._types]
        x = np.ascontiguousarray(positions)
        velocity, divergence = np.empty_like(x), np.empty(len(x))
        write_field(
            x,
            self._types,
            self._edge,
            self._step,
            np.ascontiguousarray(table),
            self._vectors,
            np.ascontiguousarray(strengths),
            velocity,
            divergence,
        )
        return velocity, divergence


def _third_derivatives(field: TransportField, nodes: torch.Tensor) -> torch.Tensor:
    r = nodes.clone().requires_grad_()
    bend = field.radial(r)[2]
    columns = [
        torch.autograd.grad(bend[:, k].sum(), r, retain_graph=True)[0] for k in range(bend.shape[1])
    ]
    return torch.stack(columns, dim=1)


def _quintic(value: FloatArray, slope: FloatArray, bend: FloatArray, step: float) -> FloatArray:
    """Return coefficients of each cell in the place 0 to 1 within it, (..., n_cells, 6, n_functions).

    The last axis but one of the arguments is that of the nodes, (..., n_cells + 1, n_functions).
    """
    low, high = (..., slice(None, -1), slice(None)), (..., slice(1, None), slice(None))
    a0, a1, a2 = value[low], step * slope[low], 0.5 * step**2 * bend[low]
    b0, b1, b2 = value[high], step * slope[high], 0.5 * step**2 * bend[high]
    c0, c1, c2 = b0 - a0 - a1 - a2, b1 - a1 - 2.0 * a2, b2 - a2
    return np.stack(
        [
            a0,
            a1,
            a2,
            10.0 * c0 - 4.0 * c1 + c2,
            -15.0 * c0 + 7.0 * c1 - 2.0 * c2,
            6.0 * c0 - 3.0 * c1 + c2,
        ],
        axis=-2,
    )
