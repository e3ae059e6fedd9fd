"""Derivatives of a functional by automatic differentiation of its own ``energy_density``.

Hartree atomic units; arrays in, arrays out. Independent of any bridge, so that a functional can be
tested without a host code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_testing.errors import ConformanceError, require

if TYPE_CHECKING:
    from kakehashi_core.contracts import XCFunctional
    from kakehashi_testing.density_points import Spin

Array = npt.NDArray[np.float64]

FAST_PATHS = {1: "exc_vxc", 2: "exc_vxc_fxc"}
"""Derivative order to the optional method that returns everything up to it."""

_CHUNK = 20_000


def _checked(energy: object, variables: torch.Tensor) -> torch.Tensor:
    n_points = variables.shape[1]
    if not isinstance(energy, torch.Tensor):
        raise ConformanceError(
            f"energy_density returned a {type(energy).__name__}; it must return a torch.Tensor"
        )
    require(
        energy.shape == (n_points,),
        f"energy_density returned shape {tuple(energy.shape)} for variables of shape "
        f"{tuple(variables.shape)}; it must return ({n_points},), one value per point",
    )
    require(
        energy.dtype == torch.float64,
        f"energy_density returned {energy.dtype}; energies must leave in torch.float64, "
        "whatever the network computes in",
    )
    return energy


def energy(functional: XCFunctional, variables: Array, spin: Spin) -> Array:
    """Return the energy density (n_points,), hartree bohr^-3.

    Raises:
        ConformanceError: If it is not a float64 tensor with one value per point.
    """
    parts = []
    with torch.no_grad():
        for start in range(0, variables.shape[1], _CHUNK):
            chunk = torch.tensor(variables[:, start : start + _CHUNK], dtype=torch.float64)
            parts.append(_checked(functional.energy_density(chunk, spin), chunk).numpy().copy())
    return np.concatenate(parts)


def gradient(functional: XCFunctional, variables: Array, spin: Spin) -> tuple[Array, Array]:
    """Return the energy density (n_points,) and its derivative (n_var, n_points)."""
    x, value, first = _first(functional, variables, spin, create_graph=False)
    del x
    return value.detach().numpy(), first.numpy()


def hessian(functional: XCFunctional, variables: Array, spin: Spin) -> Array:
    """Return the second derivatives (n_var, n_var, n_points) of the energy density."""
    parts = []
    for start in range(0, variables.shape[1], _CHUNK):
        chunk = variables[:, start : start + _CHUNK]
        x, _, first = _first(functional, chunk, spin, create_graph=True)
        parts.append(_rows(first, x, create_graph=False).numpy())
    return np.concatenate(parts, axis=-1)


def hessian_change(
    functional: XCFunctional, variables: Array, spin: Spin, direction: Array
) -> Array:
    """Return the derivative of the second derivatives along ``direction`` (n_var, n_points).

    Only the projections d^T H d are differentiated; the result has shape (n_points,).
    """
    x, _, first = _first(functional, variables, spin, create_graph=True)
    along = torch.tensor(direction, dtype=torch.float64)
    second = _derivative((first * along).sum(0), x, create_graph=True)
    third = _derivative((second * along).sum(0), x, create_graph=False)
    return (third * along).sum(0).numpy()


def fast_path(
    functional: object, variables: Array, spin: Spin, *, order: Literal[1, 2] = 1
) -> tuple[Array, ...]:
    """Return what the functional's own ``exc_vxc`` gives, checked for shape and dtype.

    Args:
        functional: Has that method.
        variables: (n_var, n_points).
        spin: 0 or 1.
        order: 2 asks ``exc_vxc_fxc`` instead.

    Returns:
        Energy density (n_points,), its derivative (n_var, n_points) and, for order 2, the second
        derivatives (n_var, n_var, n_points).
    """
    method = FAST_PATHS[order]
    x = torch.tensor(variables, dtype=torch.float64)
    value, *derivatives = getattr(functional, method)(x, spin)
    _checked(value, x)
    require(
        len(derivatives) == order,
        f"{method} returned {1 + len(derivatives)} tensors; it must return {1 + order}: the energy density "
        "and its derivatives, order by order",
    )
    n_var, n_points = x.shape
    for k, derivative in enumerate(derivatives, start=1):
        shape = (*[n_var] * k, n_points)
        require(
            derivative.shape == shape and derivative.dtype == torch.float64,
            f"{method} returned derivatives of shape {tuple(derivative.shape)} and {derivative.dtype}; "
            f"it must return {shape} in torch.float64",
        )
    return tuple(part.detach().numpy() for part in (value, *derivatives))


def _first(
    functional: XCFunctional, variables: Array, spin: Spin, *, create_graph: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    # Grad mode is switched on explicitly: the caller may be inside torch.no_grad().
    with torch.enable_grad():
        x = torch.tensor(variables, dtype=torch.float64, requires_grad=True)
        value = _checked(functional.energy_density(x, spin), x)
        require(
            value.requires_grad,
            "energy_density returned a tensor without a graph; it must be differentiable with "
            "respect to its input (no .detach(), no numpy inside, no torch.no_grad())",
        )
        return x, value, _derivative(value, x, create_graph=create_graph)


def _derivative(value: torch.Tensor, x: torch.Tensor, *, create_graph: bool) -> torch.Tensor:
    """Differentiate (n_points,) by (n_var, n_points), point by point."""
    with torch.enable_grad():
        if not value.requires_grad:
            return torch.zeros_like(x)
        try:
            (result,) = torch.autograd.grad(
                value.sum(), x, create_graph=create_graph, retain_graph=True, allow_unused=True
            )
        except RuntimeError as error:
            raise ConformanceError(
                f"energy_density cannot be differentiated: {error}. Custom autograd functions need "
                "a backward that is differentiable itself, or the spec a lower max_deriv"
            ) from error
    return torch.zeros_like(x) if result is None else result


def _rows(first: torch.Tensor, x: torch.Tensor, *, create_graph: bool) -> torch.Tensor:
    return torch.stack([_derivative(row, x, create_graph=create_graph) for row in first])
