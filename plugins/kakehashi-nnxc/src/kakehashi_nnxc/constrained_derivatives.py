"""First and second derivatives of the constrained form, without reverse passes.

The closed-form parts are evaluated with jets in the variables in which they are simple: (n, p, alpha) for
the exchange of a spin channel, (n, zeta, p, alpha [, q]) for correlation. The networks, functions of two and
four (five) numbers, are differentiated by hand and enter by the chain rule; so do, at the end, the variables
of the contract.

Source:
    Own derivation, tested against torch.autograd.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, cast

import torch

from kakehashi_nnxc import constrained_form, r2scan
from kakehashi_nnxc.jets import Jet, compose
from kakehashi_nnxc.network_derivatives import network_derivatives

Layers = Sequence[tuple[torch.Tensor, torch.Tensor]]

Rows = Sequence[Sequence[tuple[int, float]]]
"""Per variable of a jet: the rows of the contract whose weighted sum it is."""

_CORRELATION_ROWS: Rows = (
    ((0, 1.0),),
    ((1, 1.0),),
    ((2, 1.0), (3, 2.0), (4, 1.0)),
    ((5, 1.0), (6, 1.0)),
    ((7, 1.0),),
)
_CHANNEL_ROWS: tuple[Rows, Rows] = (
    (((0, 2.0),), ((2, 4.0),), ((5, 2.0),)),
    (((1, 2.0),), ((4, 4.0),), ((6, 2.0),)),
)
_CLOSED_SHELL_ROWS: Rows = tuple(((row, 1.0),) for row in range(4))


def constrained_derivatives(
    parameters: Mapping[str, torch.Tensor],
    variables: torch.Tensor,
    spin: Literal[0, 1],
    *,
    nonlocal_channel: bool,
    order: Literal[1, 2],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Evaluate the functional and its derivatives.

    Args:
        parameters: Tensors named as in ``constrained_form.parameter_shapes``.
        variables: (n_var, n_points), rows of the contract.
        spin: 0 or 1.
        nonlocal_channel: Whether the last row is the convolved density.
        order: 1 leaves the second derivatives away.

    Returns:
        Energy density (n_points,), first derivatives (n_var, n_points), and second derivatives
        (n_var, n_var, n_points), or (0, 0, n_points) at order 1.
    """
    n_var, n_points = variables.shape
    n_second = n_var if order == 2 else 0
    first = variables.new_zeros(n_var, n_points)
    second = variables.new_zeros(n_second, n_second, n_points)
    exchange_net, correlation_net = (
        [
            (parameters[f"{net}.{layer}.weight"], parameters[f"{net}.{layer}.bias"])
            for layer in range(constrained_form.N_LAYERS + 1)
        ]
        for net in ("exchange", "correlation")
    )
    with torch.no_grad():
        rows = list(variables.detach())
        convolved = rows.pop() if nonlocal_channel else None
        if spin == 0:
            density, sigma, tau = rows[:3]
            energy = _total(exchange_net, correlation_net, density, sigma, tau, convolved, order)
            _scatter(energy, _CLOSED_SHELL_ROWS, first, second)
            return energy.value, first, second
        n_a, n_b, s_aa, s_ab, s_bb, tau_a, tau_b = rows[:7]
        sigma, tau = s_aa + 2.0 * s_ab + s_bb, tau_a + tau_b
        energy = _correlation(correlation_net, n_a, n_b, sigma, tau, convolved, order)
        _scatter(energy, _CORRELATION_ROWS, first, second)
        total = energy.value
        for spins, (n, s, t) in zip(
            _CHANNEL_ROWS, ((n_a, s_aa, tau_a), (n_b, s_bb, tau_b)), strict=True
        ):
            energy = _exchange(exchange_net, 2.0 * n, 4.0 * s, 2.0 * t, order)
            total = total + energy.value
            _scatter(energy, spins, first, second)
        return total, first, second


def _total(
    exchange_net: Layers,
    correlation_net: Layers,
    density: torch.Tensor,
    sigma: torch.Tensor,
    tau: torch.Tensor,
    convolved: torch.Tensor | None,
    order: int,
) -> Jet:
    """Return the energy of a closed shell as a jet in (n, sigma, tau [, R])."""
    outer = _variables([density, sigma, tau, *([] if convolved is None else [convolved])], order)
    clamped = outer[0].clamp_min(2.0 * constrained_form.SMALLEST_CHANNEL)
    arguments = [clamped, *_reduced(clamped, *outer[1:3])]
    if convolved is not None:
        # The density of the host, not the clamped one, as in ``energy_density``.
        arguments.append(_near_region(outer[3], outer[0]))
    n, p, alpha, *near = _variables([jet.value for jet in arguments], order)
    exchange = constrained_form.exchange_parts(n.as_tensor(), p.as_tensor(), alpha.as_tensor())
    correlation = constrained_form.correlation_parts(
        1.0,
        1.0,
        n.as_tensor(),
        p.as_tensor(),
        alpha.as_tensor(),
        near[0].as_tensor() if near else None,
    )
    # The input f_2 of the polarization is zero throughout.
    energy = _bent(exchange_net, *exchange) + _bent(correlation_net, *correlation, fixed=(1,))
    return compose(energy.value, energy.first, energy.second, arguments)


