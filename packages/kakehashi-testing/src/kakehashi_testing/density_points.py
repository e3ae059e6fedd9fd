"""Random density variables as they occur on real integration grids, for testing functionals.

Hartree atomic units. Variables follow ``kakehashi_core.contracts.XCFunctional``: with spin 0 the rows are
rho, sigma, tau of the total density, with spin 1 rho_a, rho_b, s_aa, s_ab, s_bb, tau_a, tau_b; LDA stops
after the densities, GGA after the gradients, NONLOCAL appends the convolved total density.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Family = Literal["LDA", "GGA", "MGGA", "NONLOCAL"]
Spin = Literal[0, 1]
Variables = npt.NDArray[np.float64]

ROWS: dict[tuple[str, int], tuple[str, ...]] = {
    ("LDA", 0): ("rho",),
    ("GGA", 0): ("rho", "sigma"),
    ("MGGA", 0): ("rho", "sigma", "tau"),
    ("NONLOCAL", 0): ("rho", "sigma", "tau", "convolved"),
    ("LDA", 1): ("rho_a", "rho_b"),
    ("GGA", 1): ("rho_a", "rho_b", "s_aa", "s_ab", "s_bb"),
    ("MGGA", 1): ("rho_a", "rho_b", "s_aa", "s_ab", "s_bb", "tau_a", "tau_b"),
    ("NONLOCAL", 1): ("rho_a", "rho_b", "s_aa", "s_ab", "s_bb", "tau_a", "tau_b", "convolved"),
}
"""(family, spin) to the names of the rows."""

CLASSES: dict[str, str] = {
    "rho": "rho", "rho_a": "rho", "rho_b": "rho",
    "sigma": "sigma", "s_aa": "sigma", "s_ab": "sigma", "s_bb": "sigma",
    "tau": "tau", "tau_a": "tau", "tau_b": "tau",
    "convolved": "convolved",
}  # fmt: skip
"""Row name to the physical quantity it belongs to."""

CONVOLUTION_NORM = 8.0 * np.pi * 0.2**3
"""Integral of exp(-r / 0.2 bohr), bohr^3: the convolved density of a uniform gas is this times rho."""


def _uniform_gas_tau(rho: Variables) -> Variables:
    """Return the kinetic-energy density of an unpolarized uniform gas, hartree bohr^-3."""
    return np.asarray(0.3 * (3.0 * np.pi**2) ** (2.0 / 3.0) * rho ** (5.0 / 3.0))


def _assemble(columns: dict[str, Variables], family: Family, spin: Spin) -> Variables:
    return np.ascontiguousarray(np.stack([columns[row] for row in ROWS[family, spin]]))


def _spin_columns(
    rho_a: Variables,
    rho_b: Variables,
    gradients: tuple[Variables, Variables],
    excess: Variables,
    rng: np.random.Generator,
) -> dict[str, Variables]:
    """Complete densities and gradient vectors (3, n_points) to all variables.

    Args:
        rho_a: Density of the first channel, bohr^-3.
        rho_b: Density of the second channel, bohr^-3.
        gradients: Gradient vectors of both channels, bohr^-4.
        excess: tau above the von Weizsaecker bound in units of the uniform gas, per point; >= 0.
        rng: Source of randomness.
    """
    columns: dict[str, Variables] = {"rho_a": rho_a, "rho_b": rho_b}
    for name, (i, j) in {"s_aa": (0, 0), "s_ab": (0, 1), "s_bb": (1, 1)}.items():
        columns[name] = np.einsum("xg,xg->g", gradients[i], gradients[j])
    for name, rho, sigma in (("tau_a", rho_a, "s_aa"), ("tau_b", rho_b, "s_bb")):
        weizsaecker = np.divide(columns[sigma], 8.0 * rho, out=np.zeros_like(rho), where=rho > 0.0)
        # Spin scaling: a channel is half of an unpolarized density of twice its size.
        columns[name] = weizsaecker + 0.5 * excess * _uniform_gas_tau(2.0 * rho)
    total = rho_a + rho_b
    columns["convolved"] = CONVOLUTION_NORM * total * rng.uniform(0.5, 1.5, total.shape)
    columns["rho"] = total
    columns["sigma"] = columns["s_aa"] + 2.0 * columns["s_ab"] + columns["s_bb"]
    columns["tau"] = columns["tau_a"] + columns["tau_b"]
    return columns


def _random_columns(
    n_points: int,
    rng: np.random.Generator,
    *,
    log10_density: tuple[float, float],
    polarization: Variables,
    log10_excess: tuple[float, float] = (-1.0, 1.0),
) -> dict[str, Variables]:
    density = 10.0 ** rng.uniform(*log10_density, n_points)
    rho_a = 0.5 * density * (1.0 + polarization)
    rho_b = 0.5 * density * (1.0 - polarization)
    gradients = []
    for rho in (rho_a, rho_b):
        # |grad n| = 2 (3 pi^2)^(1/3) n^(4/3) s with the reduced gradient s between 0.03 and 3,
        # which covers bonds, cores and the onset of tails.
        reduced = 10.0 ** rng.uniform(-1.5, 0.5, n_points)
        direction = rng.standard_normal((3, n_points))
        direction /= np.linalg.norm(direction, axis=0)
        scale = 2.0 * (3.0 * np.pi**2) ** (1.0 / 3.0) * (2.0 * rho) ** (4.0 / 3.0) / 2.0
        gradients.append(scale * reduced * direction)
    excess = 10.0 ** rng.uniform(*log10_excess, n_points)
    return _spin_columns(rho_a, rho_b, (gradients[0], gradients[1]), excess, rng)


def density_points(
    family: Family, spin: Spin, n_points: int, *, rng: np.random.Generator
) -> Variables:
    """Draw generic physical points: every variable is positive and differentiable around them.

    Densities cover 1e-5 to 1e3 bohr^-3 (valence tails to the core of a third-row atom), polarizations
    -0.95 to 0.95, reduced gradients 0.03 to 3 per channel and tau between 0.1 and 10 uniform-gas
    values above the von Weizsaecker bound, so that steps of a few per cent remain physical.

    Returns:
        float64, shape (n_var, n_points), contiguous.
    """
    columns = _random_columns(
        n_points,
        rng,
        log10_density=(-5.0, 3.0),
        polarization=rng.uniform(-0.95, 0.95, n_points),
    )
    return _assemble(columns, family, spin)


def polarized_points(
    family: Family,
    n_points: int,
    *,
    rng: np.random.Generator,
    occupied: Literal["a", "b"] = "a",
) -> Variables:
    """Draw fully polarized points (spin 1); every second one has tau on its one-electron bound."""
    sign = 1.0 if occupied == "a" else -1.0
    columns = _random_columns(
        n_points, rng, log10_density=(-5.0, 2.0), polarization=np.full(n_points, sign)
    )
    tau, sigma, rho = f"tau_{occupied}", f"s_{occupied}{occupied}", f"rho_{occupied}"
    columns[tau][::2] = (columns[sigma] / (8.0 * columns[rho]))[::2]
    return _assemble(columns, family, 1)


def vanishing_points(
    family: Family, spin: Spin, n_points: int, *, rng: np.random.Generator
) -> Variables:
    """Draw points of the far tail: the first is exactly zero, the others 1e-30 to 1e-6 bohr^-3."""
    columns = _random_columns(
        n_points,
        rng,
        log10_density=(-30.0, -6.0),
        polarization=rng.uniform(-1.0, 1.0, n_points),
    )
    variables = _assemble(columns, family, spin)
    variables[:, 0] = 0.0
    return variables


def swap_spins(variables: Variables) -> Variables:
    """Exchange the two spin channels of spin-1 variables (n_var, n_points)."""
    order = {2: (1, 0), 5: (1, 0, 4, 3, 2), 7: (1, 0, 4, 3, 2, 6, 5), 8: (1, 0, 4, 3, 2, 6, 5, 7)}
    return np.ascontiguousarray(variables[list(order[len(variables)])])


def closed_shell_as_spin_resolved(variables: Variables) -> Variables:
    """Write spin-0 variables (n_var, n_points) as spin-1 variables of two equal channels."""
    rows = [variables[0] / 2.0] * 2
    if len(variables) > 1:
        rows += [variables[1] / 4.0] * 3
    if len(variables) > 2:
        rows += [variables[2] / 2.0] * 2
    rows += list(variables[3:])
    return np.ascontiguousarray(np.stack(rows))


CLOSED_SHELL_CHAIN: dict[str, tuple[tuple[str, ...], float]] = {
    "rho": (("rho_a", "rho_b"), 0.5),
    "sigma": (("s_aa", "s_ab", "s_bb"), 0.25),
    "tau": (("tau_a", "tau_b"), 0.5),
    "convolved": (("convolved",), 1.0),
}
"""Spin-0 row to the spin-1 rows whose derivatives add up to it, and the factor of the chain rule."""
