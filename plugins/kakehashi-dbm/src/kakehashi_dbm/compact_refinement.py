"""Learned layers at any size: the overlap with the thermal state grows along its natural gradient.

Both <Psi|Phi>, with Phi the machine of many equal layers, and <Psi|Psi> are loops of positive weight, so that

    d ln F / d theta_k = 2 (<o_k> in the loop of <Psi|Phi> - <o_k> in that of <Psi|Psi>),
    o_k = d ln w / d theta_k of the layer,  F = |<Psi|Phi>|^2 / (<Psi|Psi> <Phi|Phi>)

are averages of layers. The metric of stochastic reconfiguration is the covariance of o_k in Psi with o_l in
its conjugate, which share s and s' only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_core.random_streams import recorded_seed
from kakehashi_dbm.arguments import number, spin_model, whole
from kakehashi_dbm.cluster_updates import ClusterUpdate, random_loops
from kakehashi_dbm.compact_network import (
    CompactNetwork,
    dense_infidelity,
    fit_compact,
    mirrored,
    model_digest,
    overlap_loop,
    ring_infidelity,
)
from kakehashi_dbm.ising_loop import IsingLoop, Spins
from kakehashi_dbm.ising_model import IsingModel, clean_ring
from kakehashi_dbm.line_averages import history_averages
from kakehashi_quspin.spin_model import SpinModel

FloatArray = npt.NDArray[np.float64]

LARGEST_FIT = 8
"""Sites up to which a fit uses matrices."""
START_RING = 8
N_CHAINS = 8
WARMUP = 30
TARGET_STEP = 0.05
LONGEST_STEP = 0.1
"""Largest change of the logarithm of a time in one iteration."""
RATE, RATE_DECAY = 0.3, 30.0
"""Share RATE / (1 + k / RATE_DECAY) of the natural step is taken: noise is averaged out over steps k."""
MEMORY = 0.995
"""Share of the metric that is kept from iteration to iteration."""
N_BLOCKS = 6
SHIFT = 1e-3
"""Smallest eigenvalues of the metric that are believed, relative to the largest."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Refinement:
    """What a refinement found.

    Attributes:
        network: Where the last two thirds of the iterations point, as far as it differs from the start by
            more than their noise.
        logs: Logarithms of its times, by iteration, (n_iterations, n_parameters).
    """

    network: CompactNetwork
    logs: FloatArray


def fit_network(
    model: SpinModel,
    beta: float,
    n_layers: int,
    *,
    n_iterations: int = 60,
    n_measurements: int = 100,
    per_bond: bool = False,
    seed: int | None = None,
) -> CompactNetwork:
    """Return learned layers for a model at one temperature.

    Clean rings are fitted by free fermions and small systems by matrices, both exactly. Any other model
    starts from a ring with its mean couplings, and is refined by sampling.

    Args:
        model: Ising model in a transverse field.
        beta: Inverse temperature, positive.
        n_layers: Transverse layers.
        n_iterations: Of ``refine``.
        n_measurements: Of ``refine``.
        per_bond: Times of their own for every bond, field and site.
        seed: Of the sampling.

    Raises:
        UnsupportedError: If it is no such model.
        InvalidInputError: If a number makes no sense.
    """
    ising = IsingModel.from_spin_model(spin_model(model))
    whole("n_layers", n_layers, least=1)
    number("beta", beta, least=0.0)
    n = ising.n_sites
    couplings, fields = np.abs(ising.couplings), ising.transverse
    if not len(couplings) or not fields.any():
        raise UnsupportedError("learned layers need couplings and transverse fields")
    ring = clean_ring(ising)
    if ring is not None:
        found = fit_compact(beta, n_layers, ring_infidelity(n, *ring, beta))
        return replace(found, model=model_digest(model))
    if n <= LARGEST_FIT and not per_bond:
        found = fit_compact(beta, n_layers, dense_infidelity(ising, beta))
        return replace(found, model=model_digest(model))
    j, g = float(couplings.mean()), float(fields.mean())
    start = fit_compact(beta, n_layers, ring_infidelity(START_RING, j, g, beta))
    return refine(
        start,
        model,
        n_iterations=n_iterations,
        n_measurements=n_measurements,
        per_bond=per_bond,
        seed=seed,
    ).network


