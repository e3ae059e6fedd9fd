"""Graphs of a configuration: which particles are close, and the vectors between them. Lengths in sigma_AA.

Every pair appears twice, once in each direction. Edges are sorted by destination and then by source, so equal
input gives equal graphs, whatever library found the pairs.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, TypeVar, final

import numpy as np
import numpy.typing as npt
from vesin import NeighborList

from kakehashi_core.errors import InvalidInputError

if TYPE_CHECKING:
    import torch
    from torch_geometric.data import Data

DEFAULT_CUTOFF = 2.0
CONTACT = 1.35
"""First minimum of the A-A pair distribution, sigma_AA: scores of bond changes count A-A pairs closer."""
SMALLEST_DISTANCE = 1e-6
"""Pairs closer than this are no edges."""

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ParticleGraph:
    """Directed graph of the neighbors within a cutoff; its arrays cannot be written to.

    Attributes:
        types: Species of each particle, 0 = A, 1 = B, (n_atoms,).
        edge_index: Source and destination of each edge, (2, n_edges), sorted by destination, then source.
        edge_vectors: x_destination - x_source of the nearest images, (n_edges, 3).
        cutoff: Distance below which two particles share an edge.
    """

    types: IntArray
    edge_index: IntArray
    edge_vectors: FloatArray
    cutoff: float

    def __post_init__(self) -> None:
        _settle(self, "edge_vectors")

    @property
    def n_atoms(self) -> int:
        """Number of particles."""
        return len(self.types)

    @property
    def n_edges(self) -> int:
        """Number of directed edges, twice the number of pairs."""
        return int(self.edge_index.shape[1])

    @property
    def distances(self) -> FloatArray:
        """Length of each edge vector, (n_edges,)."""
        return _lengths(self.edge_vectors)

    def to_data(self, *, dtype: str | torch.dtype = "float32") -> Data:
        """Return torch_geometric's ``Data`` with ``types``, ``edge_index`` and ``edge_attr``, on the CPU.

        Args:
            dtype: Of the edge vectors, "float32" or "float64".
        """
        return _data(self, {"edge_attr": self.edge_vectors}, dtype)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class StructurePairGraph:
    """Union of the graphs of a thermal structure and of its inherent structure.

    An edge exists where two particles are within the cutoff in either structure; both vectors follow the same
    periodic image.

    Attributes:
        types: Species of each particle, (n_atoms,).
        edge_index: Source and destination of each edge, (2, n_edges), sorted by destination, then source.
        thermal_vectors: x_destination - x_source in the thermal structure, (n_edges, 3).
        inherent_vectors: The same in the inherent structure, (n_edges, 3).
        displacements: Inherent minus thermal position, nearest image, (n_atoms, 3).
        cutoff: Distance below which two particles share an edge.
    """

    types: IntArray
    edge_index: IntArray
    thermal_vectors: FloatArray
    inherent_vectors: FloatArray
    displacements: FloatArray
    cutoff: float

    def __post_init__(self) -> None:
        _settle(self, "thermal_vectors", "inherent_vectors")

    @property
    def n_atoms(self) -> int:
        """Number of particles."""
        return len(self.types)

    @property
    def n_edges(self) -> int:
        """Number of directed edges, twice the number of pairs."""
        return int(self.edge_index.shape[1])

    def to_data(self, *, dtype: str | torch.dtype = "float32") -> Data:
        """Return torch_geometric's ``Data``; its fields have the names of the attributes.

        Args:
            dtype: Of vectors and displacements, "float32" or "float64".
        """
        names = ("thermal_vectors", "inherent_vectors", "displacements")
        return _data(self, {name: getattr(self, name) for name in names}, dtype)


Graph = TypeVar("Graph", ParticleGraph, StructurePairGraph)


def particle_graph(
    positions: npt.ArrayLike,
    types: npt.ArrayLike,
    cell: npt.ArrayLike,
    *,
    pbc: npt.ArrayLike = True,
    cutoff: float = DEFAULT_CUTOFF,
) -> ParticleGraph:
    """Find all pairs with 1e-6 < nearest-image distance < cutoff.

    Args:
        positions: Coordinates, wrapped or not, (n_atoms, 3).
        types: Species of each particle, integers >= 0, (n_atoms,).
        cell: Lattice vectors in rows, any shape of box, (3, 3).
        pbc: Must be true along all three vectors.
        cutoff: Largest distance of neighbors.

    Raises:
        InvalidInputError: If a shape or number is wrong, the box is not periodic, or it is shorter than twice
            the cutoff, where a particle would meet two images of the same neighbor.
    """
    points, kinds, box = _checked(positions, types, cell, pbc, cutoff)
    edge_index, edge_vectors = _edges(points, box, cutoff)
    return ParticleGraph(
        types=kinds, edge_index=edge_index, edge_vectors=edge_vectors, cutoff=float(cutoff)
    )


def structure_pair_graph(
    thermal_positions: npt.ArrayLike,
    inherent_positions: npt.ArrayLike,
    types: npt.ArrayLike,
    cell: npt.ArrayLike,
    *,
    pbc: npt.ArrayLike = True,
    cutoff: float = DEFAULT_CUTOFF,
) -> StructurePairGraph:
    """Find all pairs that are closer than the cutoff in one structure or in the other.

    Args:
        thermal_positions: Coordinates before the quench, wrapped or not, (n_atoms, 3).
        inherent_positions: Coordinates of the same particles after it, wrapped or not, (n_atoms, 3).
        types: Species of each particle, integers >= 0, (n_atoms,).
        cell: Lattice vectors of both, in rows, (3, 3).
        pbc: Must be true along all three vectors.
        cutoff: Largest distance of neighbors.

    Raises:
        InvalidInputError: See ``particle_graph``; also if the numbers of particles differ.
    """
    from ase.geometry import find_mic

    thermal, kinds, box = _checked(thermal_positions, types, cell, pbc, cutoff)
    inherent, _, _ = _checked(inherent_positions, types, cell, pbc, cutoff)
    displacements, _ = find_mic(inherent - thermal, box, pbc=True)
    index, vectors = _edges(thermal, box, cutoff)
    inherent_index, inherent_vectors = _edges(inherent, box, cutoff)
    # Pairs of the inherent structure alone: their thermal vector goes back along the displacements, which
    # keeps the image.
    keys, inherent_keys = (_keys(each, len(kinds)) for each in (index, inherent_index))
    added = ~np.isin(inherent_keys, keys)
    index = np.concatenate([index, inherent_index[:, added]], axis=1)
    relative = displacements[index[1]] - displacements[index[0]]
    vectors = np.concatenate([vectors, inherent_vectors[added] - relative[len(vectors) :]])
    order = np.argsort(_keys(index, len(kinds)))
    index, vectors = index[:, order], vectors[order]
    return StructurePairGraph(
        types=kinds,
        edge_index=index,
        thermal_vectors=vectors,
        inherent_vectors=vectors + relative[order],
        displacements=displacements,
        cutoff=float(cutoff),
    )


def reverse_edges(graph: ParticleGraph | StructurePairGraph) -> IntArray:
    """Return for each edge (i, j) the number of the edge (j, i), (n_edges,)."""
    source, destination = graph.edge_index
    # Edges are sorted by (destination, source); in the order (source, destination) the k-th is the reverse of
    # the k-th.
    return np.argsort(source * np.int64(graph.n_atoms) + destination)


@cache
def cube_group() -> FloatArray:
    """Return the 48 rotations and reflections that map a cube to itself, (48, 3, 3).

    Element g maps a vector v to g @ v. All entries are 0 or +-1; the first element is the identity.
    """
    elements = [
        np.diag(signs)[list(axes)]
        for axes in itertools.permutations(range(3))
        for signs in itertools.product((1.0, -1.0), repeat=3)
    ]
    group = np.array(elements)
    group.flags.writeable = False
    return group


def augmented(graph: Graph, element: int) -> Graph:
    """Return the graph of the configuration after one operation of the cube group; the given one stays.

    Targets are distances and need no change.

    Args:
        graph: A graph of either kind.
        element: Number in ``cube_group()``, 0 to 47; 0 changes nothing.

    Raises:
        InvalidInputError: If there is no such element.
    """
    group = cube_group()
    if not 0 <= element < len(group):
        raise InvalidInputError(
            f"the cube group has elements 0 to {len(group) - 1}, got {element!r}"
        )
    matrix = group[element].T
    if isinstance(graph, ParticleGraph):
        return replace(graph, edge_vectors=graph.edge_vectors @ matrix)
    return replace(
        graph,
        thermal_vectors=graph.thermal_vectors @ matrix,
        inherent_vectors=graph.inherent_vectors @ matrix,
        displacements=graph.displacements @ matrix,
    )


def _edges(points: FloatArray, box: FloatArray, cutoff: float) -> tuple[IntArray, FloatArray]:
    """Return edge_index and edge vectors, sorted."""
    source, destination, vectors = NeighborList(cutoff=cutoff, full_list=True).compute(
        points=points, box=box, periodic=True, quantities="ijD"
    )
    index = np.stack([source, destination]).astype(np.int64)
    lengths = _lengths(vectors)
    order = np.argsort(_keys(index, len(points)))
    # The list may hold pairs at the cutoff itself.
    order = order[((lengths < cutoff) & (lengths > SMALLEST_DISTANCE))[order]]
    return index[:, order], vectors[order]


def _keys(edge_index: IntArray, n_atoms: int) -> IntArray:
    """Number edges by destination, then source."""
    keys: IntArray = edge_index[1] * np.int64(n_atoms) + edge_index[0]
    return keys


def _lengths(vectors: FloatArray) -> FloatArray:
    lengths: FloatArray = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return lengths


def _checked(
    positions: npt.ArrayLike,
    types: npt.ArrayLike,
    cell: npt.ArrayLike,
    pbc: npt.ArrayLike,
    cutoff: float,
) -> tuple[FloatArray, IntArray, FloatArray]:
    points, box = np.asarray(positions, dtype=float), np.asarray(cell, dtype=float)
    kinds = np.asarray(types)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) == 0:
        raise InvalidInputError(
            f"positions have shape {points.shape}; expected (n_atoms, 3) with at least one particle"
        )
    if kinds.shape != points.shape[:1]:
        raise InvalidInputError(
            f"types have shape {kinds.shape}, expected one for each of the {len(points)} particles"
        )
    if not np.issubdtype(kinds.dtype, np.integer) or kinds.min() < 0:
        raise InvalidInputError(
            f"types must be integers >= 0 (0 = A, 1 = B), got {kinds.dtype} with values from {kinds.min()}"
        )
    if not np.isfinite(points).all():
        bad = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise InvalidInputError(
            f"position {bad} is {points[bad].tolist()}; all coordinates must be finite"
        )
    if not np.all(pbc):
        raise InvalidInputError(
            f"pbc is {np.asarray(pbc).tolist()}; the graph networks know periodic boxes only. Put the "
            "particles in a box that is periodic along all three vectors."
        )
    _check_box(box, cutoff)
    return points, kinds.astype(np.int64), box


def _check_box(box: FloatArray, cutoff: float) -> None:
    if not (np.isfinite(cutoff) and cutoff > SMALLEST_DISTANCE):
        raise InvalidInputError(f"the cutoff must be a positive length, got {cutoff!r} sigma_AA")
    if box.shape != (3, 3) or not np.isfinite(box).all():
        raise InvalidInputError(
            f"the cell must be three finite lattice vectors in rows, got {box.tolist()}"
        )
    areas = np.linalg.norm(np.cross(box[[1, 2, 0]], box[[2, 0, 1]]), axis=1)
    volume = abs(float(np.linalg.det(box)))
    height = volume / areas.max() if areas.max() > 0.0 else 0.0
    if height < 2.0 * cutoff:
        raise InvalidInputError(
            f"the box is {height:.6g} sigma_AA high at its narrowest; at least twice the cutoff, "
            f"{2.0 * cutoff:.6g}, is needed, or a particle meets two images of the same neighbor. Take a "
            "larger configuration, or repeat this one."
        )


def _settle(graph: ParticleGraph | StructurePairGraph, *vector_names: str) -> None:
    """Check that the arrays of a new graph belong together, and keep views that cannot be written to."""
    n_atoms, index = len(graph.types), graph.edge_index
    if index.ndim != 2 or len(index) != 2 or (np.diff(_keys(index, n_atoms)) <= 0).any():
        raise InvalidInputError(
            f"edge_index, shape {index.shape}, must be (2, n_edges) with rows source and destination, each "
            "edge once, sorted by destination and then source; build graphs with particle_graph"
        )
    for name in vector_names:
        shape = getattr(graph, name).shape
        if shape != (index.shape[1], 3):
            raise InvalidInputError(
                f"{name} has shape {shape}, expected {(index.shape[1], 3)}: one vector for each edge"
            )
    for name, value in vars(graph).items():
        if isinstance(value, np.ndarray):
            view = value.view()
            view.flags.writeable = False
            object.__setattr__(graph, name, view)


def _data(
    graph: ParticleGraph | StructurePairGraph,
    fields: dict[str, FloatArray],
    dtype: str | torch.dtype,
) -> Data:
    import torch
    from torch_geometric.data import Data

    from kakehashi_core.devices import resolve_dtype

    kind = resolve_dtype(dtype)
    return Data(
        types=torch.tensor(graph.types),
        edge_index=torch.tensor(graph.edge_index),
        num_nodes=graph.n_atoms,
        **{name: torch.tensor(values, dtype=kind) for name, values in fields.items()},
    )
