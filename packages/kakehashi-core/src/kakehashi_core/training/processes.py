"""Agreement between the processes of one training run; trivial when there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Processes:
    """The processes that train together.

    Args:
        fabric: What connects them; None for a single process.

    Attributes:
        count: How many there are.
        is_first: True on the one that writes files.
    """

    def __init__(self, fabric: Fabric | None) -> None:
        self._fabric = fabric
        self.count = 1 if fabric is None else fabric.world_size
        self.is_first = fabric is None or fabric.global_rank == 0

    def any(self, flag: bool) -> bool:
        """Return True on all processes if the flag is True on one."""
        return self._sum(float(flag)) > 0 if self.count > 1 else flag

    def of_first(self, value: float) -> float:
        """Return the value of the first process."""
        return self._sum(value if self.is_first else 0.0) if self.count > 1 else value

    def mean(self, value: float) -> float:
        """Return the mean of the values of all processes."""
        return self._sum(value) / self.count if self.count > 1 else value

    def wait(self) -> None:
        """Wait for the others."""
        if self._fabric is not None and self.count > 1:
            self._fabric.barrier()

    def _sum(self, value: float) -> float:
        import torch

        if self._fabric is None:
            return value
        # float64 is exact here: all but one summand are zero, or all are small integers.
        number = torch.tensor(value, dtype=torch.float64, device=self._fabric.device)
        total: torch.Tensor = self._fabric.all_reduce(number, reduce_op="sum")  # type: ignore[assignment]
        return float(total)
