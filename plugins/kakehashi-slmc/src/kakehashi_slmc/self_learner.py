"""Self-learning Monte Carlo from scratch: bootstrap, learn during the warm-up, freeze."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.chains import ChainState, Kernel, Step
from kakehashi_core.errors import InvalidInputError
from kakehashi_slmc.distance_shells import DistanceShells
from kakehashi_slmc.effective_training import TrainingSample, expected_acceptance
from kakehashi_slmc.heat_bath import PairSweeps
from kakehashi_slmc.learned_models import EffectiveModel, Linear, ModelKind
from kakehashi_slmc.linear_model import LinearModel
from kakehashi_slmc.self_learning import Inner, Nested, SelfLearning
from kakehashi_slmc.spin_fermion import SpinFermion
from kakehashi_slmc.spin_kernels import SphereHMC

FloatArray = npt.NDArray[np.float64]

VALIDATION_CHAINS = 4
"""One chain in so many is not fitted; of fewer chains, the last quarter of each."""
TIMES = (1, 2, 4, 8)
"""Moves of the linear model for each exact weight that are tried with a better model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedModel:
    """What was learned at a refit.

    Attributes:
        kind: Name of the model that decides before the exact one does.
        times: Moves of the linear model for each exact weight.
        variances: Of log W - log W_eff on chains that were not fitted, by the name of the model.
    """

    kind: str
    times: int
    variances: Mapping[str, float]


