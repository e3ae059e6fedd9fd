"""Limit the number of threads for a block of code, and leave everything as it was."""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from kakehashi_core.errors import InvalidInputError


@contextmanager
def thread_limit(n: int) -> Iterator[None]:
    """Run a block with ``n`` threads in torch, OpenMP, BLAS and, where it is loaded, PySCF.

    Numbers depend on the thread count in the last digits; the same seed and the same limit give the
    same numbers. Limits nest; the former counts come back at the end, also after an exception.
    OpenMP counts belong to the calling thread: compute in the thread that set the limit.

    Args:
        n: Number of threads, at least 1.

    Raises:
        InvalidInputError: If ``n`` is not a positive integer.
    """
    n = _checked_count(n)
    import threadpoolctl
    import torch

    # PySCF counts the threads of its own OpenMP library, which threadpoolctl cannot always see.
    pyscf_lib = sys.modules.get("pyscf.lib")
    torch_before = torch.get_num_threads()
    pyscf_before = pyscf_lib.num_threads() if pyscf_lib else None
    pools = threadpoolctl.threadpool_limits(limits=n)
    try:
        torch.set_num_threads(n)
        if pyscf_lib:
            pyscf_lib.num_threads(n)
        yield
    finally:
        if pyscf_lib:
            pyscf_lib.num_threads(pyscf_before)
        torch.set_num_threads(torch_before)
        # Last, because torch and PySCF set the counts of libraries that they share with others.
        pools.restore_original_limits()


def _checked_count(n: int) -> int:
    try:
        count = operator.index(n)
    except TypeError:
        count = 0
    if count < 1 or isinstance(n, bool):
        raise InvalidInputError(f"number of threads must be a positive integer, got {n!r}")
    return count
