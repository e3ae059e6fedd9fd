"""r2SCAN bent by two bounded networks, with exact conditions built in.

    E_x = 1/2 sum_s int n e_x^LDA F_x(p, alpha) G_x(p, alpha),  n = 2 n_s         (exact spin scaling)
    E_c = int n e_c^r2SCAN(r_s, zeta, p, alpha) G_c
    G_x = 1 + A_x D/(1+D) (1+a_2)/(1+(p/p_c)^2) N_x(a_1, a_2)
    G_c = 1 + A_c D/(1+D) r_s/(r_s+r_0) N_c(r_s/(1+r_s), f_2, a_1, a_2 [, q])
    a_1 = p/(1+p),  a_2 = (alpha-1)/(alpha+1),  D = p^2 + a_2^2 [+ q^2]

with |N| < 1. For p = 0, alpha = 1 (the uniform gas, q = 0) D vanishes to fourth order in the gradient, so the
uniform-gas limit and the second-order gradient expansion of r2SCAN survive; exchange of one- and two-electron
densities (alpha = 0) stays r2SCAN's; F_x stays between 0 and 1.804 because A_x <= 0.5; the correlation energy
is never positive because A_c < 1. The near-region channel q = ln[R/(w n)], w the weight of the kernel, enters
correlation only: a fixed length would break the scaling of exchange.

Source:
    Own construction; ingredients follow Nagai, Akashi, Sugino, arXiv:2111.15593 (multiplicative factors on
    an analytic base) and npj Comput. Mater. 6, 43 (2020) (near-region density).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from kakehashi_core.contracts import XCFamily
from kakehashi_core.devices import resolve_device
from kakehashi_core.gaussian_kernels import GaussianKernel
from kakehashi_nnxc import r2scan

if TYPE_CHECKING:
    from kakehashi_core.model_card import ModelCard

EXCHANGE_AMPLITUDE = 0.5
CORRELATION_AMPLITUDE = 0.9
LARGE_GRADIENT = 16.0
HIGH_DENSITY_RADIUS = 0.05
LOW_DENSITY_RADIUS = 20.0
N_HIDDEN = 32
N_LAYERS = 3
SMALLEST_ALPHA = -0.5
"""Noise makes alpha slightly negative; a_2 has a pole at -1, so alpha is bent to this limit."""

KERNEL = GaussianKernel.exponential(0.2)
"""exp(-r / 0.2 bohr), the kernel of the near-region approximation."""

SMALLEST_CHANNEL = 1e-20
"""Densities of empty spin channels are raised to this, bohr^-3; far below every floor of a host, it only
keeps 0/0 away."""

SMALLEST_DENSITY = 1e-6
"""Where both densities (bohr^-3) are far below, q goes to zero: fitted tails carry no information."""

N_INPUTS: dict[str, dict[str, int]] = {
    "MGGA": {"exchange": 2, "correlation": 4},
    "NONLOCAL": {"exchange": 2, "correlation": 5},
}


@dataclass(frozen=True, kw_only=True)
class Term:
    """One half of the functional at points: base energy density, what multiplies N, and what N reads.

    Attributes:
        base: (n_points,) energy density of r2SCAN, hartree bohr^-3.
        amplitude: (n_points,) change of the energy density for N = 1.
        inputs: (n_points, n_inputs), each between -1 and 1.
    """

    base: torch.Tensor
    amplitude: torch.Tensor
    inputs: torch.Tensor


def parameter_shapes(family: XCFamily, n_hidden: int = N_HIDDEN) -> dict[str, tuple[int, ...]]:
    """Return name to shape of the tensors of both networks."""
    shapes: dict[str, tuple[int, ...]] = {}
    for net, n_inputs in N_INPUTS[family].items():
        widths = [n_inputs, *[n_hidden] * N_LAYERS, 1]
        for layer in range(N_LAYERS + 1):
            shapes[f"{net}.{layer}.weight"] = (widths[layer + 1], widths[layer])
            shapes[f"{net}.{layer}.bias"] = (widths[layer + 1],)
    return shapes


def network(parameters: Mapping[str, torch.Tensor], net: str, inputs: torch.Tensor) -> torch.Tensor:
    """Evaluate N of "exchange" or "correlation" for (n_points, n_inputs); returns (n_points,) in (-1, 1)."""
    x = inputs
    for layer in range(N_LAYERS + 1):
        x = torch.nn.functional.linear(
            x, parameters[f"{net}.{layer}.weight"], parameters[f"{net}.{layer}.bias"]
        )
        if layer < N_LAYERS:
            x = torch.nn.functional.silu(x)
    return torch.tanh(x).squeeze(-1)


def exchange_term(density: torch.Tensor, sigma: torch.Tensor, tau: torch.Tensor) -> Term:
    """Return the exchange of an unpolarized density; for spin channels pass 2 n_s, 4 s_ss, 2 tau_s."""
    p = r2scan.reduced_gradient(density, sigma)
    alpha = r2scan.isoorbital(density, sigma, tau)
    base, amplitude, inputs = exchange_parts(density, p, alpha)
    return Term(base=base, amplitude=amplitude, inputs=torch.stack(inputs, dim=-1))


def exchange_parts(
    density: torch.Tensor, p: torch.Tensor, alpha: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """Return base, amplitude and inputs of ``Term`` in reduced variables."""
    base = r2scan.UNIFORM_EXCHANGE * density ** (4.0 / 3.0) * r2scan.exchange_enhancement(p, alpha)
    a_1, a_2 = _bounded(p, alpha)
    bend = p**2 + a_2**2
    amplitude = (
        EXCHANGE_AMPLITUDE
        * base
        * (bend / (1.0 + bend))
        * ((1.0 + a_2) / (1.0 + (p / LARGE_GRADIENT) ** 2))
    )
    return base, amplitude, [a_1, a_2]


def correlation_term(
    one_plus: torch.Tensor | float,
    one_minus: torch.Tensor | float,
    density: torch.Tensor,
    sigma: torch.Tensor,
    tau: torch.Tensor,
    near: torch.Tensor | None,
) -> Term:
    """Return the correlation of the total density.

    Args:
        one_plus: 1 + zeta, (n_points,), or 1.0 for a closed shell.
        one_minus: 1 - zeta.
        density: Total density, bohr^-3.
        sigma: |grad n|^2, bohr^-8.
        tau: Total kinetic-energy density, hartree bohr^-3.
        near: q, see the module; None for the semilocal form.
    """
    kinetic = 0.5 * (one_plus ** (5.0 / 3.0) + one_minus ** (5.0 / 3.0))
    p = r2scan.reduced_gradient(density, sigma)
    alpha = r2scan.isoorbital(density, sigma, tau, kinetic)
    base, amplitude, inputs = correlation_parts(one_plus, one_minus, density, p, alpha, near)
    return Term(base=base, amplitude=amplitude, inputs=torch.stack(inputs, dim=-1))


def correlation_parts(
    one_plus: torch.Tensor | float,
    one_minus: torch.Tensor | float,
    density: torch.Tensor,
    p: torch.Tensor,
    alpha: torch.Tensor,
    near: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """Return base, amplitude and inputs of ``Term`` in reduced variables."""
    seitz_radius = r2scan.SEITZ * density ** (-1.0 / 3.0)
    base = density * r2scan.correlation_energy(seitz_radius, one_plus, one_minus, p, alpha)
    a_1, a_2 = _bounded(p, alpha)
    phi = 0.5 * (one_plus ** (4.0 / 3.0) + one_minus ** (4.0 / 3.0))
    polarization = (phi - 1.0) / (2.0 ** (1.0 / 3.0) - 1.0)
    f_2 = polarization / (1.0 + (seitz_radius / LOW_DENSITY_RADIUS) ** 2)
    inputs = [seitz_radius / (1.0 + seitz_radius), f_2, a_1, a_2]
    bend = p**2 + a_2**2
    if near is not None:
        bounded_near = torch.tanh(near)
        bend = bend + bounded_near**2
        inputs.append(bounded_near)
    amplitude = (
        CORRELATION_AMPLITUDE
        * base
        * (bend / (1.0 + bend))
        * (seitz_radius / (seitz_radius + HIGH_DENSITY_RADIUS))
    )
    return base, amplitude, inputs


def _bounded(p: torch.Tensor, alpha: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    # tanh has no second derivative at zero: the bend keeps that of the functional continuous.
    bent = -SMALLEST_ALPHA * torch.tanh(alpha / -SMALLEST_ALPHA)
    safe = torch.where(alpha < 0.0, bent, alpha)
    return p / (1.0 + p), (safe - 1.0) / (safe + 1.0)


def terms(
    variables: torch.Tensor, spin: Literal[0, 1], near: torch.Tensor | None = None
) -> tuple[list[Term], Term]:
    """Return the exchange of each distinct spin channel (energies add up) and the correlation.

    Args:
        variables: Meta-GGA rows of the contract, (3, n_points) or (7, n_points).
        spin: 0 or 1.
        near: q for the non-local form.
    """
    if spin == 0:
        density, sigma, tau = variables[:3]
        density = density.clamp_min(2.0 * SMALLEST_CHANNEL)
        return [exchange_term(density, sigma, tau)], correlation_term(
            1.0, 1.0, density, sigma, tau, near
        )
    n_a, n_b, s_aa, s_ab, s_bb, tau_a, tau_b = variables[:7]
    n_a, n_b = n_a.clamp_min(SMALLEST_CHANNEL), n_b.clamp_min(SMALLEST_CHANNEL)
    channels = [
        _halved(exchange_term(2.0 * n, 4.0 * s, 2.0 * t))
        for n, s, t in ((n_a, s_aa, tau_a), (n_b, s_bb, tau_b))
    ]
    density = n_a + n_b
    return channels, correlation_term(
        2.0 * n_a / density,
        2.0 * n_b / density,
        density,
        # Rounding makes |grad n|^2 slightly negative where the channels cancel.
        (s_aa + 2.0 * s_ab + s_bb).clamp_min(0.0),
        tau_a + tau_b,
        near,
    )


def _halved(term: Term) -> Term:
    return Term(base=0.5 * term.base, amplitude=0.5 * term.amplitude, inputs=term.inputs)


def near_region(convolved: torch.Tensor, density: torch.Tensor) -> torch.Tensor:
    """Return q, the logarithm of the near-region average of the density over the density itself.

    Args:
        convolved: (n_points,) density convolved with ``KERNEL``; fitted densities make it slightly negative.
        density: (n_points,) total density, bohr^-3.

    Returns:
        (n_points,), zero for the uniform gas and smooth everywhere.
    """
    # The same floor for both, or q of a thin uniform gas would not vanish.
    around, here = (
        0.5 * (n + torch.sqrt(n**2 + SMALLEST_DENSITY**2)) + SMALLEST_DENSITY
        for n in (convolved / KERNEL.integral(), density)
    )
    return torch.log(around / here)


class ConstrainedFunctional:
    """A functional of the constrained form, satisfying ``kakehashi_core.contracts.XCFunctional``.

    Args:
        name: Name under which hosts ask for it.
        family: "MGGA", or "NONLOCAL" with the near-region channel.
        parameters: Tensors with the names and shapes of ``parameter_shapes``; up-cast to float64.
        card: Model card of the weights.
        sha256: Digest of the weight file.
        device: Where hosts evaluate it, "cpu", "cuda[:i]" or "auto".
    """

    hybrid = 0.0
    max_deriv = 2

    def __init__(
        self,
        *,
        name: str,
        family: XCFamily,
        parameters: Mapping[str, torch.Tensor],
        card: ModelCard | None = None,
        sha256: str = "",
        device: str = "cpu",
    ) -> None:
        self.name = name
        self.device = str(resolve_device(device))
        self.family: XCFamily = family
        self.card = card
        self.sha256 = sha256
        self._parameters = {
            key: tensor.detach().to(self.device, torch.float64)
            for key, tensor in parameters.items()
        }
        if family == "NONLOCAL":
            self.convolution = KERNEL

    def __repr__(self) -> str:
        return f"ConstrainedFunctional({self.name!r}, {self.family})"

    def energy_density(self, variables: torch.Tensor, spin: Literal[0, 1]) -> torch.Tensor:
        """Return the energy per volume (n_points,), hartree bohr^-3; see the contract for the rows."""
        parameters = self._parameters_beside(variables)
        near = None
        if self.family == "NONLOCAL":
            near = near_region(variables[-1], variables[: spin + 1].sum(0))
        exchange, correlation = terms(variables, spin, near)
        energy = correlation.base + correlation.amplitude * network(
            parameters, "correlation", correlation.inputs
        )
        for channel in exchange:
            energy = energy + (
                channel.base + channel.amplitude * network(parameters, "exchange", channel.inputs)
            )
        return energy

    def exc_vxc(
        self, variables: torch.Tensor, spin: Literal[0, 1]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return energy density and first derivatives; see the contract."""
        return self._derivatives(variables, spin, 1)[:2]

    def exc_vxc_fxc(
        self, variables: torch.Tensor, spin: Literal[0, 1]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return energy density, first and second derivatives; see the contract."""
        return self._derivatives(variables, spin, 2)

    def _derivatives(
        self, variables: torch.Tensor, spin: Literal[0, 1], order: Literal[1, 2]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        from kakehashi_nnxc.constrained_derivatives import constrained_derivatives

        return constrained_derivatives(
            self._parameters_beside(variables),
            variables,
            spin,
            nonlocal_channel=self.family == "NONLOCAL",
            order=order,
        )

    def _parameters_beside(self, variables: torch.Tensor) -> dict[str, torch.Tensor]:
        # No copies where they are there already.
        return {key: tensor.to(variables.device) for key, tensor in self._parameters.items()}


def load_functional(
    path: str | Path, *, name: str = "", device: str = "cpu"
) -> ConstrainedFunctional:
    """Read a checkpoint of this form.

    Args:
        path: The safetensors file; its manifest lies beside it.
        name: Name for hosts; by default the one in the manifest.
        device: Where hosts evaluate it, "cpu", "cuda[:i]" or "auto".

    Raises:
        CheckpointError: If the file is damaged or of another form.
    """
    from kakehashi_core.checkpoints import load_checkpoint, read_manifest

    family: XCFamily = "NONLOCAL" if read_manifest(path).get("family") == "NONLOCAL" else "MGGA"
    checkpoint = load_checkpoint(path, shapes=parameter_shapes(family))
    return ConstrainedFunctional(
        name=name or str(checkpoint.manifest.get("name", "constrained")),
        family=family,
        parameters=checkpoint.tensors,
        sha256=checkpoint.sha256,
        device=device,
    )