def refine(
    network: CompactNetwork,
    model: SpinModel,
    *,
    n_iterations: int = 60,
    n_measurements: int = 100,
    per_bond: bool = False,
    seed: int | None = None,
) -> Refinement:
    """Return the network moved closer to the thermal state of a model, by sampling.

    Args:
        network: Where to start, such as one that was fitted to a small system.
        model: The target, of any size and graph.
        n_iterations: Steps; their noise is averaged over, so that more of them give a better network.
        n_measurements: Of each of eight chains and each loop, in a step.
        per_bond: Times of their own for every bond, field and site, for disorder.
        seed: Of everything; None draws one.

    Raises:
        InvalidInputError: If a number makes no sense.
    """
    if n_iterations < 2 * N_BLOCKS or n_measurements < 2:
        raise InvalidInputError(
            f"n_iterations must be at least {2 * N_BLOCKS} and n_measurements 2, got {n_iterations} and "
            f"{n_measurements}"
        )
    ising = IsingModel.from_spin_model(spin_model(model))
    rng = np.random.default_rng(recorded_seed(seed))
    largest = max(
        float(np.abs(c).max(initial=0.0))
        for c in (ising.couplings, ising.longitudinal, ising.transverse)
    )
    target = CompactNetwork.uniform(
        network.beta, max(4, round(0.5 * network.beta * largest / TARGET_STEP))
    )
    layout = _Layout(ising, network.n_layers, per_bond)
    logs = layout.logs(network)
    metric = np.zeros((len(logs), len(logs)))
    own = mixed = None
    start = logs
    path, targets = [], []
    for k in range(n_iterations):
        current = layout.network(logs, network.beta)
        loop = overlap_loop(ising, current, current)
        push, here, own = _measured(loop, layout, current, n_measurements, own, rng, replicas=True)
        loop = overlap_loop(ising, current, target)
        pull, _, mixed = _measured(loop, layout, current, n_measurements, mixed, rng)
        weight = max(1.0 - MEMORY, 1.0 / (k + 1.0))
        metric = (1.0 - weight) * metric + weight * here
        newton = _solved(metric, pull - push)
        targets.append(logs + newton)
        step = RATE / (1.0 + k / RATE_DECAY) * newton
        logs = logs + step * min(1.0, LONGEST_STEP / max(float(np.abs(step).max()), 1e-300))
        path.append(logs)
    last = _believed(start, np.array(targets[n_iterations // 3 :]), metric)
    better = replace(layout.network(last, network.beta), model=model_digest(model))
    return Refinement(network=better, logs=np.array(path))


class _Layout:
    """Logarithms of times, with layers tied that read the same from both ends."""

    def __init__(self, model: IsingModel, n_layers: int, per_bond: bool) -> None:
        self.model, self.n_layers, self.per_bond = model, n_layers, per_bond
        self.n_diagonal, self.n_transverse = (n_layers + 2) // 2, (n_layers + 1) // 2
        self.widths = (len(model.bonds) + model.n_sites, model.n_sites) if per_bond else (1, 1)

    def logs(self, network: CompactNetwork) -> FloatArray:
        parts = []
        for times, n, width in (
            (network.diagonal, self.n_diagonal, self.widths[0]),
            (network.transverse, self.n_transverse, self.widths[1]),
        ):
            wide = times[:, None] if times.ndim == 1 else times
            if wide.shape[1] not in {1, width}:
                raise InvalidInputError(
                    "the network has times for every bond; refine with per_bond=True"
                )
            parts.append(np.broadcast_to(wide[:n], (n, width)).ravel())
        return np.log(np.concatenate(parts))

    def network(self, logs: FloatArray, beta: float) -> CompactNetwork:
        times = np.exp(logs)
        split = self.n_diagonal * self.widths[0]
        halves = (
            times[:split].reshape(-1, self.widths[0]),
            times[split:].reshape(-1, self.widths[1]),
        )
        layers = [
            mirrored(half, length)
            for half, length in zip(halves, (self.n_layers + 1, self.n_layers), strict=True)
        ]
        if not self.per_bond:
            layers = [times[:, 0] for times in layers]
        return CompactNetwork(beta=beta, diagonal=layers[0], transverse=layers[1])

    def derivatives(
        self,
        pairs: FloatArray,
        spins: FloatArray,
        together: FloatArray,
        network: CompactNetwork,
        layers: tuple[list[int], list[int]],
    ) -> FloatArray:
        """Return o_k of one half of the loop, (n_chains, n_parameters), up to constants.

        Args:
            pairs: s s of each bond, (n_chains, n_slices, n_bonds).
            spins: s, (n_chains, n_slices, n_sites).
            together: s_t s_{t+1}, the same shape.
            network: Whose layers they are.
            layers: Slice of each of a_0 ... a_L, and link of each of b_1 ... b_L.
        """
        model = self.model
        slices, links = layers
        diagonal = np.concatenate(
            [pairs[:, slices] * model.couplings, spins[:, slices] * model.longitudinal], axis=2
        )
        wide = network.transverse[:, None] if network.transverse.ndim == 1 else network.transverse
        g = np.maximum(wide * model.transverse, 1e-300)
        # d ln(coth g) / 2 dg = -1 / sinh(2 g); beyond 300 it is nothing.
        slope = np.where(g > 1e-200, -model.transverse / np.sinh(2.0 * np.minimum(g, 300.0)), 0.0)
        transverse = together[:, links] * slope
        if not self.per_bond:
            diagonal = diagonal.sum(axis=2, keepdims=True)
            transverse = transverse.sum(axis=2, keepdims=True)
        tied = []
        for values, times, n in (
            (diagonal, network.diagonal, self.n_diagonal),
            (transverse, network.transverse, self.n_transverse),
        ):
            # Derivatives by the logarithm of a time.
            by_log = values * (times[:, None] if times.ndim == 1 else times)
            length = by_log.shape[1]
            first = by_log[:, :n].copy()
            first[:, : length - n] += by_log[:, n:][:, ::-1]
            tied.append(first.reshape(len(first), -1))
        return np.concatenate(tied, axis=1)


def _measured(
    loop: IsingLoop,
    layout: _Layout,
    network: CompactNetwork,
    n_measurements: int,
    spins: Spins | None,
    rng: np.random.Generator,
    *,
    replicas: bool = False,
) -> tuple[FloatArray, FloatArray, Spins]:
    """Return averages of o_k in the ket, the metric, and where chains are.

    Averages are over histories of spins; the metric needs the spins themselves, of the ket and of the bra.
    """
    kernel = ClusterUpdate(loop)
    state = kernel.start(random_loops(loop, rng, N_CHAINS) if spins is None else spins)
    for _ in range(WARMUP):
        state = kernel.step(state, rng).state
    n = layout.n_layers
    halves = [(list(range(n, -1, -1)), list(range(n - 1, -1, -1)))]
    if replicas:
        halves.append(([*range(n, 2 * n), 0], list(range(n, 2 * n))))
    i, j = loop.bonds.T
    means: list[FloatArray] = []
    samples: list[list[FloatArray]] = [[] for _ in halves]
    for _ in range(n_measurements):
        state = kernel.step(state, rng).state
        s = state.positions.astype(float)
        z, _, links = history_averages(loop, state.positions)
        pairs = 0.5 * (z[..., i] * s[..., j] + s[..., i] * z[..., j])
        values = [layout.derivatives(pairs, z, links, network, half) for half in halves]
        means.append(np.mean(values, axis=0))
        if replicas:
            raw = s[..., i] * s[..., j], s, s * np.roll(s, -1, axis=1)
            for found, half in zip(samples, halves, strict=True):
                found.append(layout.derivatives(*raw, network, half))
    mean = np.concatenate(means).mean(axis=0)
    if not replicas:
        return mean, np.zeros((0, 0)), state.positions
    ket, bra = (np.concatenate(one) for one in samples)
    a, b = ket - ket.mean(axis=0), bra - bra.mean(axis=0)
    return mean, 0.5 * (a.T @ b + b.T @ a) / len(a), state.positions


def _believed(start: FloatArray, targets: FloatArray, metric: FloatArray) -> FloatArray:
    """Return the mean of noisy targets, drawn back to the start where it is not significant.

    Directions of the metric are taken one by one, each with the positive part of 1 - (error / change)^2;
    those in which the metric is noise stay at the start.

    Source:
        W. James, C. Stein, Proc. 4th Berkeley Symp. Math. Stat. Prob. 1, 361 (1961).
    """
    directions = _trusted(metric)[1]
    # Successive targets share chains and metric: blocks of them are nearly independent.
    parts = np.array_split((targets - start) @ directions, N_BLOCKS)
    blocks = np.array([part.mean(axis=0) for part in parts])
    along, variances = blocks.mean(axis=0), blocks.var(axis=0, ddof=1) / len(blocks)
    share = np.maximum(0.0, 1.0 - variances / np.maximum(along**2, 1e-300))
    return np.asarray(start + directions @ (share * along))


def _solved(metric: FloatArray, force: FloatArray) -> FloatArray:
    """Solve with what noise made negative or small left out."""
    values, vectors = _trusted(metric)
    return np.asarray(vectors @ ((vectors.T @ force) / values))


def _trusted(metric: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return eigenvalues and eigenvectors, (n_kept,) and (n_parameters, n_kept), that are above the noise."""
    values, vectors = np.linalg.eigh(metric)
    kept = values > SHIFT * values.max()
    return values[kept], vectors[:, kept]
