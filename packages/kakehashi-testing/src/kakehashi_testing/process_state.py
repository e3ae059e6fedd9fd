"""What a model may not change about the process it runs in, and a program that looks.

Run as ``python -m kakehashi_testing.process_state KIND NAME``: the traces of a first import are only
visible in a fresh process. The last line of the output is JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import warnings
from typing import Any

import numpy as np

from kakehashi_testing.errors import ConformanceError, require

State = dict[str, Any]

STAGES = ("loading", "evaluating", "an exception inside the model")

HEAVY_MODULES = (
    "ase",
    "dgl",
    "e3nn",
    "jax",
    "matplotlib",
    "pyscf",
    "quspin",
    "scipy",
    "tensorflow",
    "torch",
    "torch_geometric",
)
"""Modules that listing plugins must not import."""

_TIMEOUT = 300.0


def _digest(data: object) -> str:
    return hashlib.sha256(repr(data).encode()).hexdigest()[:16]


def process_state() -> State:
    """Return everything that a model must leave alone, as plain data."""
    import torch
    from threadpoolctl import threadpool_info

    state: State = {
        "numpy error handling": dict(np.geterr()),
        "numpy print options": _digest(sorted(np.get_printoptions().items(), key=str)),
        "numpy random state": _digest([str(part) for part in np.random.get_state(legacy=True)]),  # noqa: NPY002
        "python random state": _digest(random.getstate()),
        "torch default device": str(torch.get_default_device()),
        "torch default dtype": str(torch.get_default_dtype()),
        "torch deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "torch float32 matmul precision": torch.get_float32_matmul_precision(),
        "torch grad mode": torch.is_grad_enabled(),
        "torch inference mode": torch.is_inference_mode_enabled(),
        "torch anomaly mode": torch.is_anomaly_enabled(),
        "torch random state": hashlib.sha256(
            torch.random.get_rng_state().numpy().tobytes()
        ).hexdigest()[:16],
        "torch threads": torch.get_num_threads(),
        "torch interop threads": torch.get_num_interop_threads(),
        "warning filters": [str(entry) for entry in warnings.filters],
        "working directory": os.getcwd(),  # noqa: PTH109  the string is what is compared
        "environment": dict(os.environ),
    }
    for pool in threadpool_info():
        state[f"threads of {pool['filepath']}"] = pool["num_threads"]
    return state


def differences(before: State, after: State) -> dict[str, str]:
    """Return what changed, in words; libraries that were loaded in between are not a change."""
    found: dict[str, str] = {}
    for name in before:
        old: Any = before[name]
        new: Any = after.get(name, old)
        if new == old:
            continue
        if name == "environment":
            names = sorted(
                key for key in {*old, *new} if old.get(key) != new.get(key)
            )  # values may be secrets
            found[name] = f"variables {', '.join(names)} changed"
        elif name == "warning filters":
            added = [entry for entry in new if entry not in old]
            removed = [entry for entry in old if entry not in new]
            found[name] = f"added {added}, removed {removed}"
        else:
            found[name] = f"{old} became {new}"
    return found


def check_process_untouched(changes: dict[str, dict[str, str]]) -> None:
    """Raise if any stage changed the process.

    Args:
        changes: What ``observe`` returns.
    """
    for stage, changed in changes.items():
        if changed:
            listed = "; ".join(f"{name}: {how}" for name, how in changed.items())
            raise ConformanceError(
                f"{stage} changed the process: {listed}. Pass dtype, device, generators and "
                "options explicitly; restore what must be switched in a 'finally'"
            )


def observe(kind: str, name: str) -> dict[str, dict[str, str]]:
    """Load, run and interrupt a model in a fresh process.

    Args:
        kind: Plugin kind.
        name: Registry name or ``"distribution:name"``.

    Returns:
        Stage to what changed; a stage that the suite cannot run for this kind is left out.

    Raises:
        ConformanceError: If the process dies.
    """
    completed = subprocess.run(
        [sys.executable, "-m", "kakehashi_testing.process_state", kind, name],
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT,
    )
    if completed.returncode != 0:
        raise ConformanceError(
            f"loading or running {name!r} ended the process with code {completed.returncode}:\n"
            f"{completed.stderr.strip()}"
        )
    result: dict[str, dict[str, str]] = json.loads(completed.stdout.splitlines()[-1])
    return result


def check_import_budget(qualified_name: str) -> None:
    """Check in a fresh process that listing this plugin imports nothing heavy."""
    code = (
        "import json, sys; from kakehashi_core import registry; found = registry.plugins(); "
        "states = {p.qualified_name: p.state for p in found}; "
        "print(json.dumps([sorted({m.partition('.')[0] for m in sys.modules}), states]))"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT,
        # Only this plugin: another one's sins are another run's failure.
        env={**os.environ, "KAKEHASHI_PLUGINS": qualified_name},
    )
    require(completed.returncode == 0, f"listing failed:\n{completed.stderr.strip()}")
    modules, states = json.loads(completed.stdout.splitlines()[-1])
    require(
        states.get(qualified_name) == "ok",
        f"nothing was listed: {qualified_name!r} is {states.get(qualified_name)}",
    )
    heavy = sorted(set(modules) & set(HEAVY_MODULES))
    require(
        not heavy,
        f"listing {qualified_name!r} imports {', '.join(heavy)}; the module of the entry point may "
        "import kakehashi_core only, the model belongs behind 'factory'",
    )


def _preload(kind: str) -> None:
    """Import the host libraries: what *they* change on import is not the plugin's doing."""
    from contextlib import suppress
    from importlib import import_module

    names = ["torch", "torch.func", "torch.nn"]
    if kind in ("calculators", "init_guess"):
        names += ["ase.build", "ase.calculators.calculator", "pyscf.dft", "pyscf.grad"]
        names += ["e3nn.o3", "torch_geometric.utils"]
    if kind == "samplers":
        names += ["scipy.sparse.linalg", "quspin.operators", "quspin.basis"]
    for name in names:
        with suppress(ImportError):
            import_module(name)


def _main(kind: str, name: str) -> None:
    from kakehashi_core import registry
    from kakehashi_testing.evaluation import evaluator, interrupter, load_model

    _preload(kind)
    plugin = registry.find(kind, name)
    changes: dict[str, dict[str, str]] = {}

    before = process_state()
    model = load_model(plugin)
    after = process_state()
    changes[STAGES[0]] = differences(before, after)
    for stage, action in ((STAGES[1], evaluator(plugin)), (STAGES[2], interrupter(plugin))):
        if action is None:
            continue
        before = process_state()
        outcome = action(model)
        after = process_state()
        require(
            stage != STAGES[2] or outcome > 0,
            f"{name}: no exception could be raised inside the model; nothing is tested",
        )
        changes[stage] = differences(before, after)
    sys.stdout.write("\n" + json.dumps(changes) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
