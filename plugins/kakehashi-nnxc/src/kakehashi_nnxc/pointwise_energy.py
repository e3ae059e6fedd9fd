"""The energy per electron of any functional as a function of r_s, polarization, s and alpha.

Every point stands for a density whose two spin channels have parallel gradients, the same relative change
and the same alpha. Hartree atomic units.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_core.contracts import NonlocalXCFunctional, XCFunctional
from kakehashi_core.errors import InvalidInputError
from kakehashi_nnxc import r2scan

FloatArray = npt.NDArray[np.float64]

CHUNK_POINTS = 20_000
EMPTY_CHANNEL = 1e-12
"""Share of the density in the other channel of a fully polarized point; keeps 0/0 out of every functional."""

HIGH_DENSITY = 1e4
"""Factor of uniform scaling above which correlation per electron is a + b ln(factor)."""

_RATIO = 10.0

_ROWS = {"LDA": (1, 2), "GGA": (2, 5), "MGGA": (3, 7), "NONLOCAL": (3, 7)}


class PointwiseEnergy:
    """Evaluates a functional at points given by dimensionless variables.

    Args:
        functional: A registered name, a libxc name (both need kakehashi-pyscf), or a functional object.

    Attributes:
        name: For tables and plots.
        family: "LDA", "GGA", "MGGA" or "NONLOCAL".

    Raises:
        UnknownNameError: If nobody knows the name.
        InvalidInputError: If the functional has exact exchange, VV10 or the Laplacian in it: no function of
            these variables.
    """

    def __init__(self, functional: str | XCFunctional) -> None:
        self._functional: XCFunctional | None
        if isinstance(functional, str):
            self.name = functional
            self._functional, self.family = _find(functional)
        else:
            self.name = str(getattr(functional, "name", type(functional).__name__))
            self._functional, self.family = functional, str(functional.family)
        if self._functional is not None and self._functional.hybrid:
            raise _not_a_function_of_the_point(self.name)

    def __repr__(self) -> str:
        return f"PointwiseEnergy({self.name!r}, {self.family})"

    def __call__(
        self,
        seitz_radius: npt.ArrayLike,
        polarization: npt.ArrayLike,
        gradient: npt.ArrayLike,
        alpha: npt.ArrayLike,
        near: npt.ArrayLike = 1.0,
        *,
        spin: Literal[0, 1] = 1,
    ) -> FloatArray:
        """Return the energy per electron, hartree, in the shape that the arguments broadcast to.

        Args:
            seitz_radius: r_s, bohr.
            polarization: (n_a - n_b)/n, from -1 to 1.
            gradient: s = |grad n| / (2 (3 pi^2)^(1/3) n^(4/3)).
            alpha: (tau - tau_W) / tau_unif.
            near: Convolved density over (integral of the kernel times density), for family NONLOCAL.
            spin: 0 evaluates the closed-shell form, which ignores the polarization.
        """
        points = np.broadcast_arrays(
            *(
                np.asarray(x, dtype=np.float64)
                for x in (seitz_radius, polarization, gradient, alpha, near)
            )
        )
        rs, zeta, s, a, q = (x.ravel() for x in points)
        variables = density_variables_at(rs, zeta, s, a, spin=spin)
        if self._functional is None:
            energy = self._libxc(variables, spin)
        else:
            energy = self._energy_density(self._functional, variables, q, spin) / _density(rs)
        return energy.reshape(points[0].shape)

    def exchange(
        self,
        seitz_radius: npt.ArrayLike,
        polarization: npt.ArrayLike,
        gradient: npt.ArrayLike,
        alpha: npt.ArrayLike,
        near: npt.ArrayLike = 1.0,
        *,
        scaling: float = HIGH_DENSITY,
    ) -> FloatArray:
        """Return the exchange energy per electron as the high-density limit of the whole, hartree.

        Under n(r) -> g^3 n(g r) exchange is multiplied by g, while correlation per electron tends to
        a + b ln g. Three values of g eliminate a and b; what remains is 1e-8 of exchange.

        Args:
            seitz_radius: As in ``__call__``, like the others.
            polarization: Of the spins.
            gradient: s.
            alpha: Iso-orbital indicator.
            near: Convolved over local density.
            scaling: Smallest of the three g; the others are 10 and 100 times larger.
        """
        rs = np.asarray(seitz_radius, dtype=np.float64)
        low, middle, high = (
            self(rs / (scaling * _RATIO**k), polarization, gradient, alpha, near) for k in range(3)
        )
        return np.asarray((high - 2.0 * middle + low) / (scaling * (_RATIO - 1.0) ** 2))

    def _energy_density(
        self, functional: XCFunctional, variables: FloatArray, near: FloatArray, spin: Literal[0, 1]
    ) -> FloatArray:
        if isinstance(functional, NonlocalXCFunctional) and self.family == "NONLOCAL":
            total = variables[: spin + 1].sum(axis=0)
            convolved = near * functional.convolution.integral() * total
            variables = np.concatenate([variables, convolved[None]])
        else:
            variables = variables[: _ROWS[self.family][spin]]
        chunks = []
        device = torch.device(getattr(functional, "device", "cpu"))
        with torch.no_grad():
            for start in range(0, variables.shape[1], CHUNK_POINTS):
                chunk = np.ascontiguousarray(variables[:, start : start + CHUNK_POINTS])
                on_device = torch.from_numpy(chunk).to(device)
                chunks.append(functional.energy_density(on_device, spin).cpu().numpy())
        return np.concatenate(chunks)

    def _libxc(self, variables: FloatArray, spin: Literal[0, 1]) -> FloatArray:
        from pyscf.dft import libxc

        from kakehashi_pyscf.density_variables import rho_from_variables

        rows = {"LDA": 1, "GGA": 4, "MGGA": 5}[self.family]
        rho = rho_from_variables(variables, spin)[..., :rows, :]
        return np.asarray(libxc.eval_xc1(self.name, rho, spin, 0)[0], dtype=np.float64)


def density_variables_at(
    seitz_radius: FloatArray,
    polarization: FloatArray,
    gradient: FloatArray,
    alpha: FloatArray,
    *,
    spin: Literal[0, 1],
) -> FloatArray:
    """Return the meta-GGA variables of the points, (3, n_points) or (7, n_points).

    Args:
        seitz_radius: (n_points,), see ``PointwiseEnergy``.
        polarization: (n_points,), ignored for ``spin=0``.
        gradient: (n_points,).
        alpha: (n_points,).
        spin: 0 or 1.
    """
    density = _density(seitz_radius)
    sigma = 4.0 * r2scan.FERMI_SQUARED * gradient**2 * density ** (8.0 / 3.0)
    if spin == 0:
        uniform = r2scan.UNIFORM_KINETIC * density ** (5.0 / 3.0)
        return np.stack([density, sigma, sigma / (8.0 * density) + alpha * uniform])
    shares = [np.maximum(0.5 * (1.0 + z), EMPTY_CHANNEL) for z in (polarization, -polarization)]
    uniform = 2.0 ** (2.0 / 3.0) * r2scan.UNIFORM_KINETIC * density ** (5.0 / 3.0)
    a, b = shares
    kinetic = [x * sigma / (8.0 * density) + alpha * uniform * x ** (5.0 / 3.0) for x in shares]
    return np.stack([a * density, b * density, a**2 * sigma, a * b * sigma, b**2 * sigma, *kinetic])


def local_exchange(seitz_radius: npt.ArrayLike) -> FloatArray:
    """Return the exchange energy per electron of the unpolarized uniform gas, hartree."""
    density = _density(np.asarray(seitz_radius, dtype=np.float64))
    return np.asarray(r2scan.UNIFORM_EXCHANGE * density ** (1.0 / 3.0))


def _density(seitz_radius: FloatArray) -> FloatArray:
    return np.asarray(3.0 / (4.0 * np.pi * seitz_radius**3))


def _find(name: str) -> tuple[XCFunctional | None, str]:
    try:
        from kakehashi_pyscf.functional_library import REGISTRY_LIBRARY
    except ImportError as error:
        raise InvalidInputError(
            f"looking up the functional {name!r} by name needs kakehashi-pyscf ({error}); "
            "pip install 'kakehashi-nnxc[pyscf]' brings it, or hand in a functional object"
        ) from error
    functional = REGISTRY_LIBRARY.find(name)
    if functional is not None:
        return functional, functional.family
    family: Any = REGISTRY_LIBRARY.xc_type(name)
    special = (
        REGISTRY_LIBRARY.is_hybrid_xc(name),
        REGISTRY_LIBRARY.is_nlc(name),
        REGISTRY_LIBRARY.needs_laplacian(name),
    )
    if family not in ("LDA", "GGA", "MGGA") or any(special):
        raise _not_a_function_of_the_point(name)
    return None, str(family)


def _not_a_function_of_the_point(name: str) -> InvalidInputError:
    return InvalidInputError(
        f"{name!r} contains exact exchange, VV10 or the Laplacian of the density, so its energy at a point "
        "is no function of r_s, polarization, s and alpha; take a functional of family LDA, GGA, MGGA or "
        "NONLOCAL"
    )
