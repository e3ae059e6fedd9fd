"""All conditions, and the check of a functional."""

from __future__ import annotations

from collections.abc import Sequence

from kakehashi_core.contracts import XCFunctional
from kakehashi_core.errors import unknown_name
from kakehashi_nnxc.exact_conditions import correlation, exchange, gradient_expansion, whole_energy
from kakehashi_nnxc.exact_conditions.condition import Condition, ConditionResult
from kakehashi_nnxc.exact_conditions.mesh import Mesh
from kakehashi_nnxc.exact_conditions.smoothness import smooth
from kakehashi_nnxc.pointwise_energy import PointwiseEnergy

CONDITIONS: tuple[Condition, ...] = (
    whole_energy.uniform_gas,
    exchange.exchange_limit,
    exchange.spin_scaling,
    gradient_expansion.exchange_gradient,
    gradient_expansion.correlation_gradient,
    exchange.exchange_bound,
    exchange.large_gradient,
    whole_energy.negative,
    correlation.negative_correlation,
    whole_energy.lieb_oxford,
    correlation.one_electron,
    whole_energy.hydrogen,
    correlation.scaling_inequality,
    correlation.monotonic_correlation,
    whole_energy.spin_flip,
    whole_energy.closed_shell,
    smooth,
)

INSEPARABLE = "not tested: exchange cannot be told from correlation without a high-density limit"


def check_conditions(
    functional: str | XCFunctional | PointwiseEnergy,
    *,
    mesh: Mesh | None = None,
    names: Sequence[str] = (),
) -> tuple[ConditionResult, ...]:
    """Check a functional.

    Args:
        functional: Registered name, libxc name or functional object.
        mesh: Points; the default has 5,265 for a meta-GGA.
        names: Conditions to check, all of ``CONDITIONS`` by default.

    Raises:
        UnknownNameError: If a condition or the functional is unknown.
        InvalidInputError: If the functional is a hybrid or otherwise no function of the point.
    """
    known = {condition.name: condition for condition in CONDITIONS}
    for name in names:
        if name not in known:
            raise unknown_name("exact condition", name, known)
    energy = functional if isinstance(functional, PointwiseEnergy) else PointwiseEnergy(functional)
    mesh = mesh or Mesh()
    limit = exchange.exchange_limit.result(energy, mesh)
    results = []
    for condition in [known[name] for name in names] or CONDITIONS:
        if condition is exchange.exchange_limit:
            results.append(limit)
        elif condition.needs_exchange and not limit.passed:
            results.append(condition.not_tested(INSEPARABLE))
        else:
            results.append(condition.result(energy, mesh))
    return tuple(results)
