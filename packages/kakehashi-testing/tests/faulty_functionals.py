"""A small correct meta-GGA, and one functional for each mistake that the suite must find.

The file is also copied into fake distributions, so it imports nothing from the tests.
"""

from __future__ import annotations

import os
from typing import Any

import torch

FLOOR = 1e-20


class _Cube(torch.autograd.Function):
    """x^3 with the right first and a wrong second derivative."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return gradient * 3.0 * x.detach() ** 2


class Good:
    """Smooth, spin-symmetric, safe at zero density; reads every variable of a meta-GGA."""

    family = "MGGA"
    hybrid = 0.0
    max_deriv = 3

    def channel(self, rho: torch.Tensor, sigma: torch.Tensor, tau: torch.Tensor) -> torch.Tensor:
        """Exchange-like energy of one channel, written for an unpolarized density."""
        occupied = rho > FLOOR
        safe = torch.where(occupied, rho, 1.0)
        p = torch.where(occupied, sigma, 0.0) / (40.0 * safe ** (8.0 / 3.0))
        t = torch.where(occupied, tau, 0.0) / (3.0 * safe ** (5.0 / 3.0))
        factor = 1.0 + 0.2 * p / (1.0 + p) - 0.1 * t / (1.0 + t)
        return torch.where(occupied, -0.7 * safe ** (4.0 / 3.0) * factor, 0.0)

    def correlation(self, rho: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Correlation-like energy, which couples the channels."""
        occupied = rho > FLOOR
        safe = torch.where(occupied, rho, 1.0)
        p = torch.where(occupied, sigma, 0.0) / (40.0 * safe ** (8.0 / 3.0))
        return torch.where(occupied, -0.03 * safe / (1.0 + p), 0.0)

    def energy_density(self, variables: torch.Tensor, spin: int) -> torch.Tensor:
        if spin == 0:
            rho, sigma, tau = variables
            return self.channel(rho, sigma, tau) + self.correlation(rho, sigma)
        rho_a, rho_b, s_aa, s_ab, s_bb, tau_a, tau_b = variables
        exchange = 0.5 * (
            self.channel(2 * rho_a, 4 * s_aa, 2 * tau_a)
            + self.channel(2 * rho_b, 4 * s_bb, 2 * tau_b)
        )
        return exchange + self.correlation(rho_a + rho_b, s_aa + 2 * s_ab + s_bb)


