"""Thread limits come and go without a trace."""

import sys
from types import SimpleNamespace

import pytest
import threadpoolctl
import torch

from kakehashi_core.errors import InvalidInputError
from kakehashi_core.threads import thread_limit


def counts() -> list[int]:
    pools = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
    return [torch.get_num_threads(), *pools]


def test_limit_holds_inside_nested_and_after() -> None:
    """Oracle: the counts that torch and the loaded libraries report themselves.

    A library that was started with one thread may refuse to take more: the limit is an upper one.
    """
    before = counts()
    with thread_limit(2):
        assert torch.get_num_threads() == max(counts()) == 2
        with thread_limit(1):
            assert set(counts()) == {1}
        assert torch.get_num_threads() == max(counts()) == 2
    assert counts() == before


def test_counts_come_back_after_an_exception() -> None:
    before = counts()

    def fail() -> None:
        with thread_limit(torch.get_num_threads() + 1):
            assert counts() != before
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert counts() == before


def test_pyscf_is_limited_where_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in with PySCF's one function; core does not depend on PySCF."""
    count = [5]

    def num_threads(n: int | None = None) -> int:
        if n is not None:
            count[0] = n
        return count[0]

    monkeypatch.setitem(sys.modules, "pyscf.lib", SimpleNamespace(num_threads=num_threads))
    with thread_limit(2):
        assert count == [2]
        with thread_limit(1):
            assert count == [1]
        assert count == [2]
    assert count == [5]


def test_pyscf_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pyscf.lib", raising=False)
    with thread_limit(1):
        assert "pyscf.lib" not in sys.modules


@pytest.mark.parametrize("n", [0, -1, 1.5, "2", True, None])
def test_nonsense_is_refused(n: int) -> None:
    with pytest.raises(InvalidInputError, match="must be a positive integer"), thread_limit(n):
        pass
