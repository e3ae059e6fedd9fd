"""A vector field that carries a liquid from one temperature to another, with its divergence in closed form.

The field is the gradient of a potential of two- and three-body terms,

    Phi = sum_{i<j} psi_ab(r_ij) + 1/2 sum_i sum_mn c_amn p_im . p_in,
    p_im = sum_j q_abm(r_ij) (x_i - x_j)/r_ij,

a and b the species of i and j. psi and c are linear in the weights and polynomials in the logarithm of the
temperature; q_m are softened powers of sigma_ab/r, so that the p_im are like the force on particle i. Cooling
contracts vibrations, each by its own stiffness; a pair potential alone contracts them all along the force.
Only differences of positions to the nearest image enter, and all functions end inside half the box: the field
is periodic, smooth, conserves the center of mass, and does not depend on the order of particles of one
species.

Source:
    J. Koehler, L. Klein, F. Noe, ICML 2020, for pair fields with closed-form divergence; G. Jung, G. Biroli,
    L. Berthier, arXiv:2404.09914, for flows between temperatures.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch

from kakehashi_botan.sampling.liquids import Liquid
from kakehashi_botan.sampling.radial_functions import (
    NEAREST,
    SPACING,
    RadialFunctions,
    softened_powers,
)

EXPONENTS = (3, 6, 9)


@dataclass(frozen=True, slots=True)
class Geometry:
    """All ordered pairs of some samples.

    Attributes:
        distance: (n_samples, n, n), a large number on the diagonal.
        direction: (x_i - x_j)/r_ij, (n_samples, n, n, dimension).
    """

    distance: torch.Tensor
    direction: torch.Tensor


class TransportField(torch.nn.Module):
    """The field of one liquid, for any temperature in a range.

    Args:
        liquid: What is carried.
        temperatures: Lowest and highest temperature.
        spacing: Of the radial functions, sigma_AA: finer ones follow noise.
        nearest: Center of the first one, sigma_AA; smaller where particles may overlap, and then without
            three-body terms, whose gradients are not smooth where two particles meet.
        exponents: Of the powers in the three-body terms; none for pairs only.
        degree: Of the polynomials in the logarithm of the temperature.

    Attributes:
        pair_weights: (degree + 1, n_species_pairs, n_functions), float64.
        vector_weights: (degree + 1, n_species, n_products), float64: of 1/2 p_m . p_m, and of p_m . p_n for
            m < n.
    """

    def __init__(
        self,
        liquid: Liquid,
        temperatures: tuple[float, float],
        *,
        spacing: float = SPACING,
        nearest: float = NEAREST,
        exponents: tuple[int, ...] = EXPONENTS,
        degree: int = 2,
    ) -> None:
        super().__init__()
        self.liquid = liquid
        self.temperatures = (float(min(temperatures)), float(max(temperatures)))
        self.spacing, self.degree = float(spacing), int(degree)
        self.exponents = tuple(int(n) for n in exponents)
        n_species = liquid.mixture.n_species
        self.nearest = float(nearest)
        self.radial = RadialFunctions(spacing, 0.5 * liquid.edge, nearest=nearest)
        n_functions = len(self.radial.centers)
        species = range(n_species)
        self.species_pairs = tuple(itertools.combinations_with_replacement(species, 2))
        products = itertools.combinations_with_replacement(range(len(self.exponents)), 2)
        self.products = np.array(list(products), dtype=np.int64).reshape(-1, 2).T
        size = degree + 1
        self.pair_weights = torch.nn.Parameter(
            torch.zeros(size, len(self.species_pairs), n_functions, dtype=torch.float64)
        )
        self.vector_weights = torch.nn.Parameter(
            torch.zeros(size, n_species, self.products.shape[1], dtype=torch.float64)
        )
        types = torch.as_tensor(liquid.types)
        self.register_buffer("types", types, persistent=False)
        table = torch.zeros(n_species, n_species, dtype=torch.int64)
        for number, (a, b) in enumerate(self.species_pairs):
            table[a, b] = table[b, a] = number
        self.register_buffer("pair_index", table[types[:, None], types], persistent=False)
        sigma = torch.as_tensor(np.array(liquid.mixture.sigma))
        self.register_buffer("sigma", sigma[types[:, None], types], persistent=False)

    types: torch.Tensor
    pair_index: torch.Tensor
    sigma: torch.Tensor

    def matrices(self, weights: torch.Tensor) -> torch.Tensor:
        """Return weights of products, (..., n_products), as symmetric matrices, (..., n, n)."""
        n = len(self.exponents)
        found = weights.new_zeros((*weights.shape[:-1], n, n))
        first, second = self.products
        found[..., first, second] = weights
        found[..., second, first] = weights
        return found

    def powers(self, temperature: float) -> torch.Tensor:
        """Return 1, t, t^2, ... of the reduced logarithm of a temperature, -1 to 1 over the range."""
        low, high = (torch.log(torch.tensor(t, dtype=torch.float64)) for t in self.temperatures)
        if high == low:
            t = torch.zeros((), dtype=torch.float64)
        else:
            t = (2.0 * torch.log(torch.tensor(temperature, dtype=torch.float64)) - high - low) / (
                high - low
            )
        return t ** torch.arange(len(self.pair_weights), dtype=torch.float64)

    def geometry(self, positions: torch.Tensor) -> Geometry:
        """Return distances and directions of all ordered pairs, to nearest images."""
        d = positions[:, :, None] - positions[:, None]
        d = d - self.liquid.edge * torch.round(d / self.liquid.edge)
        same = torch.eye(d.shape[1], dtype=torch.bool, device=d.device)
        far = 10.0 * self.liquid.edge
        r = d.square().sum(-1).masked_fill(same, far * far).sqrt()
        return Geometry(r, d / r[..., None])

    def forward(
        self, positions: torch.Tensor, temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return dx/dlambda for lambda = -ln T, and its divergence.

        Args:
            positions: (n_samples, n, dimension), float64.
            temperature: Where on the way.

        Returns:
            Velocities, (n_samples, n, dimension), and divergences, (n_samples,).
        """
        powers = self.powers(temperature).to(positions.device)
        pair = torch.einsum("d,dsk->sk", powers, self.pair_weights)[self.pair_index]
        weights = torch.einsum("d,dap->ap", powers, self.vector_weights)[self.types]
        geometry = self.geometry(positions)
        r, u = geometry.distance, geometry.direction
        functions = self.radial(r)
        dimension = positions.shape[-1]
        slope = torch.einsum("bijk,ijk->bij", functions[1], pair)
        bend = torch.einsum("bijk,ijk->bij", functions[2], pair)
        velocity = torch.einsum("bij,bijd->bid", slope, u)
        divergence = (bend + (dimension - 1) * slope / r).sum((1, 2))
        q1, _, w, p = parts = self._vectors(geometry)
        weighted = torch.einsum("imn,bind->bimd", self.matrices(weights), p)
        # G_ij = sum_m D_ijm (c p)_im with D = dp_i/dx_i of this pair: what i and -j feel.
        along = torch.einsum("bimd,bijd->bijm", weighted, u)
        pull = ((q1 - w) * along).sum(-1)[..., None] * u
        pull = pull + torch.einsum("bijm,bimd->bijd", w, weighted)
        velocity = velocity + pull.sum(2) - pull.sum(1)
        divergence = divergence + (weights * self._laplacians(geometry, parts)).sum((1, 2))
        return velocity, divergence

    def residual_features(self, positions: torch.Tensor, temperature: float) -> torch.Tensor:
        """Return Laplacian minus beta grad U . grad of every term of Phi, (n_samples, n_terms).

        Terms are in the order of one degree of ``pair_weights`` and ``vector_weights``, flattened.
        """
        geometry = self.geometry(positions)
        r, u = geometry.distance, geometry.direction
        beta, dimension = 1.0 / temperature, positions.shape[-1]
        gradient = self.energy_gradient(geometry)
        difference = gradient[:, :, None] - gradient[:, None]
        along = torch.einsum("bijd,bijd->bij", difference, u)
        functions = self.radial(r)
        pair = functions[2] + ((dimension - 1) / r - 0.5 * beta * along)[..., None] * functions[1]
        found = [
            (pair * (self.pair_index == number)[None, :, :, None]).sum((1, 2))
            for number in range(len(self.species_pairs))
        ]
        q1, _, w, p = parts = self._vectors(geometry)
        change = torch.einsum("bijm,bijd->bimd", q1 - w, along[..., None] * u)
        change = change + torch.einsum("bijm,bijd->bimd", w, difference)
        slopes = torch.einsum("bimd,bind->bimn", p, change)
        vector = self._laplacians(geometry, parts) - beta * self._both(slopes)
        n_species = self.liquid.mixture.n_species
        found += [vector[:, self.types == a].sum(1) for a in range(n_species)]
        return torch.cat(found, dim=1)

    def velocity_features(self, positions: torch.Tensor) -> torch.Tensor:
        """Return the gradient of every term of Phi, (n_samples, n, dimension, n_terms).

        Terms are in the order of ``residual_features``.
        """
        geometry = self.geometry(positions)
        r, u = geometry.distance, geometry.direction
        functions = self.radial(r)
        found = [
            torch.einsum(
                "ij,bijk,bijd->bidk", (self.pair_index == number).double(), functions[1], u
            )
            for number in range(len(self.species_pairs))
        ]
        q1, _, w, p = self._vectors(geometry)
        # What p_n does through the derivative of p_m.
        along = torch.einsum("bind,bijd->bijn", p, u)
        pull = torch.einsum("bijm,bijn,bijd->bijdmn", q1 - w, along, u)
        pull = pull + torch.einsum("bijm,bind->bijdmn", w, p)
        pull = self._both(pull)
        for species in range(self.liquid.mixture.n_species):
            own = pull * (self.types == species)[None, :, None, None, None]
            found.append(own.sum(2) - own.sum(1))
        return torch.cat(found, dim=-1)

    def energy_gradient(self, geometry: Geometry) -> torch.Tensor:
        """Return the gradient of the potential energy, (n_samples, n, dimension)."""
        terms = torch.as_tensor(self.liquid.terms, device=geometry.distance.device)
        twelve, six, square, slope, _ = terms[:, self.types[:, None], self.types]
        r = geometry.distance
        sixth = r**-6
        derivative = -6.0 * (2.0 * twelve * sixth - six) * sixth / r - slope
        derivative = torch.where(r * r < square, derivative, torch.zeros_like(r))
        return torch.einsum("bij,bijd->bid", derivative, geometry.direction)

    def _both(self, values: torch.Tensor) -> torch.Tensor:
        """Return (..., n, n) as (..., n_products): the diagonal, and sums of both sides of it."""
        first, second = self.products
        different = torch.as_tensor(first != second, device=values.device)
        return values[..., first, second] + different * values[..., second, first]

    def _vectors(self, geometry: Geometry) -> tuple[torch.Tensor, ...]:
        """Return q', q'', q/r, each (n_samples, n, n, n_powers), and p, (n_samples, n, n_powers, d)."""
        r = geometry.distance
        sigma = self.sigma.expand_as(r)
        q, q1, q2 = softened_powers(r, sigma, self.exponents, self.radial.reach)
        return q1, q2, q / r[..., None], torch.einsum("bijm,bijd->bimd", q, geometry.direction)

    def _laplacians(self, geometry: Geometry, parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Return Laplacians of 1/2 p_m . p_m, and of p_m . p_n for m < n, (n_samples, n, n_products)."""
        r, u = geometry.distance, geometry.direction
        q1, q2, w, p = parts
        dimension = u.shape[-1]
        eye = torch.eye(dimension, dtype=u.dtype, device=u.device)
        # The product of the two directions first: the three together would be a large array.
        outer = (u[..., :, None] * u[..., None, :]).flatten(-2)
        own = torch.einsum("bijm,bijx->bimx", q1 - w, outer)
        own = own + w.sum(2)[..., None] * eye.flatten()
        curvature = q2 + (dimension - 1) * (q1 - w) / r[..., None]
        bend = torch.einsum("bijm,bijd->bimd", curvature, u)
        found = torch.einsum("bimx,binx->bimn", own, own)
        found = found + torch.einsum("bijm,bijn->bimn", q1, q1)
        found = found + (dimension - 1) * torch.einsum("bijm,bijn->bimn", w, w)
        return self._both(found + 2.0 * torch.einsum("bimd,bind->bimn", p, bend))
