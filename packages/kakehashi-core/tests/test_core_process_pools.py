"""Worker processes: none for one, and none that outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from kakehashi_core.errors import InvalidInputError
from kakehashi_core.process_pools import process_pool


def test_one_worker_is_this_process():
    """Oracle: nothing to wait for; numbers that make no sense are refused."""
    with process_pool(1) as executor:
        assert executor is None
    with process_pool(2) as executor:
        assert executor is not None
        assert executor.submit(os.getpid).result() != os.getpid()
    with (
        pytest.raises(InvalidInputError, match="workers must be at least 1, got 0"),
        process_pool(0),
    ):
        pass


def test_workers_end_when_their_parent_is_killed():
    """Oracle: the process table, ten seconds after SIGKILL of the parent."""
    script = (
        "import os, signal\n"
        "from kakehashi_core.process_pools import process_pool\n"
        "with process_pool(2) as pool:\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert done.returncode == -signal.SIGKILL
    worker = int(done.stdout)
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail(f"worker {worker} still runs")
