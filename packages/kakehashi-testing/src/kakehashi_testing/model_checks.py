"""Checks that hold for models of every kind: description, pickling, determinism."""

from __future__ import annotations

import copy
import json
import pickle
import re
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kakehashi_core.specs import SPEC_TYPES, PluginSpec, XCSpec
from kakehashi_testing.errors import ConformanceError, require
from kakehashi_testing.tolerances import tolerance

if TYPE_CHECKING:
    from kakehashi_core.contracts import XCFunctional
    from kakehashi_core.registry import Plugin

Numbers = npt.NDArray[np.float64]
Evaluate = Callable[[object], Numbers]

_DISPERSION_SUFFIX = re.compile(r"-(d[234]\w*|3c|vv10|xdm)$")


def check_spec(spec: PluginSpec) -> None:
    """Check that a spec says everything a user needs before trusting the model."""
    require(
        re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", spec.name),
        f"{spec.name!r} is not kebab-case (lower-case words and digits joined by '-')",
    )
    require(
        spec.summary.strip() and "\n" not in spec.summary,
        f"{spec.name}: summary must be one line that says what the model is, got {spec.summary!r}",
    )
    require(spec.code_license.strip(), f"{spec.name}: code_license is empty; give the SPDX name")
    _check_json(spec)
    if spec.kind == "commands":
        return
    require(spec.citation.text.strip(), f"{spec.name}: citation.text is empty; say what to cite")
    require(
        spec.units,
        f"{spec.name}: units is empty; name the unit of every property that the model returns",
    )
    require(
        spec.samples,
        f"{spec.name}: samples is empty; the suite needs inputs that are not trivial",
    )
    require(
        spec.devices and "float64" in spec.dtypes,
        f"{spec.name}: devices must not be empty and dtypes must offer 'float64', got "
        f"{spec.devices} and {spec.dtypes}",
    )
    if spec.checkpoint:
        require(
            spec.weights_license.strip(),
            f"{spec.name}: ships weights ({spec.checkpoint}) without weights_license",
        )
        require(
            any(asdict(spec.domain).values()),
            f"{spec.name}: trained weights without a domain; say on what they were trained",
        )
    if isinstance(spec, XCSpec):
        _check_xc_spec(spec)


def _check_json(spec: PluginSpec) -> None:
    try:
        json.dumps(asdict(spec), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConformanceError(
            f"{spec.name}: the spec cannot be written as JSON ({error}); use strings, numbers, "
            "tuples and plain dictionaries only"
        ) from error


def _check_xc_spec(spec: XCSpec) -> None:
    require(
        not _DISPERSION_SUFFIX.search(spec.name),
        f"functional name {spec.name!r} ends like a dispersion correction, which PySCF cuts off "
        "before it looks the functional up; choose another name",
    )
    require(
        0.0 <= spec.hybrid <= 1.0,
        f"{spec.name}: hybrid is {spec.hybrid}; a fraction of exact exchange lies in [0, 1]",
    )
    require(
        spec.max_deriv >= 1,
        f"{spec.name}: max_deriv is {spec.max_deriv}; a self-consistent field needs at least 1",
    )


def check_entry_point(plugin: Plugin) -> None:
    """Check that entry point, kind and spec agree."""
    spec = plugin.spec
    if spec is None:
        raise ConformanceError(f"{plugin.qualified_name}: no spec could be read: {plugin.reason}")
    require(
        spec.name == plugin.name,
        f"{plugin.qualified_name}: the entry point is called {plugin.name!r}, its spec "
        f"{spec.name!r}; they must agree",
    )
    require(
        isinstance(spec, SPEC_TYPES[plugin.kind]),
        f"{plugin.qualified_name}: a plugin of kind {plugin.kind!r} needs a "
        f"{SPEC_TYPES[plugin.kind].__name__}, got {type(spec).__name__}",
    )


def check_functional_matches_spec(functional: XCFunctional, spec: XCSpec) -> None:
    """Check that a loaded functional is what its spec announced."""
    from kakehashi_core.contracts import XCFunctional as Contract

    require(
        isinstance(functional, Contract),
        f"{spec.name}: {type(functional).__name__} lacks one of family, hybrid, max_deriv, "
        "energy_density (kakehashi_core.contracts.XCFunctional)",
    )
    for attribute in ("family", "hybrid", "max_deriv"):
        announced, found = getattr(spec, attribute), getattr(functional, attribute)
        require(
            announced == found,
            f"{spec.name}: the spec announces {attribute} = {announced!r}, the functional has "
            f"{found!r}",
        )


def check_pickling(model: object, evaluate: Evaluate) -> None:
    """Check that pickled and deep-copied models give the same numbers to the last bit."""
    expected = evaluate(model)
    _require_substance(expected)
    try:
        copies = {
            "pickled": pickle.loads(pickle.dumps(model)),  # noqa: S301  our own bytes
            "deep-copied": copy.deepcopy(model),
        }
    except Exception as error:
        raise ConformanceError(
            f"{type(model).__name__} cannot be pickled or copied ({error!r}); multiprocessing and "
            "scanners need it: keep options and weights as attributes, no closures or open files"
        ) from error
    for how, other in copies.items():
        difference = _largest_difference(evaluate(other), expected)
        require(
            difference <= tolerance("determinism"),
            f"the {how} {type(model).__name__} differs by {difference:.1e} from the original",
        )


def check_deterministic(model: object, evaluate: Evaluate) -> None:
    """Check that the same input gives the same output, to the last bit, in one process."""
    expected = evaluate(model)
    _require_substance(expected)
    difference = _largest_difference(evaluate(model), expected)
    require(
        difference <= tolerance("determinism"),
        f"evaluating {type(model).__name__} twice differs by {difference:.1e}; no hidden random "
        "numbers, no state that survives a call",
    )


def check_thread_count(model: object, evaluate: Evaluate) -> None:
    """Check that one and two threads agree up to the order of summation."""
    from kakehashi_core.threads import thread_limit

    with thread_limit(1):
        expected = evaluate(model)
    with thread_limit(2):
        found = evaluate(model)
    _require_substance(expected)
    difference = _largest_difference(found, expected)
    require(
        difference <= tolerance("thread_count"),
        f"{type(model).__name__} with two threads differs by {difference:.1e} (relative) from one "
        f"thread, allowed {tolerance('thread_count'):.0e}",
    )


def _require_substance(numbers: Numbers) -> None:
    require(
        numbers.size > 1 and np.isfinite(numbers).all() and np.ptp(numbers) > 0.0,
        "nothing to compare: the evaluation gave constant, empty or non-finite numbers",
    )


def _largest_difference(values: Numbers, expected: Numbers) -> float:
    """Return the largest difference relative to the largest number; infinite for NaN."""
    if values.shape != expected.shape or not np.isfinite(values).all():
        return float("inf")
    return float(np.abs(values - expected).max() / np.abs(expected).max())
