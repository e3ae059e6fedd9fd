"""Error classes: one string, picklable, with the closest names."""

import copyreg
import multiprocessing.reduction as reduction

import pytest

from kakehashi_core import errors
from kakehashi_core.errors import KakehashiError, UnknownNameError, suggest, unknown_name

CLASSES = [
    cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, Exception)
]


def test_all_own_errors_share_a_base_and_a_builtin() -> None:
    own = [cls for cls in CLASSES if not issubclass(cls, Warning)]
    assert len(own) >= 10
    assert all(issubclass(cls, KakehashiError) for cls in own)


@pytest.mark.parametrize("cls", CLASSES)
def test_errors_survive_pools(cls: type[Exception]) -> None:
    error = cls("a sentence")
    function, arguments = error.__reduce_ex__(2)[:2]
    assert str(function(*arguments)) == "a sentence"
    assert len(reduction.ForkingPickler.dumps(error)) > 0
    assert copyreg.__name__ in str(type(error).__reduce_ex__(error, 2)) or arguments


def test_unknown_name_lists_the_closest() -> None:
    error = unknown_name("functional", "nn-mgg", ["pbe", "nn-mgga", "nn-gga"], "Look here.")
    assert isinstance(error, UnknownNameError)
    assert isinstance(error, KeyError)
    assert str(error) == (
        "unknown functional 'nn-mgg'. Did you mean 'nn-mgga' or 'nn-gga'? "
        "Registered: nn-gga, nn-mgga, pbe. Look here."
    )
    assert "none is installed" in str(unknown_name("sampler", "x", []))


def test_nothing_is_suggested_for_nonsense() -> None:
    assert suggest("zzz", ["pbe"]) == ""
