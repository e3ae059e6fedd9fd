"""Which effective models can be learned on the fly, and how they are stored.

Each kind fits a model to configurations with exact log-weights, turns it into arrays and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import unknown_name
from kakehashi_slmc.distance_shells import DistanceShells
from kakehashi_slmc.effective_training import AttentionTraining, TrainingSample, train_attention
from kakehashi_slmc.linear_model import LinearModel
from kakehashi_slmc.ridge_model import RidgeModel
from kakehashi_slmc.spin_features import FourSpinFeatures
from kakehashi_slmc.spin_fermion import SpinFermion
from kakehashi_slmc.strong_coupling_model import StrongCouplingModel, suits_strong_coupling

FloatArray = npt.NDArray[np.float64]


class EffectiveModel(Protocol):
    """A cheap log-weight of spins."""

    def __call__(self, spins: FloatArray) -> FloatArray:
        """Return log W_eff of each chain, (n_chains,)."""


class ModelKind(Protocol):
    """A kind of effective model.

    Attributes:
        name: For reports.
        cost: Of one evaluation, over one diagonalization; nominal, so that choices repeat.
    """

    @property
    def name(self) -> str:
        """For reports."""

    @property
    def cost(self) -> float:
        """Of one evaluation, over one diagonalization."""

    def fit(
        self, sample: TrainingSample, validation: TrainingSample, *, seed: int
    ) -> EffectiveModel:
        """Learn from configurations; validation is of other chains."""

    def arrays(self, model: Any) -> dict[str, FloatArray]:
        """Return what defines a model of this kind."""

    def restore(self, arrays: Mapping[str, FloatArray]) -> EffectiveModel:
        """Return the model that these arrays define."""


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """``LinearModel`` with all shells, or the nearest ones."""

    shells: DistanceShells
    n_shells: int | None = None
    name: str = field(default="linear", init=False)
    cost: float = field(default=0.04, init=False)

    def fit(
        self,
        sample: TrainingSample,
        validation: TrainingSample,  # noqa: ARG002  nothing is chosen
        *,
        seed: int,  # noqa: ARG002
    ) -> LinearModel:
        """See the protocol."""
        return LinearModel.fit(
            self.shells, sample.spins, sample.log_weights, n_shells=self.n_shells
        )

    def arrays(self, model: LinearModel) -> dict[str, FloatArray]:
        """See the protocol."""
        return {"constant": np.array(model.constant), "coefficients": model.coefficients}

    def restore(self, arrays: Mapping[str, FloatArray]) -> LinearModel:
        """See the protocol."""
        return LinearModel(
            shells=self.shells,
            constant=float(arrays["constant"]),
            coefficients=np.asarray(arrays["coefficients"]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class FourSpins:
    """``RidgeModel`` of four-spin features."""

    shells: DistanceShells
    n_fields: int = 5
    name: str = field(default="four-spin", init=False)
    cost: float = field(default=0.06, init=False)

    def fit(
        self,
        sample: TrainingSample,
        validation: TrainingSample,
        *,
        seed: int,  # noqa: ARG002  nothing is drawn
    ) -> RidgeModel:
        """See the protocol."""
        return RidgeModel.fit(
            self._features,
            sample.spins,
            sample.log_weights,
            validation=(validation.spins, validation.log_weights),
        )

    def arrays(self, model: RidgeModel) -> dict[str, FloatArray]:
        """See the protocol."""
        return {
            "center": model.center,
            "scale": model.scale,
            "coefficients": model.coefficients,
            "constant": np.array(model.constant),
        }

    def restore(self, arrays: Mapping[str, FloatArray]) -> RidgeModel:
        """See the protocol."""
        return RidgeModel(
            features=self._features,
            center=np.asarray(arrays["center"]),
            scale=np.asarray(arrays["scale"]),
            coefficients=np.asarray(arrays["coefficients"]),
            constant=float(arrays["constant"]),
        )

    @property
    def _features(self) -> FourSpinFeatures:
        return FourSpinFeatures(self.shells, min(self.n_fields, self.shells.n_shells + 1))


@dataclass(frozen=True, slots=True, eq=False)
class StrongCoupling:
    """``StrongCouplingModel``."""

    exact: SpinFermion
    shells: DistanceShells
    name: str = field(default="strong-coupling", init=False)
    cost: float = field(default=0.5, init=False)

    def fit(
        self,
        sample: TrainingSample,
        validation: TrainingSample,  # noqa: ARG002  nothing is chosen
        *,
        seed: int,  # noqa: ARG002
    ) -> StrongCouplingModel:
        """See the protocol."""
        return StrongCouplingModel.fit(self.exact, self.shells, sample.spins, sample.log_weights)

    def arrays(self, model: StrongCouplingModel) -> dict[str, FloatArray]:
        """See the protocol."""
        linear = Linear(self.shells).arrays(model.linear)
        return {"hamiltonian": model.hamiltonian, **linear}

    def restore(self, arrays: Mapping[str, FloatArray]) -> StrongCouplingModel:
        """See the protocol."""
        return StrongCouplingModel(
            exact=self.exact,
            hamiltonian=np.asarray(arrays["hamiltonian"]),
            linear=Linear(self.shells).restore(arrays),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """``EquivariantAttention``, grown to ``n_layers``."""

    shells: DistanceShells
    n_layers: int = 2
    n_shells: int | None = None
    training: AttentionTraining = field(default_factory=AttentionTraining)
    name: str = field(default="attention", init=False)
    cost: float = field(default=0.5, init=False)

    def fit(
        self,
        sample: TrainingSample,
        validation: TrainingSample,  # noqa: ARG002  it is trained for a fixed number of steps
        *,
        seed: int,
    ) -> EffectiveModel:
        """See the protocol."""
        networks = train_attention(
            self.shells,
            sample,
            n_layers=self.n_layers,
            n_shells=self.n_shells,
            training=self.training,
            seed=seed,
        )
        return self.restore(networks[-1].arrays())

    def arrays(self, model: Any) -> dict[str, FloatArray]:
        """See the protocol."""
        found: dict[str, FloatArray] = model.__self__.arrays()
        return found

    def restore(self, arrays: Mapping[str, FloatArray]) -> EffectiveModel:
        """See the protocol."""
        from kakehashi_slmc.attention_model import EquivariantAttention

        return EquivariantAttention.from_arrays(self.shells, arrays).log_weight


NAMES = ("auto", "linear", "four-spin", "attention", "strong-coupling")


def model_kinds(name: str, exact: SpinFermion, shells: DistanceShells) -> tuple[ModelKind, ...]:
    """Return what is to be tried besides the linear model, by name.

    Args:
        name: "linear", "four-spin", "attention" or "strong-coupling"; "auto" tries what is cheap and may
            suit.
        exact: Model that is sampled.
        shells: Classes of pairs.

    Raises:
        UnknownNameError: If there is no such kind.
    """
    if name not in NAMES:
        raise unknown_name("effective model", name, NAMES)
    if name == "linear":
        return ()
    if name == "four-spin":
        return (FourSpins(shells),)
    if name == "attention":
        return (Attention(shells),)
    if name == "strong-coupling" or suits_strong_coupling(exact):
        return (StrongCoupling(exact, shells),)
    return (FourSpins(shells),)
