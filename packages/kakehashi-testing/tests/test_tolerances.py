from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from kakehashi_core.errors import InvalidInputError, UnknownNameError
from kakehashi_testing.tolerances import TABLE, Tolerance, tolerance


@pytest.mark.parametrize(
    ("name", "float64", "float32"),
    [
        ("forces", 1e-6, None),
        ("energy_invariance", 1e-10, 1e-5),
        ("tensor_equivariance", 1e-8, 1e-4),
        ("batched_single", 1e-10, 1e-5),
        ("extensivity", 1e-9, 1e-4),
        ("xc_potential", 1e-7, None),
        ("scf_gradient", 2e-5, None),
        ("scf_size_consistency", 1e-6, None),
        ("scf_rotation", 1e-6, None),
        ("thread_count", 1e-6, 1e-4),
        ("determinism", 0.0, 0.0),
    ],
)
def test_values_are_those_of_the_design_documents(
    name: str, float64: float, float32: float | None
) -> None:
    """Oracle: the tables of STYLE.md 1.11 and CHECKS.md."""
    assert (TABLE[name].float64, TABLE[name].float32) == (float64, float32)


@pytest.mark.parametrize("row", TABLE.values(), ids=lambda row: row.name)
def test_every_row_has_unit_and_reason(row: Tolerance) -> None:
    assert row.unit
    assert len(row.reason) > 20
    assert row.float32 is None or row.float32 >= row.float64


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("float32"), torch.float32])
def test_dtype_may_be_written_in_any_way(dtype: object) -> None:
    assert tolerance("batched_single", dtype) == 1e-5
    assert tolerance("batched_single") == 1e-10


def test_unknown_row_suggests_the_closest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown tolerance 'force'.*'forces'"):
        tolerance("force")


def test_missing_dtype_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="'forces' has no value for dtype 'float32'"):
        tolerance("forces", "float32")
    with pytest.raises(InvalidInputError, match="float64 and float32"):
        tolerance("thread_count", "bfloat16")


def test_the_table_is_frozen() -> None:
    with pytest.raises(TypeError):
        TABLE["forces"] = TABLE["stress"]  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        TABLE["forces"].float64 = 1.0  # type: ignore[misc]


def test_a_tolerance_that_shows_nothing_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="must lie in"):
        Tolerance(name="x", float64=1.0, unit="eV", reason="too loose")
