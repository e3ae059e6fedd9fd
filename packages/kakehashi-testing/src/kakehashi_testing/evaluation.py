"""Run a model of any kind on the samples of its spec, for checks that do not care what it computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kakehashi_testing.errors import ConformanceError, require

if TYPE_CHECKING:
    from kakehashi_core.registry import Plugin

Numbers = npt.NDArray[np.float64]

SEED = 7


class DeliberateError(RuntimeError):
    """Raised inside a model on purpose, to see what it leaves behind."""


def load_model(plugin: Plugin) -> Any:
    """Load the model of a plugin with default options (for a command: its function, not called).

    A sampler is made for the first sample of its spec.
    """
    from kakehashi_core import registry

    if plugin.kind == "commands":
        return registry.load_factory(plugin.kind, plugin.qualified_name)
    if plugin.kind == "samplers":
        return _sampler(plugin)
    return registry.load(plugin.kind, plugin.qualified_name)


def evaluator(plugin: Plugin) -> Callable[[Any], Numbers] | None:
    """Return a function that maps the model to numbers; ``None`` where the suite has none yet."""
    if plugin.kind == "xc":
        return _evaluate_functional
    if plugin.kind == "calculators":
        return lambda model: _evaluate_calculator(model, plugin)
    if plugin.kind == "samplers":
        return _evaluate_sampler
    if plugin.kind == "init_guess":
        return lambda model: _evaluate_guess(model, plugin)
    return None


def interrupter(plugin: Plugin) -> Callable[[Any], int] | None:
    """Return a function that makes the model fail half-way and returns how often it did."""
    if plugin.kind == "xc":
        return _interrupt_functional
    if plugin.kind == "calculators":
        return lambda model: _interrupt_calculator(model, plugin)
    return None


def _evaluate_guess(model: Any, plugin: Plugin) -> Numbers:
    from kakehashi_pyscf import guess_request
    from kakehashi_testing.guess_checks import sample_calculation

    result = model(guess_request(sample_calculation(plugin.qualified_name)))
    return np.concatenate([result.hamiltonian.ravel(), result.density_matrix.ravel()])


def _evaluate_functional(functional: Any) -> Numbers:
    from kakehashi_testing.density_points import density_points
    from kakehashi_testing.functional_derivatives import gradient

    parts = []
    for spin in (0, 1):
        # Enough points for torch and BLAS to use several threads.
        points = density_points(functional.family, spin, 4000, rng=np.random.default_rng(SEED))
        value, first = gradient(functional, points, spin)
        # In units of the local exchange energy, so that no core point dominates the comparison.
        density = points[0] if spin == 0 else points[0] + points[1]
        scale = density ** (4.0 / 3.0)
        parts += [value / scale, (first * points / scale).ravel()]
    return np.concatenate(parts)


def _interrupt_functional(functional: Any) -> int:
    import torch
    from torch.overrides import TorchFunctionMode

    from kakehashi_testing.density_points import density_points

    class FailAt(TorchFunctionMode):
        """Raise in the torch call of a given number."""

        def __init__(self, number: int) -> None:
            super().__init__()
            self.remaining = number

        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            self.remaining -= 1
            if self.remaining == 0:
                raise DeliberateError("raised by the conformance suite")
            return func(*args, **(kwargs or {}))

    points = density_points(functional.family, 1, 20, rng=np.random.default_rng(SEED))
    variables = torch.tensor(points, requires_grad=True)
    counter = FailAt(-1)
    with counter:
        functional.energy_density(variables, 1)
    n_calls = -1 - counter.remaining
    failed = 0
    for number in sorted({1, 1 + n_calls // 2, n_calls}):
        try:
            with FailAt(number):
                functional.energy_density(variables, 1)
        except DeliberateError:
            failed += 1
    return failed


def sample_atoms(sample: Any) -> Any:
    """Return ASE atoms for a sample of a calculator spec: a G2 molecule name or a mapping.

    A mapping is handed to ``ase.Atoms`` as keyword arguments.
    """
    from ase import Atoms
    from ase.build import molecule

    if isinstance(sample, str):
        return molecule(sample)
    require(
        isinstance(sample, dict),
        f"a calculator's sample must be a molecule name or a mapping of ase.Atoms arguments, got "
        f"{type(sample).__name__}",
    )
    return Atoms(**sample)


def _evaluate_calculator(calculator: Any, plugin: Plugin) -> Numbers:
    if plugin.spec is None or not plugin.spec.samples:
        raise ConformanceError(f"{plugin.qualified_name}: samples is empty; nothing can be tested")
    atoms = sample_atoms(plugin.spec.samples[0])
    # Off equilibrium, so that the forces are not zero by symmetry.
    atoms.positions += np.random.default_rng(SEED).normal(0.0, 0.03, atoms.positions.shape)
    atoms.calc = calculator
    calculator.reset()
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    require(
        np.abs(forces).max() > 1e-3,
        f"{plugin.qualified_name}: forces on the sample are below 1e-3 eV/Å; nothing is tested",
    )
    return np.append(np.ravel(forces), energy)


def _interrupt_calculator(calculator: Any, plugin: Plugin) -> int:
    samples = plugin.spec.samples if plugin.spec is not None else ()
    atoms = sample_atoms(samples[0])
    atoms.positions[0, 0] = np.nan
    atoms.calc = calculator
    try:
        atoms.get_potential_energy()
    except Exception:  # noqa: BLE001  any error serves; what it leaves behind is the question
        return 1
    return 0


def _sampler(plugin: Plugin) -> Any:
    """Make a sampler: of a thermal spin state from operator lists, or by a function that is named."""
    from importlib import import_module

    if plugin.spec is None or not plugin.spec.samples:
        raise ConformanceError(f"{plugin.qualified_name}: samples is empty; nothing can be tested")
    sample = plugin.spec.samples[0]
    if isinstance(sample, str):
        module, _, name = sample.partition(":")
        return getattr(import_module(module), name)(seed=SEED)
    from kakehashi_quspin import sampler

    return sampler(plugin.qualified_name, **{**sample, "seed": SEED})


def _evaluate_sampler(sampler: Any) -> Numbers:
    """Return states; the sampler stands where it stood before."""
    saved = sampler.state_dict()
    states = np.asarray(sampler.sample(32), dtype=float).ravel()
    sampler.load_state_dict(saved)
    return states
