"""The r2SCAN meta-GGA in torch, differentiable to any order: the base of the constrained functionals.

Exchange per electron is written for the unpolarized gas and applied to each spin channel by the exact scaling
E_x[n_a, n_b] = (E_x[2 n_a] + E_x[2 n_b]) / 2. Hartree atomic units; checked point by point against libxc.

Source:
    J. W. Furness, A. D. Kaplan, J. Ning, J. P. Perdew, J. Sun, J. Phys. Chem. Lett. 11, 8208 (2020);
    J. P. Perdew, Y. Wang, Phys. Rev. B 45, 13244 (1992) for the uniform gas.
"""

from __future__ import annotations

import math

import torch

ETA = 0.001
KAPPA_1 = 0.065
GRADIENT_SCALE = 0.361**4
EXCHANGE_COEFFICIENTS = (
    1.0,
    -0.667,
    -0.4445555,
    -0.663086601049,
    1.451297044490,
    -0.887998041597,
    0.234528941479,
    -0.023185843322,
)
CORRELATION_COEFFICIENTS = (
    1.0,
    -0.64,
    -0.4352,
    -1.535685604549,
    3.061560252175,
    -1.915710236206,
    0.516884468372,
    -0.051848879792,
)
C_2 = -0.16274221523404786
B_1 = 0.0285764
CHI = 0.12802585262625815
GAMMA = (1.0 - math.log(2.0)) / math.pi**2
CORRELATION_SLOPE = -0.7114023342889984

FERMI_SQUARED: float = (3.0 * math.pi**2) ** (2.0 / 3.0)
UNIFORM_KINETIC: float = 0.3 * FERMI_SQUARED
UNIFORM_EXCHANGE: float = -0.75 * (3.0 / math.pi) ** (1.0 / 3.0)
SEITZ: float = (3.0 / (4.0 * math.pi)) ** (1.0 / 3.0)

SMALLEST_P = 1e-14
"""Below, exp(-4.9479 p^(-1/4)) is zero to double precision, while p^(-1/4) and its derivatives blow up."""

_PW92 = (
    (0.0310907, 0.21370, 7.5957, 3.5876, 1.6382, 0.49294),
    (0.01554535, 0.20548, 14.1189, 6.1977, 3.3662, 0.62517),
    (0.0168869, 0.11125, 10.357, 3.6231, 0.88026, 0.49671),
)
_F_CURVATURE = 8.0 / (9.0 * (2.0 ** (4.0 / 3.0) - 2.0))


