"""Atomic writes and locks, also against processes that die in between."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kakehashi_core.errors import InvalidInputError, LockedError
from kakehashi_core.files import LOCK_NAME, atomic_write, directory_lock, write_json
from kakehashi_core.results import ConvergenceStage


def file_names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_content_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with atomic_write(target, "w") as file:
        file.write("new µ\n")
        file.flush()
        assert target.read_text() == "old"
    assert target.read_bytes() == "new µ\n".encode()
    assert file_names(tmp_path) == ["a.txt"]


def test_exception_leaves_the_old_content(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    def interrupted() -> None:
        with atomic_write(target) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_bytes() == b"old"
    assert file_names(tmp_path) == ["a.bin"]


@pytest.mark.skipif(os.name == "nt", reason="resource limits are a POSIX feature")
def test_full_disk_leaves_the_old_content(tmp_path: Path) -> None:
    """A file size limit makes write fail with an OSError as a full disk does."""
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    code = (
        "import resource, signal, sys; from kakehashi_core.files import atomic_write\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "with atomic_write(sys.argv[1]) as file: file.write(b'x' * 5000)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, target], capture_output=True, text=True)
    assert "OSError: [Errno 27] File too large" in done.stderr
    assert target.read_bytes() == b"old"
    assert file_names(tmp_path) == ["a.bin"]


def test_leftovers_of_dead_processes_are_removed_others_kept(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = socket.gethostname().split(".")[0]
    stale = tmp_path / f".a.txt.{host}.{dead.pid}.0badcafe.tmp"
    live = tmp_path / f".a.txt.{host}.{os.getpid()}.0badcafe.tmp"
    elsewhere = tmp_path / f".a.txt.not-{host}.{dead.pid}.0badcafe.tmp"
    for leftover in (stale, live, elsewhere):
        leftover.write_text("half")
    with atomic_write(tmp_path / "a.txt", "w") as file:
        file.write("new")
    assert not stale.exists()
    assert live.exists()
    assert elsewhere.exists()


def test_unknown_mode_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(InvalidInputError, match="'wb' or 'w', got 'a'"),
        atomic_write(tmp_path / "x", "a"),  # type: ignore[call-overload]
    ):
        pass


def test_json_takes_what_science_produces(tmp_path: Path) -> None:
    stage = ConvergenceStage(name="diis", converged=True, n_iterations=3, residual=1e-9)
    data = {"array": np.arange(3), "scalar": np.float32(0.5), "path": Path("a/b"), "stage": stage}
    write_json(tmp_path / "x.json", data)
    read = json.loads((tmp_path / "x.json").read_text())
    assert read["array"] == [0, 1, 2]
    assert read["scalar"] == 0.5
    assert read["path"] == str(Path("a/b"))
    assert read["stage"]["residual"] == 1e-9


@pytest.mark.parametrize("bad", [float("nan"), {"x": np.array([np.inf])}, object(), {1j: 2}])
def test_json_refuses_what_it_cannot_hold(tmp_path: Path, bad: object) -> None:
    with pytest.raises(InvalidInputError, match=r"x\.json cannot be written as JSON"):
        write_json(tmp_path / "x.json", bad)
    assert file_names(tmp_path) == []


def test_second_lock_is_refused_at_once_and_says_who(tmp_path: Path) -> None:
    with directory_lock(tmp_path / "run") as folder:
        start = time.monotonic()
        with (
            pytest.raises(LockedError, match=f"in use by this very process .{os.getpid()}"),
            directory_lock(folder),
        ):
            pass
        assert time.monotonic() - start < 5
    with directory_lock(tmp_path / "run"):
        pass
    assert file_names(tmp_path / "run") in ([LOCK_NAME], [])


HOLDER = """
import os, sys, time
from kakehashi_core.files import directory_lock
with directory_lock(sys.argv[1]):
    if sys.argv[2] == "fork" and os.fork() == 0:
        os.write(1, b"%d\\n" % os.getpid())
        time.sleep(60)
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(60)
"""


def test_lock_of_another_process_names_it_and_dies_with_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path, ""], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with (
            pytest.raises(LockedError, match=f"in use by process {holder.pid} on "),
            directory_lock(tmp_path),
        ):
            pass
        holder.kill()
    with directory_lock(tmp_path):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_orphaned_workers_do_not_keep_the_lock(tmp_path: Path) -> None:
    """Forked workers survive kill -9 of their parent; the run must be resumable all the same."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path, "fork"], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        pids = {int(holder.stdout.readline()) for _ in range(2)}
        holder.kill()
        holder.stdout.close()
    (orphan,) = pids - {holder.pid}
    try:
        os.kill(orphan, 0)
        with directory_lock(tmp_path):
            pass
    finally:
        os.kill(orphan, signal.SIGKILL)
