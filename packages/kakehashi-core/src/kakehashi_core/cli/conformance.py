"""``kakehashi check NAME``: the conformance suite of kakehashi-testing in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from kakehashi_core.cli.plugin_lookup import usable_plugins
from kakehashi_core.errors import UnsupportedError
from kakehashi_core.specs import GROUPS


def run_check(name: str, pytest_arguments: Sequence[str]) -> int:
    """Run pytest on the suite and return its exit code.

    Args:
        name: Registry name or ``"distribution:name"``.
        pytest_arguments: Further arguments of pytest.

    Raises:
        UnknownNameError: If nobody registers the name.
        PluginLoadError: If none of that name can be used.
        UnsupportedError: If kakehashi-testing or pytest is not installed.
    """
    usable_plugins(name, GROUPS)
    missing = [module for module in ("kakehashi_testing", "pytest") if find_spec(module) is None]
    if missing:
        raise UnsupportedError(
            f"'kakehashi check' needs {' and '.join(missing)}, which cannot be imported by "
            f"{sys.executable}; install it with: pip install kakehashi-testing"
        )
    command = [sys.executable, "-m", "pytest", "--pyargs", "kakehashi_testing.suite"]
    command += ["--kakehashi-plugin", name, *pytest_arguments]
    return_code = subprocess.run(command, check=False).returncode
    # A process that a signal ended has a negative code; shells report it as 128 + signal.
    return return_code if return_code >= 0 else 128 - return_code