def reduced_gradient(density: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Return p = s^2 = sigma / (4 (3 pi^2)^(2/3) n^(8/3)), dimensionless."""
    return sigma / (4.0 * FERMI_SQUARED * density ** (8.0 / 3.0))


def isoorbital(
    density: torch.Tensor,
    sigma: torch.Tensor,
    tau: torch.Tensor,
    polarization: torch.Tensor | float = 1.0,
) -> torch.Tensor:
    """Return the regularized iso-orbital indicator (tau - tau_W) / (tau_unif + eta tau_W), dimensionless.

    Args:
        density: (n_points,), bohr^-3.
        sigma: (n_points,), bohr^-8.
        tau: (n_points,), hartree bohr^-3.
        polarization: d_s = [(1+z)^(5/3) + (1-z)^(5/3)]/2, one for a closed shell.
    """
    weizsaecker = sigma / (8.0 * density)
    uniform = UNIFORM_KINETIC * density ** (5.0 / 3.0) * polarization
    return (tau - weizsaecker) / (uniform + ETA * weizsaecker)


def exchange_enhancement(p: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """Return F_x(p, alpha) of an unpolarized density; at most 1.174."""
    eighth = (20.0 / 27.0 + 5.0 * ETA / 3.0) * C_2
    x = p * (eighth * torch.exp(-(p**2) / GRADIENT_SCALE) + 10.0 / 81.0)
    one_orbital_limit = 1.174
    h_1 = 1.0 + KAPPA_1 - KAPPA_1 / (1.0 + x / KAPPA_1)
    switch = _switch(alpha, EXCHANGE_COEFFICIENTS, 0.667, 0.8, 1.24)
    decay = -torch.expm1(-4.9479 * p.clamp_min(SMALLEST_P) ** -0.25)
    return (h_1 + switch * (one_orbital_limit - h_1)) * decay


def correlation_energy(
    seitz_radius: torch.Tensor,
    one_plus: torch.Tensor | float,
    one_minus: torch.Tensor | float,
    p: torch.Tensor,
    alpha: torch.Tensor,
) -> torch.Tensor:
    """Return the correlation energy per electron, hartree.

    Args:
        seitz_radius: (n_points,), bohr.
        one_plus: 1 + zeta, (n_points,), or the number 1.0 for a closed shell, which is then cheaper.
        one_minus: 1 - zeta, (n_points,).
        p: Squared reduced gradient of the total density.
        alpha: Iso-orbital indicator of the total density.
    """
    zeta = 0.5 * (one_plus - one_minus)
    phi_43 = 0.5 * (one_plus ** (4.0 / 3.0) + one_minus ** (4.0 / 3.0))
    ph = 0.5 * (one_plus ** (2.0 / 3.0) + one_minus ** (2.0 / 3.0))
    kinetic = 0.5 * (one_plus ** (5.0 / 3.0) + one_minus ** (5.0 / 3.0))
    uniform, uniform_slope = uniform_gas_correlation(seitz_radius, zeta, phi_43)
    low, low_slope = _low_density_limit(seitz_radius)
    polarized = (1.0 - 2.363 * (phi_43 - 1.0)) * (1.0 - zeta**12)

    w_0 = torch.expm1(-low / B_1)
    h_0 = B_1 * torch.log1p(w_0 * (1.0 - (1.0 + 4.0 * CHI * p) ** -0.25))
    e_0 = (low + h_0) * polarized

    gph3 = GAMMA * ph**3
    w_1 = torch.expm1(-uniform / gph3)
    beta = 0.06672455060314922 * (1.0 + 0.1 * seitz_radius) / (1.0 + 0.1778 * seitz_radius)
    t2 = (3.0 * math.pi**2 / 16.0) ** (2.0 / 3.0) * p / (ph**2 * seitz_radius)
    y = beta * t2 / (GAMMA * w_1)
    slope = low_slope * polarized - uniform_slope
    gap = low * polarized - uniform
    d_y = (
        CORRELATION_SLOPE
        / (27.0 * gph3 * kinetic * w_1)
        * (20.0 * seitz_radius * slope - 45.0 * ETA * gap)
        * p
        * torch.exp(-(p**2) / GRADIENT_SCALE)
    )
    h_1 = gph3 * torch.log1p(w_1 * (1.0 - (1.0 + 4.0 * (y - d_y)) ** -0.25))
    e_1 = uniform + h_1
    switch = _switch(alpha, CORRELATION_COEFFICIENTS, 0.64, 1.5, 0.7)
    return e_1 + switch * (e_0 - e_1)


def uniform_gas_correlation(
    seitz_radius: torch.Tensor, zeta: torch.Tensor | float, phi_43: torch.Tensor | float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the correlation energy per electron of the uniform gas, and its derivative by r_s.

    Args:
        seitz_radius: (n_points,), bohr.
        zeta: Spin polarization.
        phi_43: [(1+z)^(4/3) + (1-z)^(4/3)]/2.
    """
    root = seitz_radius.sqrt()
    if isinstance(zeta, float) and zeta == 0.0:
        return _pw92(seitz_radius, root, *_PW92[0])
    (e_0, s_0), (e_1, s_1), (stiff, stiff_slope) = (
        _pw92(seitz_radius, root, *parameters) for parameters in _PW92
    )
    f = (phi_43 - 1.0) / (2.0 ** (1.0 / 3.0) - 1.0)
    z4 = zeta**4
    unpolarized = 1.0 - f * z4
    stiffness = -f * (1.0 - z4) / _F_CURVATURE
    return (
        e_0 * unpolarized + e_1 * f * z4 + stiff * stiffness,
        s_0 * unpolarized + s_1 * f * z4 + stiff_slope * stiffness,
    )


def _pw92(
    rs: torch.Tensor,
    root: torch.Tensor,
    a: float,
    alpha_1: float,
    beta_1: float,
    beta_2: float,
    beta_3: float,
    beta_4: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    q_0 = -2.0 * a * (1.0 + alpha_1 * rs)
    q_1 = 2.0 * a * root * (beta_1 + root * (beta_2 + root * (beta_3 + root * beta_4)))
    q_1_slope = a * (beta_1 / root + 2.0 * beta_2 + root * (3.0 * beta_3 + 4.0 * beta_4 * root))
    logarithm = torch.log1p(1.0 / q_1)
    return (
        q_0 * logarithm,
        -2.0 * a * alpha_1 * logarithm - q_0 * q_1_slope / (q_1 * (q_1 + 1.0)),
    )


def _low_density_limit(rs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    root = rs.sqrt()
    denominator = 1.0 + 0.0889 * root + 0.125541 * rs
    return -B_1 / denominator, B_1 * (0.5 * 0.0889 / root + 0.125541) / denominator**2


def _switch(
    alpha: torch.Tensor, coefficients: tuple[float, ...], c_1: float, c_2: float, d: float
) -> torch.Tensor:
    """Interpolate between one-orbital (1) and uniform (0) regions.

    Each branch sees only arguments of its own range: exponentials of the unused ones would overflow and
    poison the derivatives.
    """
    middle_alpha = alpha.clamp(0.0, 2.5)
    middle = torch.full_like(alpha, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        middle = middle * middle_alpha + coefficient
    negative = alpha.clamp_max(0.0)
    low = torch.exp(-c_1 * negative / (1.0 - negative))
    large = alpha.clamp_min(2.5)
    high = -d * torch.exp(c_2 / (1.0 - large))
    return torch.where(alpha <= 0.0, low, torch.where(alpha <= 2.5, middle, high))
