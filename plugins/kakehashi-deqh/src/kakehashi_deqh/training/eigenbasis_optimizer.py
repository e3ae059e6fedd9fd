"""SOAP: Adam in the eigenbasis of a preconditioner, on the matrices that equivariant layers are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from e3nn import o3

LARGEST = 128
"""Sides of matrices that are longer have no preconditioner of their own."""
EVERY = 10
"""Steps from one eigenbasis to the next."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Block:
    """A matrix among the numbers of a parameter.

    Attributes:
        parameter: Contiguous.
        start: Where it begins.
        shape: Rows and columns; a single row has no preconditioner.
    """

    parameter: torch.nn.Parameter
    start: int
    shape: tuple[int, int]

    def of(self, numbers: torch.Tensor) -> torch.Tensor:
        """Return a view of it in numbers like those of the parameter."""
        rows, columns = self.shape
        return numbers.view(-1)[self.start : self.start + rows * columns].view(rows, columns)


def blocks_of(module: torch.nn.Module) -> list[Block]:
    """Return all parameters as matrices: a linear layer of e3nn holds one for each pair of irreps."""
    found: list[Block] = []
    seen: set[int] = set()
    for layer in module.modules():
        if isinstance(layer, o3.Linear):
            shapes = [i.path_shape for i in layer.instructions if i.i_in >= 0]
            found += _in_a_row(layer.weight, shapes)
            seen.add(id(layer.weight))
    for parameter in module.parameters():
        if id(parameter) not in seen:
            n, columns = parameter.numel(), parameter.shape[-1] if parameter.ndim else 1
            if parameter.ndim < 2:
                found += _in_a_row(parameter, [(1, n)])
            else:
                rows = parameter.shape[-2]
                found += _in_a_row(parameter, [(rows, columns)] * (n // (rows * columns)))
    return found


class Soap(torch.optim.Optimizer):
    """Adam with the gradients of a matrix turned to the eigenvectors of their second moments.

    Args:
        module: Its parameters without a gradient at the first step are left alone from then on.
        lr: Learning rate.
        momentum: Share of the mean gradient that stays in a step.
        memory: The same of its second moments.

    Source:
        N. Vyas et al., SOAP: improving and stabilizing Shampoo using Adam, ICLR 2025, arXiv:2409.11321,
        algorithm 3.
    """

    def __init__(
        self, module: torch.nn.Module, *, lr: float, momentum: float = 0.95, memory: float = 0.95
    ) -> None:
        super().__init__(module.parameters(), {"lr": lr, "momentum": momentum, "memory": memory})
        self._blocks = blocks_of(module)
        self._groups: dict[str, list[Block]] = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Make one step; the first one only looks at the gradient."""
        if closure is not None:
            raise NotImplementedError("closures are not evaluated")
        if not self._groups:
            for block in self._blocks:
                if block.parameter.grad is not None:
                    self._groups.setdefault("x".join(map(str, block.shape)), []).append(block)
        for name, blocks in self._groups.items():
            gradient = torch.stack(
                [
                    b.of(b.parameter.grad.contiguous())
                    if b.parameter.grad is not None
                    else b.parameter.new_zeros(b.shape)
                    for b in blocks
                ]
            )
            if name not in self.state:
                self.state[name] = _first(gradient, self.param_groups[0]["memory"])  # type: ignore[index]
                continue
            step = self._step(self.state[name], gradient)  # type: ignore[index]
            for block, change in zip(blocks, step, strict=True):
                block.of(block.parameter).sub_(change)

    def _step(self, state: dict[str, Any], gradient: torch.Tensor) -> torch.Tensor:
        group = self.param_groups[0]
        momentum, memory = group["momentum"], group["memory"]
        state["n"] += 1
        mean, squares = state["mean"], state["squares"]
        mean.lerp_(gradient, 1.0 - momentum)
        squares.lerp_(_turned(gradient, state).square(), 1.0 - memory)
        corrected = _turned(mean, state) / (1.0 - momentum ** state["n"])
        size = (squares / (1.0 - memory ** state["n"])).sqrt()
        step = _turned_back(corrected / (size + 1e-8), state)
        for side, moment in _moments(gradient).items():
            state[side].lerp_(moment, 1.0 - memory)
            if state["n"] % EVERY == 0:
                _turn_further(state, side)
        return step * float(group["lr"])


def _in_a_row(parameter: torch.nn.Parameter, shapes: Iterable[tuple[int, ...]]) -> list[Block]:
    found, at = [], 0
    for rows, columns in shapes:
        found.append(Block(parameter=parameter, start=at, shape=(rows, columns)))
        at += rows * columns
    return found


def _moments(gradient: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return second moments of rows ("left") and columns ("right"), unless there are too many."""
    rows, columns = gradient.shape[1:]
    found = {}
    if 1 < rows <= LARGEST:
        found["left"] = gradient @ gradient.mT
    if rows > 1 and 1 < columns <= LARGEST:
        found["right"] = gradient.mT @ gradient
    return found


def _first(gradient: torch.Tensor, memory: float) -> dict[str, Any]:
    moments = _moments(gradient)
    bases = {f"{side} basis": torch.linalg.eigh(m)[1].flip(-1) for side, m in moments.items()}
    return {
        "n": 0,
        "mean": torch.zeros_like(gradient),
        "squares": torch.zeros_like(gradient),
        **{side: (1.0 - memory) * m for side, m in moments.items()},
        **bases,
    }


def _turned(matrices: torch.Tensor, state: dict[str, Any]) -> torch.Tensor:
    if "left basis" in state:
        matrices = state["left basis"].mT @ matrices
    return matrices @ state["right basis"] if "right basis" in state else matrices


def _turned_back(matrices: torch.Tensor, state: dict[str, Any]) -> torch.Tensor:
    if "left basis" in state:
        matrices = state["left basis"] @ matrices
    return matrices @ state["right basis"].mT if "right basis" in state else matrices


def _turn_further(state: dict[str, Any], side: str) -> None:
    """Do one step of orthogonal iteration, largest eigenvalues first; squares follow their eigenvectors."""
    basis = state[f"{side} basis"]
    ahead = state[side] @ basis
    order = (basis * ahead).sum(dim=-2).argsort(dim=-1, descending=True)
    ahead = ahead.gather(-1, order[:, None].expand_as(ahead))
    squares = state["squares"]
    if side == "left":
        state["squares"] = squares.gather(1, order[:, :, None].expand_as(squares))
    else:
        state["squares"] = squares.gather(2, order[:, None].expand_as(squares))
    state[f"{side} basis"] = torch.linalg.qr(ahead)[0]
