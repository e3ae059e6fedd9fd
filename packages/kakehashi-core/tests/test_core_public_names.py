"""The public names of the package, pinned; importing them costs next to nothing."""

import subprocess
import sys

import kakehashi_core

PINNED = """
API_VERSION CalculatorSpec Checkpoint CheckpointError Citation CommandSpec ConvergenceError
ConvergenceReport ConvergenceStage Domain DomainWarning EnsembleError Estimate GaussianKernel GuessRequest
GuessResult InitialGuess InitialGuessSpec InvalidInputError KakehashiError LockedError ModelCard
NonlocalXCFunctional Plugin PluginLoadError PluginSpec Sampler SamplerSpec State TaskFailure UnknownNameError
UnsupportedError XCFunctional XCSpec atomic_write directory_lock entry_names find
import_state_dict load load_checkpoint load_factory load_packaged_checkpoint plugins progress_bar
read_manifest read_packaged_manifest recorded_seed resolve_device resolve_dtype run_ensemble
save_checkpoint spawn thread_limit torch_generator write_json
"""


def test_public_names_are_pinned_and_resolve() -> None:
    assert sorted(kakehashi_core.__all__) == sorted(PINNED.split())
    for name in kakehashi_core.__all__:
        assert getattr(kakehashi_core, name) is not None
        assert name in dir(kakehashi_core)
    assert not hasattr(kakehashi_core, "does_not_exist")


def test_import_changes_nothing_and_loads_nothing_heavy() -> None:
    """CHECKS row 40: no torch default, thread count, random state or warning filter is touched."""
    code = """
import sys, warnings, os, random
import numpy  # adds warning filters of its own
before = (list(warnings.filters), dict(os.environ), random.getstate())
import kakehashi_core
from kakehashi_core import *
assert not {"torch", "pyscf", "ase", "rich"} & set(sys.modules), "heavy import"
assert before == (list(warnings.filters), dict(os.environ), random.getstate())
import torch
seen = lambda: (torch.get_default_dtype(), torch.get_num_threads(), torch.initial_seed(),
                torch.is_grad_enabled(), torch.get_rng_state().tolist())
state = seen()
with thread_limit(1):
    torch_generator(1), spawn(2, 2), resolve_device("auto"), resolve_dtype("float32")
assert state == seen()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
