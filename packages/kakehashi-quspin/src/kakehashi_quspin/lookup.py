"""Samplers by name, for the operator lists and bases of QuSpin."""

from __future__ import annotations

import inspect
from typing import Any

from kakehashi_core import registry
from kakehashi_core.contracts import Sampler
from kakehashi_core.errors import InvalidInputError, refuse_unknown_options
from kakehashi_quspin.spin_model import SpinModel


def sampler(
    name: str,
    operators: Any,
    basis: Any,
    *,
    beta: float,
    pauli: int | None = None,
    **options: Any,
) -> Sampler:
    """Return a sampler of the thermal state of a model.

    Args:
        name: Registered sampler of spin models, such as "thermal-dbm"; ``kakehashi list --kind samplers``.
        operators: Static operator list, see ``SpinModel.from_quspin``.
        basis: Basis of QuSpin, or the number of spins.
        beta: Inverse temperature in the unit of the couplings.
        pauli: Convention of the letters; None for that of the basis.
        options: For the sampler, such as ``seed``.

    Raises:
        UnknownNameError: If no sampler has this name.
        InvalidInputError: If the input is no model, or the sampler does not know an option, or takes other
            input than spin models.
        UnsupportedError: If the sampler cannot treat the model; the message names the term.
    """
    factory = registry.load_factory("samplers", name)
    known = inspect.signature(factory).parameters
    if "beta" not in known:
        raise InvalidInputError(
            f"{name!r} does not sample thermal states of spin models; make it from its own package"
        )
    refuse_unknown_options(f"sampler {name!r}", options, known.keys() - {"model", "beta"})
    model = SpinModel.from_quspin(operators, basis, pauli=pauli)
    found: Sampler = factory(model, beta=beta, **options)
    return found