def _exchange(
    net: Layers, density: torch.Tensor, sigma: torch.Tensor, tau: torch.Tensor, order: int
) -> Jet:
    """Return half the exchange of an unpolarized density as a jet in (n, sigma, tau)."""
    outer = _variables([density, sigma, tau], order)
    outer[0] = outer[0].clamp_min(2.0 * constrained_form.SMALLEST_CHANNEL)
    arguments = [outer[0], *_reduced(*outer)]
    n, p, alpha = _variables([jet.value for jet in arguments], order)
    energy = 0.5 * _bent(
        net, *constrained_form.exchange_parts(n.as_tensor(), p.as_tensor(), alpha.as_tensor())
    )
    return compose(energy.value, energy.first, energy.second, arguments)


def _correlation(
    net: Layers,
    n_a: torch.Tensor,
    n_b: torch.Tensor,
    sigma: torch.Tensor,
    tau: torch.Tensor,
    convolved: torch.Tensor | None,
    order: int,
) -> Jet:
    """Return the correlation of an open shell as a jet in (n_a, n_b, sigma, tau [, R])."""
    outer = _variables([n_a, n_b, sigma, tau, *([] if convolved is None else [convolved])], order)
    density, zeta, one_plus, one_minus = _polarization(*outer[:2])
    kinetic = 0.5 * (one_plus ** (5.0 / 3.0) + one_minus ** (5.0 / 3.0))
    arguments = [density, zeta, *_reduced(density, outer[2].clamp_min(0.0), outer[3], kinetic)]
    if convolved is not None:
        arguments.append(_near_region(outer[4], outer[0] + outer[1]))
    n, z, p, alpha, *near = _variables([jet.value for jet in arguments], order)
    parts = constrained_form.correlation_parts(
        Jet(one_plus.value, z.first, {}, order).as_tensor(),
        Jet(one_minus.value, (-z).first, {}, order).as_tensor(),
        n.as_tensor(),
        p.as_tensor(),
        alpha.as_tensor(),
        near[0].as_tensor() if near else None,
    )
    energy = _bent(net, *parts)
    return compose(energy.value, energy.first, energy.second, arguments)


def _polarization(n_a: Jet, n_b: Jet) -> tuple[Jet, Jet, Jet, Jet]:
    """Return n, zeta, 1 + zeta and 1 - zeta, none of them by a difference of close numbers."""
    channels = [n.clamp_min(constrained_form.SMALLEST_CHANNEL) for n in (n_a, n_b)]
    density = channels[0] + channels[1]
    a, b = (channel.value for channel in channels)
    inverse = density.value.reciprocal()
    square = inverse * inverse
    plus, minus = 2.0 * a * inverse, 2.0 * b * inverse
    slopes = {0: minus * inverse, 1: -plus * inverse}
    curvatures = {
        (0, 0): -2.0 * minus * square,
        (0, 1): (plus - minus) * square,
        (1, 1): 2.0 * plus * square,
    }
    zeta = compose((a - b) * inverse, slopes, curvatures, channels)
    mirrored = -zeta
    return (
        density,
        zeta,
        Jet(plus, zeta.first, zeta.second, zeta.order),
        Jet(minus, mirrored.first, mirrored.second, zeta.order),
    )


def _bent(
    net: Layers,
    base: torch.Tensor,
    amplitude: torch.Tensor,
    inputs: Sequence[torch.Tensor],
    *,
    fixed: Sequence[int] = (),
) -> Jet:
    """Return base + amplitude N(inputs); inputs in ``fixed`` do not vary."""
    jets = cast("Sequence[Jet]", inputs)
    factor = network_derivatives(
        net,
        torch.stack([jet.value for jet in jets]),
        varying=[i for i in range(len(jets)) if i not in fixed],
        order=jets[0].order,
    )
    bend = compose(factor.value, factor.first, factor.second, jets)
    return cast("Jet", base) + cast("Jet", amplitude) * bend


def _variables(values: Sequence[torch.Tensor], order: int) -> list[Jet]:
    return [Jet.variable(value, index, order) for index, value in enumerate(values)]


def _reduced(density: Jet, sigma: Jet, tau: Jet, kinetic: Jet | float = 1.0) -> tuple[Jet, Jet]:
    """Return p and alpha."""
    n, s = density.as_tensor(), sigma.as_tensor()
    alpha = r2scan.isoorbital(n, s, tau.as_tensor(), cast("torch.Tensor", kinetic))
    return cast("Jet", r2scan.reduced_gradient(n, s)), cast("Jet", alpha)


def _near_region(convolved: Jet, density: Jet) -> Jet:
    return cast("Jet", constrained_form.near_region(convolved.as_tensor(), density.as_tensor()))


def _scatter(energy: Jet, rows: Rows, first: torch.Tensor, second: torch.Tensor) -> None:
    """Add the derivatives of a jet to those by the rows of the contract."""
    for i, c in energy.first.items():
        for row, weight in rows[i]:
            first[row] += c * weight
    for (i, j), c in energy.second.items():
        for row, weight in rows[i]:
            for column, other in rows[j]:
                part = c * (weight * other)
                second[row, column] += part
                if i != j:
                    second[column, row] += part
