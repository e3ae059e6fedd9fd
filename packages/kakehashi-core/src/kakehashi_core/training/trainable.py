"""What the training loop needs to know about the thing it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Trainable(Protocol):
    """Something with a state that gets better step by step.

    A state is nested data: tensors, NumPy arrays, numbers, strings, None, lists, tuples, and mappings with
    string or integer keys. It must hold everything that later steps depend on: weights, optimizer,
    positions in the data, random streams (``random_state``), counters. Then a resumed run equals an
    uninterrupted one bit for bit.

    Trainables that run on several processes have an attribute ``fabric`` (a lightning ``Fabric``);
    their state must be the same on all processes.
    """

    def step(self) -> Mapping[str, float]:
        """Do one step and return its metrics, all finite.

        Raises:
            StopIteration: Without changing the state, if nothing is left to do (a solver converged).
        """

    def validate(self) -> Mapping[str, float]:
        """Measure the current state; called only if validation is asked for.

        Weights and random streams must stay as they are. All metrics must be finite.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return the state; tensors may be views of live memory, the loop copies them."""

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take over a state; tensors arrive on the CPU."""
