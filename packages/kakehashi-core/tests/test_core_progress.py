"""Progress bars: on stderr, on a terminal, nowhere else."""

import io
import subprocess
import sys

import pytest

from kakehashi_core.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_silent_off_a_terminal_and_without_rich() -> None:
    code = (
        "import sys; from kakehashi_core.progress import progress_bar\n"
        "with progress_bar('work', total=2) as advance: advance(2)\n"
        "assert 'rich' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_shows_counts_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    stdout = sys.stdout
    with progress_bar("work [in brackets]", total=3) as advance:
        assert sys.stdout is stdout, "stdout may be a file while stderr is a terminal"
        advance(1)
        with progress_bar("inner", total=1) as advance_inner:
            advance_inner(1)
        advance(2)
    assert sys.stderr is terminal
    assert "work [in brackets]" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
    assert capsys.readouterr().out == ""
