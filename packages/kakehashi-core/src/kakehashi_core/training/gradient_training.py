"""A torch module and an optimizer as a ``Trainable``, on lightning-fabric."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from kakehashi_core.errors import (
    CheckpointError,
    InvalidInputError,
    NonFiniteError,
    UnsupportedError,
)
from kakehashi_core.random_streams import recorded_seed
from kakehashi_core.training.batches import Batches
from kakehashi_core.training.lightning import create_fabric
from kakehashi_core.training.processes import Processes
from kakehashi_core.training.random_states import load_random_state, random_state
from kakehashi_core.training.state_tree import encode

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric
    from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

    Model = torch.nn.Module | Mapping[str, torch.Tensor]
    Loss = torch.Tensor | tuple[torch.Tensor, Mapping[str, torch.Tensor | float]]
    RandomStream = np.random.Generator | torch.Generator

Batch = TypeVar("Batch")


class GradientTraining:
    """Gradient steps on a torch module or on a mapping of parameters.

    Several processes (``torchrun``, strategy "ddp") draw the same batch, and each computes its share of
    it: the loss must be a mean over the batch.

    Args:
        model: The module, or name to leaf tensor. A module is moved to the device of the fabric.
        optimizer: Any torch optimizer of its parameters, also LBFGS.
        loss: Function of model and batch. Returns the loss, or the loss and further metrics. It must call
            the model that it is given, not the original one. Random numbers come from ``streams``,
            from ``batches``, or from torch's global generators, which are seeded for each step and put
            back afterwards; never from NumPy's or Python's global ones.
        batches: Where batches come from; None gives the loss None.
        validation: Function of the model, returns metrics. Called in evaluation mode, with gradients on
            (use ``torch.no_grad`` where none are needed); must not touch ``streams`` nor ``batches``.
        scheduler: Learning-rate scheduler of the optimizer, advanced after every step; a
            ``ReduceLROnPlateau`` after every validation.
        scheduler_metric: The validation metric that a ``ReduceLROnPlateau`` looks at.
        streams: Name to random generator that the loss draws from; part of the checkpoint.
        fabric: From ``create_fabric``; None trains in this process, on the device where the model is.
        clip_norm: Largest norm of the gradient, longer ones are scaled down; None for no limit.
        seed: Of what layers such as dropout draw from torch's global generators.

    Attributes:
        fabric: The fabric in use.

    Raises:
        InvalidInputError: If an argument makes no sense.
        UnsupportedError: If lightning-fabric is not installed, or the strategy of the fabric distributes
            the state itself.
    """

    def __init__(
        self,
        model: Model,
        optimizer: torch.optim.Optimizer,
        *,
        loss: Callable[[Any, Batch], Loss],
        batches: Batches[Batch] | None = None,
        validation: Callable[[Any], Mapping[str, torch.Tensor | float]] | None = None,
        scheduler: LRScheduler | None = None,
        scheduler_metric: str = "loss",
        streams: Mapping[str, RandomStream] | None = None,
        fabric: Fabric | None = None,
        clip_norm: float | None = None,
        seed: int = 0,
    ) -> None:
        import torch

        if clip_norm is not None and not (math.isfinite(clip_norm) and clip_norm > 0):
            raise InvalidInputError(f"clip_norm must be a positive number, got {clip_norm!r}")
        self._seed = recorded_seed(seed)
        self._module = model if isinstance(model, torch.nn.Module) else None
        self._parameters = None if isinstance(model, torch.nn.Module) else dict(model)
        self.fabric = create_fabric(device=_device_of(model)) if fabric is None else fabric
        _check_strategy(self.fabric, self._module is not None)
        self._optimizer = optimizer
        if self._module is not None:
            self._model, self._stepper = self.fabric.setup(self._module, optimizer)
        else:
            self._model, self._stepper = self._parameters, self.fabric.setup_optimizers(optimizer)
        self._loss = loss
        self._batches = batches
        self._validation = validation
        self._scheduler = scheduler
        self._scheduler_metric = scheduler_metric
        self._streams = dict(streams or {})
        self._clip_norm = clip_norm
        self._processes = Processes(self.fabric)
        self._n_steps = 0

    def step(self) -> dict[str, float]:
        """Do one optimizer step; return "loss", "learning_rate" and what the loss function added."""
        import torch

        batch = None if self._batches is None else self._batches.draw()
        batch = self.fabric.to_device(self._share(batch))
        found: list[dict[str, float]] = []

        def evaluate() -> torch.Tensor:
            self._optimizer.zero_grad()
            loss, metrics = self._evaluated(batch)
            found.append(metrics)
            self.fabric.backward(loss)
            self._clip()
            return loss

        learning_rate = float(self._optimizer.param_groups[0]["lr"])
        with self._own_random_numbers(0):
            if isinstance(self._optimizer, torch.optim.LBFGS):
                self._stepper.step(evaluate)
            else:
                evaluate()
                if math.isfinite(found[0]["loss"]):  # otherwise the loop refuses it
                    self._stepper.step()
        if self._scheduler is not None and self._plateau() is None:
            self._scheduler.step()
        self._n_steps += 1
        return {**found[0], "learning_rate": learning_rate}

    def validate(self) -> dict[str, float]:
        """Return what the validation function says of the model in evaluation mode."""
        if self._validation is None:
            raise InvalidInputError(
                "this GradientTraining has no validation function; give validation=..., or train with "
                "validate_every=None"
            )
        with self._evaluation_mode(), self._own_random_numbers(1):
            metrics = {
                name: _number(value) for name, value in self._validation(self._model).items()
            }
        plateau = self._plateau()
        if plateau is not None:
            if self._scheduler_metric not in metrics:
                raise InvalidInputError(
                    f"validation returned no metric {self._scheduler_metric!r} for the scheduler; it "
                    f"returned {', '.join(map(repr, metrics)) or 'none'}. Give scheduler_metric."
                )
            plateau.step(self._processes.of_first(metrics[self._scheduler_metric]))
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Return weights, optimizer, scheduler, position in the data and random streams.

        Raises:
            NonFiniteError: If a weight is not finite.
        """
        weights = self._weights()
        for name, weight in weights.items():
            if _is_number(weight) and not bool(weight.isfinite().all()):
                raise NonFiniteError(
                    f"weight {name!r} is not finite after step {self._n_steps}, although the loss was. Lower "
                    "the learning rate or give clip_norm."
                )
        progress = {
            "n_steps": self._n_steps,
            "seed": self._seed,
            "batches": None if self._batches is None else self._batches.state_dict(),
            "streams": {name: random_state(stream) for name, stream in self._streams.items()},
        }
        self._check_agreement(progress)
        return {
            **progress,
            "weights": weights,
            "optimizer": self._optimizer.state_dict(),
            "scheduler": None if self._scheduler is None else self._scheduler.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take over a state.

        Raises:
            CheckpointError: If it belongs to another setup.
        """
        self._check_parts(state)
        self._load_weights(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state["scheduler"])
        if self._batches is not None:
            self._batches.load_state_dict(state["batches"])
        for name, stream in self._streams.items():
            load_random_state(stream, state["streams"][name])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self._n_steps = state["n_steps"]

    def _evaluated(self, batch: Any) -> tuple[torch.Tensor, dict[str, float]]:
        import torch

        returned = self._loss(self._model, batch)
        loss, extra = returned if isinstance(returned, tuple) else (returned, {})
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            shown = tuple(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
            raise InvalidInputError(f"the loss must be a tensor with one element, got {shown}")
        metrics = {"loss": float(loss.detach())}
        for name, value in extra.items():
            metrics[name] = _number(value)
        if self._processes.count > 1:
            metrics = {name: self._processes.mean(value) for name, value in metrics.items()}
        return loss, metrics

    def _clip(self) -> None:
        import torch

        if self._clip_norm is None:
            return
        if self._module is not None:
            self.fabric.clip_gradients(
                self._model, self._stepper, max_norm=self._clip_norm, error_if_nonfinite=False
            )
        else:
            groups = self._optimizer.param_groups
            parameters = [parameter for group in groups for parameter in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self._clip_norm)

    def _plateau(self) -> ReduceLROnPlateau | None:
        from torch.optim.lr_scheduler import ReduceLROnPlateau

        return self._scheduler if isinstance(self._scheduler, ReduceLROnPlateau) else None

    def _weights(self) -> dict[str, Any]:
        if self._module is not None:
            return dict(self._module.state_dict())
        return dict(self._parameters or {})

    def _load_weights(self, weights: Mapping[str, Any]) -> None:
        import torch

        here = self._weights()
        if set(here) != set(weights):
            raise CheckpointError(
                f"the checkpoint belongs to another model: it has weights {sorted(weights)}, this one "
                f"{sorted(here)}"
            )
        for name, weight in here.items():
            if isinstance(weight, torch.Tensor) and (
                weight.shape != weights[name].shape or weight.dtype != weights[name].dtype
            ):
                raise CheckpointError(
                    f"the checkpoint belongs to another model: weight {name!r} is "
                    f"{weights[name].dtype} {tuple(weights[name].shape)}, here {weight.dtype} "
                    f"{tuple(weight.shape)}"
                )
        if self._module is not None:
            self._module.load_state_dict(weights)
            return
        with torch.no_grad():
            for name, weight in here.items():
                weight.copy_(weights[name])

    def _check_parts(self, state: Mapping[str, Any]) -> None:
        parts = {
            "seed": (state["seed"], self._seed),
            "a scheduler": (state["scheduler"] is not None, self._scheduler is not None),
            "batches": (state["batches"] is not None, self._batches is not None),
            "streams": (sorted(state["streams"]), sorted(self._streams)),
        }
        for name, (before, now) in parts.items():
            if before != now:
                raise CheckpointError(
                    f"the run was started with {name}: {before}, now it is {now}; resume with the same "
                    "setup, or train in a new directory"
                )

    def _check_agreement(self, progress: Mapping[str, Any]) -> None:
        """Raise on all processes if their random streams or positions in the data differ."""
        if self._processes.count == 1:
            return
        tree, tensors = encode(progress)
        digest = hashlib.sha256(json.dumps(tree).encode())
        for tensor in tensors.values():
            digest.update(tensor.cpu().numpy().tobytes())
        number = float(int.from_bytes(digest.digest()[:6], "big"))
        if self._processes.any(self._processes.of_first(number) != number):
            raise InvalidInputError(
                "the processes of this run drew different random numbers or batches. Give all of them the "
                "same seeds; what must differ comes from torch's global generators, which do."
            )

    def _share(self, batch: Any) -> Any:
        """Return the part of a batch that this process computes."""
        import torch

        count, rank = self._processes.count, self.fabric.global_rank
        if count == 1 or batch is None:
            return batch
        if isinstance(batch, tuple | list):
            return type(batch)(self._share(item) for item in batch)
        if isinstance(batch, Mapping):
            return {name: self._share(item) for name, item in batch.items()}
        if not isinstance(batch, torch.Tensor | np.ndarray) or batch.ndim == 0:
            raise UnsupportedError(
                f"a batch with a {type(batch).__name__} cannot be shared among {count} processes; allowed "
                "are tensors and arrays with a first axis, and tuples, lists and mappings of these"
            )
        if len(batch) % count:
            raise InvalidInputError(
                f"a batch of {len(batch)} cannot be shared equally among {count} processes; choose a "
                "multiple of that number"
            )
        return batch[rank::count]

    @contextmanager
    def _own_random_numbers(self, purpose: int) -> Iterator[None]:
        """Give torch's global generators a state that depends on seed, step and process only."""
        import torch

        entropy = [self._seed, self._n_steps, purpose, self.fabric.global_rank]
        state = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
        seed = int(state[0] >> np.uint64(1))
        # The generators themselves: torch.manual_seed would reach for all devices.
        device = self.fabric.device
        generators = [torch.default_generator]
        if device.type == "cuda":
            generators.append(torch.cuda.default_generators[device.index or 0])
        before = [generator.get_state() for generator in generators]
        for generator in generators:
            generator.manual_seed(seed)
        try:
            yield
        finally:
            for generator, old in zip(generators, before, strict=True):
                generator.set_state(old)

    @contextmanager
    def _evaluation_mode(self) -> Iterator[None]:
        modules = [] if self._module is None else list(self._module.modules())
        before = [module.training for module in modules]
        if self._module is not None:
            self._module.eval()
        try:
            yield
        finally:
            for module, training in zip(modules, before, strict=True):
                module.training = training


def _device_of(model: Model) -> torch.device:
    import torch

    tensors = (
        [*model.parameters(), *model.buffers()]
        if isinstance(model, torch.nn.Module)
        else list(model.values())
    )
    if not tensors:
        raise InvalidInputError("the model has no parameters; there is nothing to train")
    devices = {tensor.device for tensor in tensors}
    if len(devices) > 1:
        raise InvalidInputError(
            f"the model lies on several devices, {', '.join(sorted(map(str, devices)))}; move it to one"
        )
    return devices.pop()


def _check_strategy(fabric: Fabric, is_module: bool) -> None:
    from lightning_fabric.strategies.ddp import DDPStrategy
    from lightning_fabric.strategies.single_device import SingleDeviceStrategy

    allowed = (SingleDeviceStrategy, DDPStrategy) if is_module else (SingleDeviceStrategy,)
    if not isinstance(fabric.strategy, allowed):
        advice = (
            "Use create_fabric(strategy='auto' or 'ddp')."
            if is_module
            else "Put the parameters into a torch.nn.Module."
        )
        raise UnsupportedError(
            f"GradientTraining does not support {type(fabric.strategy).__name__} for "
            f"{'modules' if is_module else 'mappings of parameters'}. {advice}"
        )


def _number(value: torch.Tensor | float) -> float:
    import torch

    return float(value.detach() if isinstance(value, torch.Tensor) else value)


def _is_number(weight: object) -> bool:
    import torch

    return isinstance(weight, torch.Tensor) and (weight.is_floating_point() or weight.is_complex())
