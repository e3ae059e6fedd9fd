"""lightning-fabric, imported only when somebody trains with it, and without side effects."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from kakehashi_core.devices import resolve_device
from kakehashi_core.errors import InvalidInputError, UnsupportedError

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric

Precision = Literal["true", "bf16-mixed", "16-mixed"]
# "32-true" leaves every dtype as it is, also float64; "64-true" would return outputs of a float64
# module in torch's default dtype.
_PRECISIONS = {"true": "32-true", "bf16-mixed": "bf16-mixed", "16-mixed": "16-mixed"}


def create_fabric(
    *,
    device: str | torch.device = "auto",
    precision: Precision = "true",
    strategy: Literal["auto", "ddp"] = "auto",
    n_devices: int = 1,
    n_nodes: int = 1,
) -> Fabric:
    """Return a launched ``Fabric``, the object that knows where and how training runs.

    Under ``torchrun --nproc-per-node=4`` use ``strategy="ddp", n_devices=4``.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:1" (the latter for one device only).
        precision: "true" computes in the dtype of weights and data; "bf16-mixed" and "16-mixed" compute
            the forward pass of float32 modules in lower precision.
        strategy: "ddp" trains replicas on several processes; "auto" on one.
        n_devices: Processes per node.
        n_nodes: Nodes.

    Raises:
        UnsupportedError: If lightning-fabric is not installed, or the device is not there.
        InvalidInputError: If an option is none of the above.
    """
    if precision not in _PRECISIONS:
        raise InvalidInputError(
            f"precision must be one of {', '.join(map(repr, _PRECISIONS))}, got {precision!r}"
        )
    if strategy not in {"auto", "ddp"}:
        raise InvalidInputError(f"strategy must be 'auto' or 'ddp', got {strategy!r}")
    if strategy == "auto" and n_devices * n_nodes != 1:
        raise InvalidInputError(
            f"strategy 'auto' trains in one process, got {n_devices} devices on {n_nodes} nodes; use "
            "strategy='ddp' and start with torchrun"
        )
    resolved = resolve_device(device)
    fabric_class = _fabric_class()
    listed: list[int] | int = n_devices
    if resolved.type == "cuda" and strategy == "auto":
        listed = [resolved.index]
    fabric = fabric_class(
        accelerator=resolved.type,
        devices=listed,
        num_nodes=n_nodes,
        strategy=strategy,
        precision=_PRECISIONS[precision],  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric


def _fabric_class() -> type[Fabric]:
    with _process_left_as_found():
        try:
            # ignore: lightning_fabric imports much of torch.distributed, whose deprecation warnings
            # concern nobody here.
            fabric_class: type[Fabric] = importlib.import_module("lightning_fabric").Fabric
        except ModuleNotFoundError as error:
            if error.name != "lightning_fabric":
                raise
            raise UnsupportedError(
                "training with GradientTraining needs lightning-fabric, which is not installed. Install "
                "the extra: pip install 'kakehashi-core[train]'"
            ) from None
    return fabric_class


@contextmanager
def _process_left_as_found() -> Iterator[None]:
    """Undo what importing lightning_fabric does: warning filters, environment, a log handler."""
    if "lightning_fabric" in sys.modules:
        yield
        return
    environment = dict(os.environ)
    logger = logging.getLogger("lightning_fabric")
    handlers, propagate, level = list(logger.handlers), logger.propagate, logger.level
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        for name, value in environment.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)