class SelfLearner(Kernel):
    """Self-learning Monte Carlo that needs nothing but the exact model.

    The warm-up of ``run_chains`` bootstraps with hybrid Monte Carlo, fits a linear model to exact
    log-weights, goes on with it, and fits again to what it has seen since, with further kinds of models where
    they make an independent sample cheaper. After the warm-up nothing changes any more.

    Args:
        exact: Model that is sampled.
        shells: Classes of pairs.
        kinds: Models that are tried besides the linear one.
        bootstrap: Trajectories of hybrid Monte Carlo at first.
        refit_every: Steps between fits.
        n_sweeps: Pairs of sweeps of one linear move.
        memory: Configurations that are remembered, the last ones.
        step_size: Of hybrid Monte Carlo at first; adapted.
        n_steps: Leapfrog steps of a trajectory.
        seed: Of trainings that draw numbers.

    Attributes:
        learned: What the last fit found; None before.
    """

    def __init__(
        self,
        exact: SpinFermion,
        shells: DistanceShells,
        *,
        kinds: Sequence[ModelKind] = (),
        bootstrap: int = 60,
        refit_every: int = 60,
        n_sweeps: int = 2,
        memory: int = 4000,
        step_size: float | None = None,
        n_steps: int = 8,
        seed: int = 0,
    ) -> None:
        if bootstrap < 10 or refit_every < 10:
            raise InvalidInputError(
                f"bootstrap and refit_every must be at least 10, got {bootstrap} and {refit_every}"
            )
        for name, number, least in (("n_sweeps", n_sweeps, 1), ("memory", memory, 2)):
            if number < least:
                raise InvalidInputError(f"{name} must be at least {least}, got {number}")
        self._exact, self._linear_kind, self._kinds = exact, Linear(shells), tuple(kinds)
        self._bootstrap, self._refit_every, self._memory = bootstrap, refit_every, memory
        self._n_sweeps, self._seed = n_sweeps, seed
        self._hybrid = SphereHMC(
            exact, step_size=step_size or first_step_size(exact), n_steps=n_steps
        )
        self._n = 0
        self._spins: list[FloatArray] = []
        self._weights: list[FloatArray] = []
        self._arrays: dict[str, dict[str, FloatArray]] = {}
        self._kernel: Kernel = self._hybrid
        self._inner: Inner | None = None
        self.linear: LinearModel | None = None
        self.learned: LearnedModel | None = None

    @property
    def inner(self) -> Inner:
        """What was learned, as the inner moves of a ``SelfLearning`` kernel of its own.

        Raises:
            InvalidInputError: If nothing was learned yet.
        """
        if self._inner is None:
            raise InvalidInputError(
                f"nothing was learned yet; warm up for {self.least_warmup} steps at least"
            )
        return self._inner

    @property
    def least_warmup(self) -> int:
        """Steps of the shortest warm-up that ends with a model fitted to its own chain."""
        return self._bootstrap + self._refit_every + 1

    def start(self, positions: FloatArray) -> ChainState:
        """See the base class."""
        return self._hybrid.start(positions)

    def step(self, state: ChainState, rng: np.random.Generator) -> Step:
        """See the base class."""
        return self._kernel.step(state, rng)

    def adapt(self, step: Step) -> None:
        """Remember where the chains are, and learn from it when it is time."""
        self._n += 1
        after = self._n - self._bootstrap
        if after <= 0:
            self._hybrid.adapt(step)
        # The first third of the bootstrap is on its way from wherever the chains started.
        if self._n > self._bootstrap // 3:
            self._spins.append(step.state.positions)
            self._weights.append(step.state.log_weights)
            kept = max(2, self._memory // step.state.n_chains)
            self._spins, self._weights = self._spins[-kept:], self._weights[-kept:]
        if after >= 0 and after % self._refit_every == 0:
            self._learn()

    def state_dict(self) -> dict[str, Any]:
        """See the base class."""
        learned = self.learned
        return {
            "n": self._n,
            "hybrid": self._hybrid.state_dict(),
            "spins": np.array(self._spins),
            "weights": np.array(self._weights),
            "models": {name: dict(arrays) for name, arrays in self._arrays.items()},
            "learned": None
            if learned is None
            else {
                "kind": learned.kind,
                "times": learned.times,
                "variances": dict(learned.variances),
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See the base class."""
        self._n = int(state["n"])
        self._hybrid.load_state_dict(state["hybrid"])
        self._spins, self._weights = list(state["spins"]), list(state["weights"])
        self._arrays = {
            name: {k: np.array(v) for k, v in arrays.items()}
            for name, arrays in state["models"].items()
        }
        # A state from before anything was learned: what was learned since is forgotten.
        self._kernel, self._inner, self.linear, self.learned = self._hybrid, None, None, None
        if state["learned"] is not None:
            self.learned = LearnedModel(
                kind=str(state["learned"]["kind"]),
                times=int(state["learned"]["times"]),
                variances=dict(state["learned"]["variances"]),
            )
            self._use(self.learned)

    def _learn(self) -> None:
        sample, validation = self._split()
        seed = self._seed + self._n
        kinds: tuple[ModelKind, ...] = (self._linear_kind, *self._kinds)
        models = {k.name: k.fit(sample, validation, seed=seed) for k in kinds}
        self._arrays = {k.name: k.arrays(models[k.name]) for k in kinds}
        spins, weights = validation.spins, validation.log_weights
        found = {name: model(spins) for name, model in models.items()}
        variances = {name: float(np.var(weights - values)) for name, values in found.items()}
        linear = self._linear_kind.name
        best, best_cost = LearnedModel(kind=linear, times=1, variances=variances), 0.0
        best_cost = (1.0 / expected_acceptance(variances[linear]) - 0.5) * (
            1.0 + self._linear_kind.cost
        )
        for kind in self._kinds:
            inner = expected_acceptance(float(np.var(found[kind.name] - found[linear])))
            for times in TIMES:
                moved = 1.0 - (1.0 - inner) ** times
                share = moved * expected_acceptance(variances[kind.name])
                cost = (1.0 / share - 0.5) * (
                    moved + times * self._linear_kind.cost + (times + 1) * kind.cost
                )
                if cost < best_cost:
                    best = LearnedModel(kind=kind.name, times=times, variances=variances)
                    best_cost = cost
        self.learned = best
        self._use(best)

    def _use(self, learned: LearnedModel) -> None:
        """Make the kernel of what was learned."""
        linear = self._linear_kind.restore(self._arrays[self._linear_kind.name])
        self.linear = linear
        sweeps = PairSweeps(linear.couplings, n_sweeps=self._n_sweeps)
        if learned.kind == self._linear_kind.name:
            self._inner = sweeps
        else:
            kind = next(k for k in self._kinds if k.name == learned.kind)
            better: EffectiveModel = kind.restore(self._arrays[kind.name])
            # Several moves follow each other: each may be shorter.
            short = PairSweeps(linear.couplings, n_sweeps=1)
            self._inner = Nested(better, short, times=learned.times)
        self._kernel = SelfLearning(self._exact, self._inner)

    def _split(self) -> tuple[TrainingSample, TrainingSample]:
        """Return what is fitted, and what judges it: other chains where there are enough."""
        spins, weights = np.array(self._spins), np.array(self._weights)
        n_steps, n_chains = weights.shape
        unseen = np.zeros((n_steps, n_chains), dtype=bool)
        if n_chains >= VALIDATION_CHAINS:
            unseen[:, ::VALIDATION_CHAINS] = True
        else:
            unseen[-(n_steps // 4) :] = True
        return (
            TrainingSample(spins=spins[~unseen], log_weights=weights[~unseen]),
            TrainingSample(spins=spins[unseen], log_weights=weights[unseen]),
        )


def first_step_size(exact: SpinFermion) -> float:
    """Return a step size of hybrid Monte Carlo from which adaptation starts.

    Source:
        Measured: 0.35 at T = 0.05 and J = 1, in proportion to sqrt(T) and 1 / J.
    """
    strength = max(float(np.abs(exact.coupling).max()), 1.0)
    return 0.35 * min(1.0, float(np.sqrt(exact.temperature / 0.05)) / strength) + 0.05
