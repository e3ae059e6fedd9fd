"""Registry, contracts, files and run control that all kakehashi packages share.

Every public name below can be imported from here; its module is loaded at the first use, so that
importing the package costs next to nothing. Core knows no host code and no model.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kakehashi_core.checkpoints import (
        Checkpoint,
        load_checkpoint,
        load_packaged_checkpoint,
        read_manifest,
        read_packaged_manifest,
        save_checkpoint,
    )
    from kakehashi_core.contracts import (
        GuessRequest,
        GuessResult,
        InitialGuess,
        NonlocalXCFunctional,
        Sampler,
        XCFunctional,
    )
    from kakehashi_core.devices import (
        resolve_device,
        resolve_dtype,
    )
    from kakehashi_core.ensembles import (
        TaskFailure,
        run_ensemble,
    )
    from kakehashi_core.errors import (
        CheckpointError,
        ConvergenceError,
        DomainWarning,
        EnsembleError,
        InvalidInputError,
        KakehashiError,
        LockedError,
        PluginLoadError,
        UnknownNameError,
        UnsupportedError,
    )
    from kakehashi_core.files import (
        atomic_write,
        directory_lock,
        write_json,
    )
    from kakehashi_core.foreign_weights import (
        import_state_dict,
    )
    from kakehashi_core.gaussian_kernels import (
        GaussianKernel,
    )
    from kakehashi_core.model_card import (
        ModelCard,
    )
    from kakehashi_core.progress import (
        progress_bar,
    )
    from kakehashi_core.random_streams import (
        recorded_seed,
        spawn,
        torch_generator,
    )
    from kakehashi_core.registry import (
        Plugin,
        State,
        entry_names,
        find,
        load,
        load_factory,
        plugins,
    )
    from kakehashi_core.results import (
        ConvergenceReport,
        ConvergenceStage,
        Estimate,
    )
    from kakehashi_core.specs import (
        API_VERSION,
        CalculatorSpec,
        Citation,
        CommandSpec,
        Domain,
        InitialGuessSpec,
        PluginSpec,
        SamplerSpec,
        XCSpec,
    )
    from kakehashi_core.threads import (
        thread_limit,
    )

_HOMES = {
    "checkpoints": (
        "Checkpoint",
        "load_checkpoint",
        "load_packaged_checkpoint",
        "read_manifest",
        "read_packaged_manifest",
        "save_checkpoint",
    ),
    "contracts": (
        "GuessRequest",
        "GuessResult",
        "InitialGuess",
        "NonlocalXCFunctional",
        "Sampler",
        "XCFunctional",
    ),
    "devices": (
        "resolve_device",
        "resolve_dtype",
    ),
    "ensembles": (
        "TaskFailure",
        "run_ensemble",
    ),
    "errors": (
        "CheckpointError",
        "ConvergenceError",
        "DomainWarning",
        "EnsembleError",
        "InvalidInputError",
        "KakehashiError",
        "LockedError",
        "PluginLoadError",
        "UnknownNameError",
        "UnsupportedError",
    ),
    "files": (
        "atomic_write",
        "directory_lock",
        "write_json",
    ),
    "foreign_weights": ("import_state_dict",),
    "gaussian_kernels": ("GaussianKernel",),
    "model_card": ("ModelCard",),
    "progress": ("progress_bar",),
    "random_streams": (
        "recorded_seed",
        "spawn",
        "torch_generator",
    ),
    "registry": (
        "Plugin",
        "State",
        "entry_names",
        "find",
        "load",
        "load_factory",
        "plugins",
    ),
    "results": (
        "ConvergenceReport",
        "ConvergenceStage",
        "Estimate",
    ),
    "specs": (
        "API_VERSION",
        "CalculatorSpec",
        "Citation",
        "CommandSpec",
        "Domain",
        "InitialGuessSpec",
        "PluginSpec",
        "SamplerSpec",
        "XCSpec",
    ),
    "threads": ("thread_limit",),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "API_VERSION",
    "CalculatorSpec",
    "Checkpoint",
    "CheckpointError",
    "Citation",
    "CommandSpec",
    "ConvergenceError",
    "ConvergenceReport",
    "ConvergenceStage",
    "Domain",
    "DomainWarning",
    "EnsembleError",
    "Estimate",
    "GaussianKernel",
    "GuessRequest",
    "GuessResult",
    "InitialGuess",
    "InitialGuessSpec",
    "InvalidInputError",
    "KakehashiError",
    "LockedError",
    "ModelCard",
    "NonlocalXCFunctional",
    "Plugin",
    "PluginLoadError",
    "PluginSpec",
    "Sampler",
    "SamplerSpec",
    "State",
    "TaskFailure",
    "UnknownNameError",
    "UnsupportedError",
    "XCFunctional",
    "XCSpec",
    "atomic_write",
    "directory_lock",
    "entry_names",
    "find",
    "import_state_dict",
    "load",
    "load_checkpoint",
    "load_factory",
    "load_packaged_checkpoint",
    "plugins",
    "progress_bar",
    "read_manifest",
    "read_packaged_manifest",
    "recorded_seed",
    "resolve_device",
    "resolve_dtype",
    "run_ensemble",
    "save_checkpoint",
    "spawn",
    "thread_limit",
    "torch_generator",
    "write_json",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
