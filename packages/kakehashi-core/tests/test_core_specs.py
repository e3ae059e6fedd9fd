"""Specs refuse nonsense; every kind has a group."""

import pytest

from kakehashi_core.errors import InvalidInputError
from kakehashi_core.specs import GROUPS, SPEC_TYPES, Domain, XCSpec

GOOD = {"name": "a-b", "api_version": 1, "factory": "m:f", "summary": "s", "family": "LDA"}


def test_groups_follow_the_kinds() -> None:
    assert set(GROUPS) == {"calculators", "xc", "init_guess", "samplers", "commands"}
    assert GROUPS["xc"] == "kakehashi.xc"
    assert SPEC_TYPES["xc"] is XCSpec


@pytest.mark.parametrize("name", ["", "Upper", " space", "a:b"])
def test_bad_names(name: str) -> None:
    with pytest.raises(InvalidInputError, match="must be lower-case kebab-case"):
        XCSpec(**{**GOOD, "name": name})  # type: ignore[arg-type]


@pytest.mark.parametrize("factory", ["m", "m:", ":f", "m:f:g", ""])
def test_bad_factories(factory: str) -> None:
    with pytest.raises(InvalidInputError, match="factory must read 'module:callable'"):
        XCSpec(**{**GOOD, "factory": factory})  # type: ignore[arg-type]


def test_domain() -> None:
    assert Domain(elements=("H", "O")).outside({"H", "Fe", "Au"}) == ("Au", "Fe")
    assert Domain().outside({"Fe"}) == ()
