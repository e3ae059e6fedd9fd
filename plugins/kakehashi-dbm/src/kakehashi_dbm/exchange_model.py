"""Exchange models without a sign problem: XXZ bonds with fields along z."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import UnsupportedError
from kakehashi_quspin.spin_model import SpinModel
from kakehashi_quspin.sublattice_rotation import Rotation, rotation_to_positive

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ExchangeModel:
    """H = sum_b [Jz z_i z_j - Jx (x_i x_j + y_i y_j)] - sum h_i z_i + constant, with Jx > 0.

    Attributes:
        n_sites: Number of spins.
        bonds: Sites of each bond, (n_bonds, 2).
        along: Jz of each bond, (n_bonds,).
        across: Jx of each bond, positive, (n_bonds,).
        longitudinal: h, (n_sites,).
        constant: Added to H.
        rotation: Which spins were turned around z to make Jx positive.
    """

    n_sites: int
    bonds: IntArray = field(repr=False)
    along: FloatArray = field(repr=False)
    across: FloatArray = field(repr=False)
    longitudinal: FloatArray = field(repr=False)
    constant: float
    rotation: Rotation = field(repr=False)

    @classmethod
    def from_spin_model(cls, model: SpinModel) -> ExchangeModel:
        """Recognize a model.

        Raises:
            UnsupportedError: If it has other terms, x x and y y differ, a bond has z z only, or exchange is
                frustrated; the message names what and where.
        """
        pairs: dict[tuple[int, int], dict[str, float]] = {}
        longitudinal = np.zeros(model.n_sites)
        for string, c in model.terms.items():
            letters = "".join(a for _, a in string)
            if letters in {"xx", "yy", "zz"}:
                pairs.setdefault((string[0][0], string[1][0]), {})[letters] = c
            elif letters == "z":
                longitudinal[string[0][0]] = -c
            else:
                raise UnsupportedError(
                    f"{' '.join(f'{a}_{i}' for i, a in string)} is not a term of an exchange model, "
                    "which has x x + y y, z z and z only"
                )
        for (i, j), parts in pairs.items():
            xx, yy = parts.get("xx", 0.0), parts.get("yy", 0.0)
            if abs(xx - yy) > 1e-12 * max(abs(xx), abs(yy)):
                raise UnsupportedError(
                    f"x x and y y of sites {i} and {j} have different couplings, {xx:g} and {yy:g}"
                )
            if xx == 0.0:
                raise UnsupportedError(f"sites {i} and {j} have z z without x x + y y")
        rotation = rotation_to_positive(model)
        if rotation is None:
            raise UnsupportedError(
                "exchange is frustrated: no rotation of spins makes all of its weights positive, so it has a "
                "sign problem. 'purified-nqs' and exact_thermal treat up to 20 sites"
            )
        turned = rotation.apply(model.terms)
        return cls(
            n_sites=model.n_sites,
            bonds=np.array(list(pairs), dtype=np.int64).reshape(-1, 2),
            along=np.array([p.get("zz", 0.0) for p in pairs.values()]),
            across=np.array([-turned[(i, "x"), (j, "x")] for i, j in pairs]),
            longitudinal=longitudinal,
            constant=model.constant,
            rotation=rotation,
        )
