"""Derivatives of a functional's energy density, in PySCF's order.

Points are independent of each other, so the derivative of the sum over points is the derivative at every
point: one reverse pass gives all first derivatives, and one more for each variable all second ones. (Forward
over reverse with torch.func was two to three times slower, and changes the environment of the process.)
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_core.contracts import FirstDerivatives, SecondDerivatives, XCFunctional
from kakehashi_core.errors import NonFiniteError, UnsupportedError

DENSITY_FLOOR = 1e-11
"""Points with less density, bohr^-3, contribute nothing; together they hold < 1e-12 hartree."""

CHANNEL_FLOOR = 1e-12
"""Spin channels with less density, bohr^-3, count as empty; the same number as in libxc's PBE."""

CHUNK_POINTS = 8192
"""Points evaluated at once: activations of a width-100 network stay within the cache."""

OWN_CHUNK_POINTS = 16384
"""The same for functionals that differentiate themselves and know best how to block their networks."""

DEVICE_CHUNK_POINTS = 131072
"""The same on a GPU, whose many cores want more; double reverse passes then take a few GiB."""

MAX_DERIVATIVE = 2


def xc_derivatives(
    functional: XCFunctional,
    variables: npt.NDArray[np.float64],
    spin: Literal[0, 1],
    deriv: int,
) -> npt.NDArray[np.float64]:
    """Evaluate a functional and its derivatives up to second order.

    Args:
        functional: What to differentiate.
        variables: (n_var, n_points), rows as in ``kakehashi_core.contracts.XCFunctional``.
        spin: 0 or 1.
        deriv: Highest derivative order, 0 to 2.

    Returns:
        (n_rows, n_points) in xcfun order: the energy per particle (hartree), then the first derivatives
        of the energy density, then the upper triangle of its second derivatives row by row.

    Raises:
        UnsupportedError: If ``deriv`` is above 2.
        NonFiniteError: If the functional returns NaN or infinity at a point above the density floor.

    Source:
        Row order: PySCF ``pyscf.dft.xc_deriv``; tested against libxc with a PBE written in torch.
    """
    if deriv > MAX_DERIVATIVE:
        raise UnsupportedError(
            f"derivative order {deriv} of a neural functional was requested; orders up to "
            f"{MAX_DERIVATIVE} exist. Excited-state gradients and hyperpolarizabilities need order 3"
        )
    n_var, n_points = variables.shape
    n_rows = 1 + n_var * (deriv >= 1) + n_var * (n_var + 1) // 2 * (deriv >= 2)
    out = np.zeros((n_rows, n_points))
    total = variables[0] if spin == 0 else variables[0] + variables[1]
    occupied = np.flatnonzero(total > DENSITY_FLOOR)
    device = torch.device(getattr(functional, "device", "cpu"))
    n_chunk = _chunk_points(functional, device)
    for start in range(0, occupied.size, n_chunk):
        points = occupied[start : start + n_chunk]
        chunk = np.ascontiguousarray(variables[:, points])
        dead_rows = _clamp_empty_channels(chunk) if spin == 1 else None
        rows = _evaluate(functional, torch.from_numpy(chunk).to(device), spin, deriv)
        if dead_rows is not None:
            _silence(rows, dead_rows, n_var)
        if not np.isfinite(rows).all():
            row, point = (int(i) for i in np.argwhere(~np.isfinite(rows))[0])
            raise NonFiniteError(
                f"the functional returned a non-finite value (row {row}) at grid point "
                f"{int(points[point])} with variables {chunk[:, point].tolist()}"
            )
        rows[0] /= total[points]
        out[:, points] = rows
    return out


def _chunk_points(functional: XCFunctional, device: torch.device) -> int:
    if device.type != "cpu":
        return DEVICE_CHUNK_POINTS
    return OWN_CHUNK_POINTS if isinstance(functional, FirstDerivatives) else CHUNK_POINTS


def _evaluate(
    functional: XCFunctional, variables: torch.Tensor, spin: Literal[0, 1], deriv: int
) -> npt.NDArray[np.float64]:
    if deriv == 0:
        with torch.no_grad():
            return _numpy(functional.energy_density(variables, spin)[None])
    if deriv == 1:
        if isinstance(functional, FirstDerivatives):
            energy, first = functional.exc_vxc(variables, spin)
        else:
            energy, first = _value_and_gradient(functional, variables, spin)
        return _numpy(torch.cat([energy[None], first]))
    if isinstance(functional, SecondDerivatives):
        energy, first, second = functional.exc_vxc_fxc(variables, spin)
    else:
        energy, first = _value_and_gradient(functional, variables, spin)
        second = _second_derivatives(functional, variables, spin)
    upper = torch.triu_indices(variables.shape[0], variables.shape[0])
    return _numpy(torch.cat([energy[None], first, second[upper[0], upper[1]]]))


def _value_and_gradient(
    functional: XCFunctional, variables: torch.Tensor, spin: Literal[0, 1]
) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.enable_grad():
        leaf = variables.detach().requires_grad_(True)
        energy = functional.energy_density(leaf, spin)
        (gradient,) = torch.autograd.grad(energy.sum(), leaf)
    return energy.detach(), gradient


def _second_derivatives(
    functional: XCFunctional, variables: torch.Tensor, spin: Literal[0, 1]
) -> torch.Tensor:
    """Return (n_var, n_var, n_points), one reverse pass through the gradient per variable."""
    with torch.enable_grad():
        leaf = variables.detach().requires_grad_(True)
        energy = functional.energy_density(leaf, spin)
        (first,) = torch.autograd.grad(energy.sum(), leaf, create_graph=True)
        return torch.stack([_gradient_of_row(row, leaf) for row in first])


def _gradient_of_row(row: torch.Tensor, leaf: torch.Tensor) -> torch.Tensor:
    if not row.requires_grad:  # a functional that is linear in everything
        return torch.zeros_like(leaf)
    (gradient,) = torch.autograd.grad(row.sum(), leaf, retain_graph=True, allow_unused=True)
    return torch.zeros_like(leaf) if gradient is None else gradient.detach()


def _numpy(tensor: torch.Tensor) -> npt.NDArray[np.float64]:
    return tensor.detach().to("cpu", torch.float64).numpy().copy()


def _clamp_empty_channels(chunk: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Clear noise in empty spin channels, in place; return the rows whose derivative is set to zero.

    Where one channel is empty, its gradient and tau are rounding noise, while derivatives with respect to
    them diverge like n^(-4/3). The derivative with respect to the density itself stays: it is the
    potential that the virtual orbitals of that channel feel.
    """
    n_var, n_points = chunk.shape
    dead = np.zeros((n_var, n_points), dtype=bool)
    for channel, rows in enumerate(((2, 3, 5), (3, 4, 6))):
        empty = chunk[channel] < CHANNEL_FLOOR
        chunk[channel, empty] = CHANNEL_FLOOR
        for row in rows:
            if row < n_var:
                chunk[row, empty] = 0.0
                dead[row] |= empty
    return dead


def _silence(rows: npt.NDArray[np.float64], dead: npt.NDArray[np.bool_], n_var: int) -> None:
    """Zero every derivative that involves a dead variable, in place."""
    if rows.shape[0] > 1:
        rows[1 : 1 + n_var][dead] = 0.0
    if rows.shape[0] > 1 + n_var:
        first, second = np.triu_indices(n_var)
        rows[1 + n_var :][dead[first] | dead[second]] = 0.0