class GoodFastPath(Good):
    def exc_vxc(self, variables: torch.Tensor, spin: int) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.enable_grad():
            x = variables.detach().requires_grad_(True)
            energy = self.energy_density(x, spin)
            (gradient,) = torch.autograd.grad(energy.sum(), x)
        return energy.detach(), gradient

    def exc_vxc_fxc(
        self, variables: torch.Tensor, spin: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        with torch.enable_grad():
            x = variables.detach().requires_grad_(True)
            energy = self.energy_density(x, spin)
            (first,) = torch.autograd.grad(energy.sum(), x, create_graph=True)
            rows = [torch.autograd.grad(row.sum(), x, retain_graph=True)[0] for row in first]
        return energy.detach(), first.detach(), torch.stack(rows)


class WrongFastPath(GoodFastPath):
    fault = 1e-6

    def exc_vxc(self, variables: torch.Tensor, spin: int) -> tuple[torch.Tensor, torch.Tensor]:
        energy, gradient = super().exc_vxc(variables, spin)
        gradient = gradient.clone()
        gradient[-1] *= 1.0 + self.fault
        return energy, gradient


class WrongSecondFastPath(GoodFastPath):
    """One entry of the second derivatives is off."""

    fault = 1e-6

    def exc_vxc_fxc(
        self, variables: torch.Tensor, spin: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        energy, first, second = super().exc_vxc_fxc(variables, spin)
        second[-1, -1] *= 1.0 + self.fault
        return energy, first, second


class OneTriangle(GoodFastPath):
    """Leaves the lower triangle empty."""

    def exc_vxc_fxc(
        self, variables: torch.Tensor, spin: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        energy, first, second = super().exc_vxc_fxc(variables, spin)
        return energy, first, second.permute(2, 0, 1).triu().permute(1, 2, 0)


class PackedTriangle(GoodFastPath):
    """Returns the upper triangle as one axis, as PySCF keeps it."""

    def exc_vxc_fxc(
        self, variables: torch.Tensor, spin: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        energy, first, second = super().exc_vxc_fxc(variables, spin)
        upper = torch.triu_indices(len(variables), len(variables))
        return energy, first, second[upper[0], upper[1]]


class WrongFirstOfSecondFastPath(WrongFastPath):
    """Its ``exc_vxc_fxc`` repeats the mistake of its ``exc_vxc``."""

    def exc_vxc_fxc(
        self, variables: torch.Tensor, spin: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return *self.exc_vxc(variables, spin), super().exc_vxc_fxc(variables, spin)[2]


class DetachedTau(Good):
    def energy_density(self, variables: torch.Tensor, spin: int) -> torch.Tensor:
        n = 2 if spin == 0 else 5
        return super().energy_density(torch.cat([variables[:n], variables[n:].detach()]), spin)


class WrongSecondDerivative(Good):
    def correlation(self, rho: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return super().correlation(rho, sigma) + 1e-3 * _Cube.apply(rho / (1.0 + rho))


class WrongThirdDerivative(Good):
    def correlation(self, rho: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        # x * x^3 with a factor that is right up to the second derivative.
        x = rho / (1.0 + rho)
        shift = (x - x.detach()) ** 3
        return super().correlation(rho, sigma) + 0.1 * shift


class NoGraph(Good):
    def energy_density(self, variables: torch.Tensor, spin: int) -> torch.Tensor:
        return super().energy_density(variables.detach(), spin)


class NanAtZero(Good):
    def correlation(self, rho: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return super().correlation(rho, sigma) + 1e-3 * rho * torch.log(rho)


class NanGradientAtZero(Good):
    """Finite energy, NaN gradient: the unguarded branch of torch.where."""

    def correlation(self, rho: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        extra = torch.where(rho > FLOOR, rho * torch.log(rho), 0.0)
        return super().correlation(rho, sigma) + 1e-3 * extra


class EnergyOfNothing(Good):
    def energy_density(self, variables: torch.Tensor, spin: int) -> torch.Tensor:
        return super().energy_density(variables, spin) - 1e-6


class NanWhenPolarized(Good):
    def energy_density(self, variables: torch.Tensor, spin: int) -> torch.Tensor:
        energy = super().energy_density(variables, spin)
        if spin == 1:
            rho = variables[0] + variables[1] + FLOOR
            zeta = (variables[0] - variables[1]) / rho
            energy = energy + 1e-3 * rho * (torch.sqrt(1 - zeta**2) - 1.0)
        return energy


class SpinAsymmetric(Good):
    def energy_density(self, variables: torch.Tensor, spin: int) -> torch.Tensor:
        energy = super().energy_density(variables, spin)
        if spin == 1:
            energy = energy - 1e-6 * (variables[0] - variables[1])
        return energy


class ClosedShellDiffers(Good):
    def energy_density(self, variables: torch.Tensor, spin: int) -> torch.Tensor:
        return super().energy_density(variables, spin) * (1.0 if spin else 1.0 + 1e-6)


class ClampsItsInput(Good):
    def energy_density(self, variables: torch.Tensor, spin: int) -> torch.Tensor:
        with torch.no_grad():
            variables[0].clamp_(min=1e-12)
        return super().energy_density(variables, spin)


class PointsTalk(Good):
    def energy_density(self, variables: torch.Tensor, spin: int) -> torch.Tensor:
        energy = super().energy_density(variables, spin)
        return energy * (1.0 + 1e-8 * energy.numel())


class IgnoresStrides(Good):
    def energy_density(self, variables: torch.Tensor, spin: int) -> torch.Tensor:
        rows = torch.as_strided(variables, tuple(variables.shape), (variables.shape[1], 1))
        return super().energy_density(rows, spin)


class SinglePrecisionInside(Good):
    def energy_density(self, variables: torch.Tensor, spin: int) -> torch.Tensor:
        return super().energy_density(variables.float(), spin).double()


class SinglePrecisionOut(Good):
    def energy_density(self, variables: torch.Tensor, spin: int) -> torch.Tensor:
        return super().energy_density(variables, spin).float()


class WrongShape(Good):
    def energy_density(self, variables: torch.Tensor, spin: int) -> torch.Tensor:
        return super().energy_density(variables, spin)[:, None]


class FailsWithoutPoints(Good):
    def energy_density(self, variables: torch.Tensor, spin: int) -> torch.Tensor:
        variables.max()
        return super().energy_density(variables, spin)


class NotAMetaGGA(Good):
    def channel(self, rho: torch.Tensor, sigma: torch.Tensor, tau: torch.Tensor) -> torch.Tensor:
        return super().channel(rho, sigma, 0.0 * tau)


class Zero(Good):
    def energy_density(self, variables: torch.Tensor, spin: int) -> torch.Tensor:
        return 0.0 * variables[0]


class Unpicklable(Good):
    def __init__(self) -> None:
        self.activation = lambda x: x


class ForgetsWeights(Good):
    """Its pickle loses a weight."""

    def __init__(self) -> None:
        self.weight = 2.0

    def __getstate__(self) -> dict[str, float]:
        return {"weight": 1.0}

    def energy_density(self, variables: torch.Tensor, spin: int) -> torch.Tensor:
        return self.weight * super().energy_density(variables, spin)


class Noisy(Good):
    def energy_density(self, variables: torch.Tensor, spin: int) -> torch.Tensor:
        return super().energy_density(variables, spin) * (1.0 + 1e-9 * torch.rand(()).item())


class ThreadDependent(Good):
    def energy_density(self, variables: torch.Tensor, spin: int) -> torch.Tensor:
        return super().energy_density(variables, spin) * (1.0 + 1e-4 * torch.get_num_threads())


class SetsDefaultDtypeOnLoad(Good):
    def __init__(self) -> None:
        torch.set_default_dtype(torch.float64)


class SetsEnvironmentOnUse(Good):
    def energy_density(self, variables: torch.Tensor, spin: int) -> torch.Tensor:
        os.environ["KAKEHASHI_TEST_LEAK"] = "1"
        return super().energy_density(variables, spin)


class LeaksAfterException(Good):
    """Restores the default dtype only if all goes well."""

    def energy_density(self, variables: torch.Tensor, spin: int) -> torch.Tensor:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        energy = super().energy_density(variables, spin)
        torch.set_default_dtype(before)
        return energy
