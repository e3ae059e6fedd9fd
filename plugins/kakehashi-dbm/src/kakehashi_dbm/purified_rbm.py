"""A restricted Boltzmann machine with pair couplings, on physical and ancilla spins."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError
from kakehashi_dbm.machine_builder import transverse_coupling
from kakehashi_quspin.spin_model import SpinModel

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Array = npt.NDArray[np.float64] | npt.NDArray[np.complex128]
Spins = npt.NDArray[np.int8]

START_WIDTH = 0.005
"""Spread of the first weights of filters."""


class PurifiedRBM:
    """ln Psi(s, s') = fields + pairs + sum over filters f and symmetries g of ln cosh(b_f + W_f . g(s, s')).

    Pairs are s_i s_j, s'_i s'_j and s_i s'_j; parameters that symmetries or the exchange of s and s' map
    onto each other are one.

    Args:
        n_sites: Number of spins.
        n_filters: Filters.
        symmetries: Permutations of sites, (n_symmetries, n_sites), a group; None for the identity.
        complex_weights: Weights with imaginary parts, for states with signs.

    Attributes:
        n_parameters: Real parameters.
    """

    def __init__(
        self,
        n_sites: int,
        n_filters: int,
        *,
        symmetries: npt.ArrayLike | None = None,
        complex_weights: bool = False,
    ) -> None:
        if n_filters < 1:
            raise InvalidInputError(f"n_filters must be at least 1, got {n_filters}")
        own = np.arange(n_sites)[None] if symmetries is None else np.asarray(symmetries, dtype=int)
        self.n_sites, self.n_filters, self.complex_weights = n_sites, n_filters, complex_weights
        # On the doubled system, with and without exchange of s and s'.
        straight = np.concatenate([own, own + n_sites], axis=1)
        self._group = np.concatenate([straight, np.roll(straight, n_sites, axis=1)])
        self._fields, self._pairs, self._orbit = _orbits(self._group)
        self._n_linear = self._fields.shape[1] + self._pairs.shape[1]
        n_real = self._n_linear + n_filters * (2 * n_sites + 1)
        self.n_parameters = n_real * (2 if complex_weights else 1)

    def start(self, model: SpinModel, beta: float, rng: np.random.Generator) -> FloatArray:
        """Return parameters at a high temperature: transverse fields act first.

        Raises:
            InvalidInputError: If a site has no transverse field: s and s' are tied there at first.
        """
        n, n_fields = self.n_sites, self._fields.shape[1]
        theta = np.zeros(self._n_linear + self.n_filters * (2 * n + 1))
        for i in range(n):
            strength = abs(model.terms.get(((i, "x"),), 0.0))
            if strength == 0.0:
                raise InvalidInputError(
                    f"site {i} has no transverse field, from which this network starts; use ansatz='gates'"
                )
            theta[n_fields + self._orbit[i, n + i]] = transverse_coupling(0.5 * beta * strength)
        # exp(-beta V / 4) on both sides of the fields: a symmetric Trotter step.
        for string, c in model.terms.items():
            sites = [i for i, _ in string]
            letters = "".join(a for _, a in string)
            if letters == "zz":
                theta[n_fields + self._orbit[sites[0], sites[1]]] = -0.25 * beta * c
            elif letters == "z":
                theta[np.flatnonzero(self._fields[sites[0]])[0]] = -0.25 * beta * c
        theta[self._n_linear :] = START_WIDTH * rng.normal(size=len(theta) - self._n_linear)
        if not self.complex_weights:
            return theta
        return np.concatenate([theta, np.zeros_like(theta)])

    def log_psi(self, theta: FloatArray, spins: Spins, ancillas: Spins) -> Array:
        """Return ln Psi, (n,), of spins and ancillas, (n, n_sites) each."""
        linear, bias, weights = self._split(theta)
        features, angles = self._seen(spins, ancillas, bias, weights)
        return np.asarray(features @ linear + _log_cosh(angles).sum(axis=(1, 2)))

    def derivatives(self, theta: FloatArray, spins: Spins, ancillas: Spins) -> Array:
        """Return d ln Psi / d theta, (n, n_parameters)."""
        _, bias, weights = self._split(theta)
        features, angles = self._seen(spins, ancillas, bias, weights)
        slopes = np.tanh(angles)
        both = np.concatenate([spins, ancillas], axis=1).astype(float)
        turned = both[:, self._group]
        by_weight = np.einsum("ngf,ngi->nfi", slopes, turned, optimize=True)
        found = np.concatenate(
            [features, slopes.sum(axis=1), by_weight.reshape(len(spins), -1)], axis=1
        )
        return np.concatenate([found, 1j * found], axis=1) if self.complex_weights else found

    def _split(self, theta: FloatArray) -> tuple[Array, Array, Array]:
        values: Array = theta
        if self.complex_weights:
            half = len(theta) // 2
            values = theta[:half] + 1j * theta[half:]
        linear, rest = values[: self._n_linear], values[self._n_linear :]
        return linear, rest[: self.n_filters], rest[self.n_filters :].reshape(self.n_filters, -1)

    def _seen(
        self, spins: Spins, ancillas: Spins, bias: Array, weights: Array
    ) -> tuple[FloatArray, Array]:
        """Return sums over orbits, (n, n_linear), and angles of filters, (n, n_group, n_filters)."""
        both = np.concatenate([spins, ancillas], axis=1).astype(float)
        products = (both[:, :, None] * both[:, None, :]).reshape(len(both), -1)
        features = np.concatenate([both @ self._fields, products @ self._pairs], axis=1)
        # W . g(x) is the inverse of g on W times x.
        moved = np.zeros((len(self._group), *weights.shape), dtype=weights.dtype)
        for k, g in enumerate(self._group):
            moved[k][:, g] = weights
        angles = np.einsum("ni,gfi->ngf", both, moved, optimize=True) + bias
        return features, angles


def invariant_permutations(model: SpinModel, permutations: npt.ArrayLike) -> IntArray:
    """Return permutations of sites after a test that they leave the model as it is.

    Args:
        model: Spin model.
        permutations: Site i goes to permutations[k, i], (n, n_sites).

    Raises:
        InvalidInputError: If one is no permutation, or changes the model.
    """
    found = np.atleast_2d(np.asarray(permutations, dtype=np.int64))
    for row in found:
        if sorted(row.tolist()) != list(range(model.n_sites)):
            raise InvalidInputError(f"{row.tolist()} is no permutation of {model.n_sites} sites")
        for string, c in model.terms.items():
            moved = tuple(sorted((int(row[i]), a) for i, a in string))
            if abs(model.terms.get(moved, 0.0) - c) > 1e-10 * abs(c):
                raise InvalidInputError(
                    f"the permutation {row.tolist()} is no symmetry of the model: it changes the term "
                    f"{' '.join(f'{a}_{i}' for i, a in string)}"
                )
    return found


def ring_translations(model: SpinModel) -> IntArray:
    """Return the translations of a ring that leave the model as it is, (n, n_sites), with the identity."""
    n = model.n_sites
    kept = []
    for shift in range(n):
        row = (np.arange(n) + shift) % n
        try:
            invariant_permutations(model, row)
        except InvalidInputError:
            continue
        kept.append(row)
    return np.array(kept)


def _orbits(group: IntArray) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return indicators of single-spin and pair orbits, and the orbit of each pair, on the doubled system."""
    n = group.shape[1]
    single = np.full(n, -1)
    for i in range(n):
        if single[i] < 0:
            single[group[:, i]] = single.max() + 1
    pair = np.full((n, n), -1)
    for i in range(n):
        for j in range(n):
            if i != j and pair[i, j] < 0:
                number = pair.max() + 1
                pair[group[:, i], group[:, j]] = number
                pair[group[:, j], group[:, i]] = number
    fields = np.eye(single.max() + 1)[single]
    pairs = np.zeros((n * n, pair.max() + 1))
    upper = np.triu(np.ones((n, n), dtype=bool), 1).ravel()
    pairs[np.flatnonzero(upper), pair.ravel()[upper]] = 1.0
    return fields, pairs, pair


def _log_cosh(x: Array) -> Array:
    if np.iscomplexobj(x):
        return np.asarray(np.log(np.cosh(x)))
    size = np.abs(x)
    return np.asarray(size + np.log1p(np.exp(-2.0 * size)) - np.log(2.0))
