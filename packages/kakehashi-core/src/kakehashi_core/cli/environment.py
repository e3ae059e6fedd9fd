"""What ``kakehashi doctor`` reports about Python, the packages and the hardware it runs on."""

from __future__ import annotations

import os
import platform
import sys
import warnings
from collections.abc import Iterable
from importlib import import_module, metadata
from typing import Any

from kakehashi_core._entry_point_scan import normalize_distribution, one_line

HOSTS = ("torch", "pyscf", "ase", "quspin", "e3nn", "torch-geometric", "numpy", "entrypoints")
"""Distributions whose version decides most often whether a model runs."""

VARIABLES = (
    "KAKEHASHI_DISABLE",
    "KAKEHASHI_PLUGINS",
    "KAKEHASHI_DEBUG",
    "KAKEHASHI_NO_ASE_HOOK",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "PYSCF_EXT_PATH",
    "CUDA_VISIBLE_DEVICES",
)
"""Environment variables that change what kakehashi finds, or how fast it runs."""


def environment(registered: Iterable[str]) -> dict[str, Any]:
    """Return the facts about this environment as plain data; imports torch.

    Args:
        registered: Distributions that register plugins; their versions are listed as well.
    """
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "cpu_count": os.cpu_count() or 0,
        "distributions": _versions(registered),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "torch": _torch_facts(),
        "thread_pools": _thread_pools(),
    }


def _versions(registered: Iterable[str]) -> dict[str, str]:
    ours = set(registered)
    for distribution in metadata.distributions():
        try:
            name = normalize_distribution(distribution.metadata["Name"])
        except Exception:  # noqa: BLE001, S112  damaged metadata of a foreign package
            continue
        if name.startswith("kakehashi"):
            ours.add(name)
    versions = {}
    for name in [*sorted(ours), *HOSTS]:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        except Exception as error:  # noqa: BLE001  damaged metadata is a finding, not a crash
            versions[name] = f"unreadable ({one_line(error)})"
    return versions


def _torch_facts() -> dict[str, Any]:
    try:
        torch = import_module("torch")
    except (Exception, SystemExit) as error:  # noqa: BLE001  doctor must survive a broken torch
        return {"error": one_line(error)}
    # An unusable driver makes torch warn; the text belongs into the report, not between its lines.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cuda = bool(torch.cuda.is_available())
        devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "version": str(torch.__version__),
        "built_for_cuda": torch.version.cuda or "",
        "cuda_available": cuda,
        "cuda_devices": devices if cuda else [],
        "default_dtype": str(torch.get_default_dtype()),
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "remarks": [" ".join(str(one.message).split()) for one in caught],
    }


def _thread_pools() -> list[dict[str, Any]]:
    from threadpoolctl import threadpool_info

    keys = ("user_api", "internal_api", "prefix", "version", "num_threads")
    return [{key: pool.get(key) for key in keys} for pool in threadpool_info()]
