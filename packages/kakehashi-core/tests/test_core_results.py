"""Estimates and convergence reports."""

import json
import math

import pytest

from kakehashi_core.errors import InvalidInputError
from kakehashi_core.results import ConvergenceReport, ConvergenceStage, Estimate


def test_z_score_combines_both_errors() -> None:
    """Oracle: (3 - 1) / sqrt(0.3^2 + 0.4^2) = 4."""
    assert Estimate(mean=3.0, stderr=0.3).z_score(1.0, 0.4) == pytest.approx(4.0, rel=1e-15)


def test_z_score_without_errors() -> None:
    exact = Estimate(mean=1.0, stderr=0.0)
    assert exact.z_score(1.0) == 0.0
    assert exact.z_score(2.0) == -math.inf


@pytest.mark.parametrize("stderr", [-1e-9, math.nan])
def test_bad_error_bars(stderr: float) -> None:
    with pytest.raises(InvalidInputError, match="standard error must be >= 0"):
        Estimate(mean=0.0, stderr=stderr)


def test_estimates_read_well() -> None:
    assert str(Estimate(mean=1.25, stderr=0.5)) == "1.25 ± 0.5"
    assert f"{Estimate(mean=1.25, stderr=0.5):.1f}" == "1.2 ± 0.5"


def test_report_in_words_and_as_data() -> None:
    report = ConvergenceReport(
        converged=False,
        method="newton",
        n_iterations=12,
        residual=2e-3,
        residual_name="gradient norm, hartree",
        stages=(ConvergenceStage(name="diis", converged=False, n_iterations=8, message="cycles"),),
        warnings=("element Fe is outside the training domain",),
    )
    assert str(report).splitlines() == [
        "NOT converged by newton after 12 iterations (gradient norm, hartree 2.00e-03)",
        "  diis: failed, 8 iterations, cycles",
        "  warning: element Fe is outside the training domain",
    ]
    data = json.loads(json.dumps(report.to_dict()))
    assert data["stages"][0]["name"] == "diis"
    done = ConvergenceReport(converged=True, method="diis", n_iterations=9)
    assert str(done) == "converged by diis after 9 iterations"
