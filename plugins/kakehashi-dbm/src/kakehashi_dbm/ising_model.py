"""Ising models in a transverse field, on any graph: what cluster updates can sample."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import UnsupportedError
from kakehashi_quspin.pauli_strings import PauliString
from kakehashi_quspin.spin_model import SpinModel
from kakehashi_quspin.sublattice_rotation import Rotation

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class IsingModel:
    """H = -sum J_b z_i z_j - sum h_i z_i - sum G_i x_i + constant, with G_i >= 0.

    Attributes:
        bonds: Sites of each bond, (n_bonds, 2).
        couplings: J of each bond, (n_bonds,).
        longitudinal: h, (n_sites,).
        transverse: G, (n_sites,), not negative.
        constant: Added to H.
        rotation: Which spins were turned around z to make G positive.
    """

    bonds: IntArray = field(repr=False)
    couplings: FloatArray = field(repr=False)
    longitudinal: FloatArray = field(repr=False)
    transverse: FloatArray = field(repr=False)
    constant: float
    rotation: Rotation = field(repr=False)

    @classmethod
    def from_spin_model(cls, model: SpinModel) -> IsingModel:
        """Recognize a model.

        Raises:
            UnsupportedError: If it has other terms than z z, z and x; the message names the first one.
        """
        n = model.n_sites
        pairs: dict[tuple[int, int], float] = {}
        longitudinal, transverse = np.zeros(n), np.zeros(n)
        for string, c in model.terms.items():
            letters = "".join(a for _, a in string)
            if letters == "zz":
                pairs[string[0][0], string[1][0]] = -c
            elif letters == "z":
                longitudinal[string[0][0]] = -c
            elif letters == "x":
                transverse[string[0][0]] = -c
            else:
                raise UnsupportedError(
                    f"{_text(string)} is not a term of an Ising model in a transverse field, which has z z, "
                    "z and x only"
                )
        turned = transverse < 0.0
        return cls(
            bonds=np.array(list(pairs), dtype=np.int64).reshape(-1, 2),
            couplings=np.array(list(pairs.values()), dtype=float),
            longitudinal=longitudinal,
            transverse=np.abs(transverse),
            constant=model.constant,
            rotation=Rotation(sites=turned),
        )

    @property
    def n_sites(self) -> int:
        """Number of spins."""
        return len(self.transverse)

    def diagonal(self, spins: npt.NDArray[np.int8]) -> FloatArray:
        """Return the energy of the terms with z alone, without the constant, (...,).

        Args:
            spins: +1 and -1, (..., n_sites).
        """
        values = spins.astype(float)
        first, second = values[..., self.bonds[:, 0]], values[..., self.bonds[:, 1]]
        return np.asarray(-(first * second) @ self.couplings - values @ self.longitudinal)


def _text(string: PauliString) -> str:
    return " ".join(f"{a}_{i}" for i, a in string)


def clean_ring(model: IsingModel) -> tuple[float, float] | None:
    """Return coupling and transverse field of a periodic ring without disorder; None for other models."""
    n = model.n_sites
    ring = {(min(i, (i + 1) % n), max(i, (i + 1) % n)) for i in range(n)}
    if n < 3 or {(int(i), int(j)) for i, j in np.sort(model.bonds, axis=1)} != ring:
        return None
    if (
        model.longitudinal.any()
        or np.ptp(model.transverse) != 0.0
        or np.ptp(model.couplings) != 0.0
    ):
        return None
    return float(model.couplings[0]), float(model.transverse[0])
