"""The points at which conditions are checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kakehashi_core.errors import InvalidInputError
from kakehashi_nnxc.pointwise_energy import FloatArray

Points = Mapping[str, FloatArray]
"""Variable to (n_points,) values."""

VARIABLES = ("seitz_radius", "polarization", "gradient", "alpha", "near")
"""The arguments of ``PointwiseEnergy``, in its order."""

_N_READ = {"LDA": 2, "GGA": 3, "MGGA": 4, "NONLOCAL": 5}
_UNREAD = {"gradient": 0.0, "alpha": 1.0, "near": 1.0}


def variables_of(family: str) -> tuple[str, ...]:
    """Return the variables that functionals of a family read."""
    return VARIABLES[: _N_READ[family]]


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """The product of five lists.

    Attributes:
        seitz_radii: r_s, bohr; neighbors serve no finite differences, so any spacing will do.
        polarizations: (n_a - n_b)/n.
        gradients: s.
        alphas: (tau - tau_W)/tau_unif.
        near: Convolved over local density; read by functionals of family NONLOCAL.
        path_steps: Coarsest number of intervals of the paths on which jumps are looked for.
    """

    seitz_radii: tuple[float, ...] = tuple(float(x) for x in np.geomspace(0.05, 50.0, 13))
    polarizations: tuple[float, ...] = (0.0, 0.3, 0.6, 0.9, 1.0)
    gradients: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)
    alphas: tuple[float, ...] = (0.0, 0.2, 0.5, 0.8, 1.0, 1.3, 2.0, 3.0, 6.0)
    near: tuple[float, ...] = (0.5, 1.0, 2.0)
    path_steps: int = 800

    def __post_init__(self) -> None:
        for name, low, high in (
            ("seitz_radii", 1e-3, 1e3),
            ("polarizations", -1.0, 1.0),
            ("gradients", 0.0, 100.0),
            ("alphas", 0.0, 100.0),
            ("near", 1e-3, 1e3),
        ):
            values = getattr(self, name)
            if not values or not all(low <= x <= high for x in values):
                raise InvalidInputError(
                    f"{name} of a mesh must be numbers from {low:g} to {high:g}, at least one, got {values}"
                )
        if self.path_steps < 200:
            raise InvalidInputError(f"path_steps must be at least 200, got {self.path_steps}")

    def points(self, family: str, **fixed: float | Sequence[float]) -> Points:
        """Return the flattened product.

        Args:
            family: Family of a functional; variables that it does not read keep one value only.
            fixed: Variable to the value or the list that replaces the one of the mesh.
        """
        listed = (self.seitz_radii, self.polarizations, self.gradients, self.alphas, self.near)
        lists: dict[str, Sequence[float]] = dict(zip(VARIABLES, listed, strict=True))
        for name in VARIABLES[_N_READ[family] :]:
            lists[name] = (_UNREAD[name],)
        for name, value in fixed.items():
            lists[name] = (value,) if isinstance(value, float) else value
        grids = np.meshgrid(*lists.values(), indexing="ij")
        return {name: grid.ravel() for name, grid in zip(lists, grids, strict=True)}
