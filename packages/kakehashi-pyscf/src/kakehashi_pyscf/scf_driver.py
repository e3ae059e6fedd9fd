"""A self-consistent field driver that does not give up at the first failure, and says what it did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kakehashi_core.errors import ConvergenceError
from kakehashi_core.results import ConvergenceReport, ConvergenceStage
from kakehashi_pyscf.attachment import domain_warnings

_RESULTS = (
    "mo_energy",
    "mo_coeff",
    "mo_occ",
    "e_tot",
    "converged",
    "scf_summary",
    "cycles",
    "guess_outcome",
)
SHIFT_HARTREE = 0.3
DAMPING = 0.3
SMEARING_HARTREE = 0.01
START_FUNCTIONAL = "r2scan"


class SCFConvergenceError(ConvergenceError):
    """No rung of the ladder converged; ``report`` says what was tried."""

    def __init__(self, message: str, report: ConvergenceReport | None = None) -> None:
        super().__init__(message)
        self.report = report

    def __reduce__(self) -> tuple[type[SCFConvergenceError], tuple[str, ConvergenceReport | None]]:
        return (type(self), (str(self), self.report))


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to run the SCF.

    Attributes:
        name: What the report calls it.
        run: Takes a copy of the mean-field object and a start density (or None), returns the object that
            holds the result.
    """

    name: str
    run: Callable[[Any, Any], Any]


def _plain(mf: Any, dm0: Any) -> Any:
    mf.kernel(dm0=dm0)
    return mf


def _shifted(mf: Any, dm0: Any) -> Any:
    mf.level_shift = SHIFT_HARTREE
    mf.damp = DAMPING
    mf.max_cycle = max(100, mf.max_cycle)
    mf.kernel(dm0=dm0)
    return mf


def _second_order(mf: Any, dm0: Any) -> Any:
    newton = mf.newton()
    newton.max_cycle = max(50, mf.max_cycle)
    newton.kernel(dm0=dm0)
    return newton


def _from_start_functional(mf: Any, dm0: Any) -> Any:
    del dm0
    start = mf.copy()
    start.xc = START_FUNCTIONAL
    start.kernel()
    if not start.converged:
        start = _second_order(start, start.make_rdm1())
    return _second_order(mf, start.make_rdm1())


def _smeared(mf: Any, dm0: Any) -> Any:
    from pyscf.scf.addons import smearing

    smooth = smearing(mf.copy(), sigma=SMEARING_HARTREE, method="fermi")
    smooth.kernel(dm0=dm0)
    return _second_order(mf, smooth.make_rdm1())


LADDER: tuple[Rung, ...] = (
    Rung("DIIS", _plain),
    Rung("DIIS, level shift and damping", _shifted),
    Rung("second order", _second_order),
    Rung(f"second order from {START_FUNCTIONAL}", _from_start_functional),
    Rung("second order from smeared occupations", _smeared),
)
"""From cheap to robust. Occupations of the result are always those of the object itself."""


def converge(mf: Any, dm0: Any = None, *, ladder: Sequence[Rung] = LADDER) -> ConvergenceReport:
    """Converge a Kohn-Sham object in place, climbing a ladder of methods until one succeeds.

    Args:
        mf: A mean-field object, usually from ``attach``. Its own settings rule the first rung.
        dm0: Start density matrix in the atomic-orbital basis; None for PySCF's guess.
        ladder: The rungs to try, in order.

    Returns:
        Which rung succeeded after how many cycles, the norm of the orbital gradient (hartree), and
        remarks such as elements outside the training domain.

    Raises:
        SCFConvergenceError: If every rung failed; it carries the report. ``mf`` then holds no result.
    """
    stages: list[ConvergenceStage] = []
    density = dm0
    for rung in ladder:
        trial = mf.copy()
        counter = _CycleCounter(trial)
        try:
            result = rung.run(trial, density)
        except (np.linalg.LinAlgError, FloatingPointError, NotImplementedError) as error:
            stages.append(
                ConvergenceStage(
                    name=rung.name,
                    converged=False,
                    n_iterations=counter.count,
                    message=f"{type(error).__name__}: {error}",
                )
            )
            continue
        residual = _orbital_gradient_norm(result)
        stages.append(
            ConvergenceStage(
                name=rung.name,
                converged=bool(result.converged),
                n_iterations=counter.count,
                residual=residual,
                message=f"E = {float(np.real(result.e_tot)):.8f} Ha",
            )
        )
        if result.converged:
            for attribute in _RESULTS:
                if hasattr(result, attribute):
                    setattr(mf, attribute, getattr(result, attribute))
            return _report(mf, stages, residual)
        if np.isfinite(np.real(result.e_tot)):
            density = result.make_rdm1()
    report = _report(mf, stages, stages[-1].residual if stages else float("nan"))
    raise SCFConvergenceError(
        f"SCF with xc={mf.xc!r} did not converge by any of {len(stages)} methods. {report} "
        "Try another start density, a larger max_cycle, or another spin state",
        report,
    )


class _CycleCounter:
    """Counts SCF cycles through PySCF's callback, and keeps the user's own callback alive."""

    def __init__(self, mf: Any) -> None:
        self.count = 0
        self._users = getattr(mf, "callback", None)
        mf.callback = self

    def __call__(self, environment: dict[str, Any]) -> None:
        self.count += 1
        if callable(self._users):
            self._users(environment)


def _orbital_gradient_norm(mf: Any) -> float:
    try:
        gradient = mf.get_grad(mf.mo_coeff, mf.mo_occ)
    except (AttributeError, TypeError, ValueError):
        return float("nan")  # k-point objects return ragged lists in some versions
    # One block per k-point; none at all without virtual orbitals, as for He in a minimal basis.
    parts = gradient if isinstance(gradient, list | tuple) else [gradient]
    return float(np.sqrt(sum(float(np.linalg.norm(part)) ** 2 for part in parts)))


def _report(mf: Any, stages: list[ConvergenceStage], residual: float) -> ConvergenceReport:
    return ConvergenceReport(
        converged=bool(stages and stages[-1].converged),
        method=stages[-1].name if stages else "",
        n_iterations=sum(stage.n_iterations for stage in stages),
        residual=residual,
        residual_name="orbital gradient norm in hartree",
        stages=tuple(stages),
        warnings=domain_warnings(mf),
    )
