"""Square lattices that the studies are about, and configurations to learn from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.chains import ChainState, warm_up
from kakehashi_slmc.distance_shells import DistanceShells, distance_shells
from kakehashi_slmc.effective_training import TrainingSample
from kakehashi_slmc.lattices import Lattice, lattice
from kakehashi_slmc.self_learner import SelfLearner
from kakehashi_slmc.spin_fermion import SpinFermion
from kakehashi_slmc.unit_vectors import random_spins

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Double exchange on a periodic square lattice, t = 1.

    Attributes:
        length: Sites along each direction.
        coupling: J.
        chemical_potential: mu.
        temperature: T.
    """

    length: int = 6
    coupling: float = 1.0
    chemical_potential: float = 0.0
    temperature: float = 0.05

    @property
    def label(self) -> str:
        """Short name."""
        return (
            f"{self.length}x{self.length}, J = {self.coupling:g}, mu = {self.chemical_potential:g}, "
            f"T = {self.temperature:g}"
        )

    @property
    def lattice(self) -> Lattice:
        """Sites and hopping."""
        return lattice("square", (self.length, self.length))

    @property
    def shells(self) -> DistanceShells:
        """Classes of pairs."""
        found = self.lattice
        return distance_shells(found.positions, found.cell)

    @property
    def signs(self) -> FloatArray | None:
        """What orders: staggered signs at half filling, else None for the magnetization."""
        return self.lattice.sublattice if self.chemical_potential == 0.0 else None

    @property
    def model(self) -> SpinFermion:
        """The exact weight."""
        return SpinFermion.from_matrix(
            self.lattice.hopping,
            self.coupling,
            temperature=self.temperature,
            chemical_potential=self.chemical_potential,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the numbers, for keys of stored results."""
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Configurations:
    """Configurations of several chains with exact log-weights, and where the chains ended.

    Attributes:
        sample: Of the chains that are fitted.
        validation: Of the others.
        last: Where all chains stand.
    """

    sample: TrainingSample
    validation: TrainingSample
    last: ChainState


def configurations(
    case: Case,
    *,
    n_chains: int = 16,
    n_steps: int = 420,
    n_gradients: int = 0,
    seed: int,
) -> Configurations:
    """Sample with the linear model that is learned on the fly; one chain in four is kept apart.

    Args:
        case: What is sampled.
        n_chains: Chains.
        n_steps: Measured configurations of each.
        n_gradients: How many of the fitted configurations get gradients too; the others are dropped then.
        seed: Of everything.
    """
    model = case.model
    kernel = SelfLearner(model, case.shells)
    rng = np.random.default_rng(seed)
    state = kernel.start(random_spins(rng, n_chains, model.n_sites))
    state = warm_up(kernel, state, rng, 2 * kernel.least_warmup)
    spins, weights = [], []
    for _ in range(n_steps):
        state = kernel.step(state, rng).state
        spins.append(state.positions)
        weights.append(state.log_weights)
    unseen = np.zeros((n_steps, n_chains), dtype=bool)
    unseen[:, ::4] = True
    every, values = np.array(spins), np.array(weights)
    sample = TrainingSample(spins=every[~unseen], log_weights=values[~unseen])
    if n_gradients:
        chosen = rng.choice(len(sample.log_weights), size=n_gradients, replace=False)
        exact, gradients = model.value_and_gradient(sample.spins[chosen])
        sample = TrainingSample(spins=sample.spins[chosen], log_weights=exact, gradients=gradients)
    return Configurations(
        sample=sample,
        validation=TrainingSample(spins=every[unseen], log_weights=values[unseen]),
        last=state,
    )
