"""What the modules for calculators share: the calculator, its samples and how precise it is."""

from __future__ import annotations

from typing import Any

import pytest

from kakehashi_core.registry import Plugin
from kakehashi_testing.calculator_samples import displaced, is_self_consistent
from kakehashi_testing.evaluation import load_model, sample_atoms

N_SYSTEMS = 3


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let models remark on displaced, stretched and repeated samples: leaving the domain is no failure."""
    item.add_marker(pytest.mark.filterwarnings("ignore::kakehashi_core.errors.DomainWarning"))


@pytest.fixture(scope="module")
def calculator(kakehashi_calculator: Plugin) -> Any:
    """Load the calculator under test with default options."""
    pytest.importorskip("ase", reason="checks of calculators need ASE: pip install kakehashi-ase")
    return load_model(kakehashi_calculator)


@pytest.fixture(scope="module")
def samples(kakehashi_calculator: Plugin) -> list[Any]:
    """Structures of the spec, off their symmetric positions; none is a failure, not a pass."""
    pytest.importorskip("ase", reason="checks of calculators need ASE: pip install kakehashi-ase")
    spec = kakehashi_calculator.spec
    if spec is None or not spec.samples:
        pytest.fail(
            "spec.samples is empty; name molecules or give ase.Atoms arguments", pytrace=False
        )
    return [displaced(sample_atoms(sample)) for sample in spec.samples[:N_SYSTEMS]]


@pytest.fixture(scope="module")
def scf(calculator: Any) -> bool:
    """Whether results contain an SCF or a grid, so that the looser rows apply."""
    return is_self_consistent(calculator)


@pytest.fixture(scope="module")
def dtype(kakehashi_calculator: Plugin) -> str:
    """Precision that the model computes in by default."""
    assert kakehashi_calculator.spec is not None
    return kakehashi_calculator.spec.dtypes[0]


@pytest.fixture(autouse=True)
def _inapplicable(request: pytest.FixtureRequest) -> None:
    """Skip a test marked ``check(name)`` where the calculator says why it does not apply."""
    marker = request.node.get_closest_marker("kakehashi_check")
    if marker is None:
        return
    reasons = getattr(request.getfixturevalue("calculator"), "inapplicable_checks", {})
    if marker.args[0] in reasons:
        pytest.skip(f"{marker.args[0]} does not apply: {reasons[marker.args[0]]}")
