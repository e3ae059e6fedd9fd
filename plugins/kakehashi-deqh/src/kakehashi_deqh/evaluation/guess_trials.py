"""Calculations with and without a predicted start: Fock matrices, times, energies."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.ensembles import run_ensemble
from kakehashi_core.errors import DomainWarning
from kakehashi_core.threads import thread_limit

FloatArray = npt.NDArray[np.float64]
VERSION = "1"
"""Changes when a stored trial means something else."""

Geometry = tuple[Sequence[int] | npt.NDArray[np.int64], FloatArray]


@dataclass(frozen=True, slots=True, kw_only=True)
class GuessTrial:
    """One molecule, twice.

    Attributes:
        name: Of the molecule.
        decision: See ``kakehashi_pyscf.GuessOutcome``.
        reason: Why the prediction was not used, or empty.
        n_builds: Fock matrices with the prediction, all of them.
        n_builds_minao: Without.
        seconds: CPU seconds with the prediction, prediction included.
        seconds_minao: Without.
        energy_difference: Converged energy with less without, hartree.
        one_shot_error: Energy of the predicted density above the converged one, hartree; NaN if nothing could
            be predicted.
        estimated_error: What the first Fock matrix says about it; NaN if it was not built.
        converged: Whether both converged.
    """

    name: str
    decision: str
    reason: str
    n_builds: int
    n_builds_minao: int
    seconds: float
    seconds_minao: float
    energy_difference: float
    one_shot_error: float
    estimated_error: float
    converged: bool


def guess_trial(
    name: str,
    geometry: Geometry,
    *,
    predictor: str,
    xc: str,
    basis: str,
    checkpoint: Path | None = None,
    charge: int = 0,
    grid: int = 3,
    conv_tol: float = 1e-9,
) -> GuessTrial:
    """Run PySCF with and without a prediction, same thresholds.

    Args:
        name: Of the molecule.
        geometry: Atomic numbers and positions, Å.
        predictor: Registry name.
        xc: Functional.
        basis: Basis set.
        checkpoint: Other weights for the predictor.
        charge: Total charge.
        grid: PySCF grid level.
        conv_tol: Hartree.
    """
    from pyscf import dft, gto

    import kakehashi_pyscf as kp
    from kakehashi_pyscf.initial_guesses import load_predictor

    numbers, positions = geometry

    def built() -> Any:
        mol = gto.M(
            atom=[(int(z), tuple(x)) for z, x in zip(numbers, positions, strict=True)],
            basis=basis,
            charge=charge,
            spin=None,
            verbose=0,
        )
        mf = (dft.UKS if mol.spin else dft.RKS)(mol, xc=xc)
        mf.grids.level, mf.conv_tol = grid, conv_tol
        return mf

    plain = built()
    began = time.process_time()
    with kp.counted_builds(plain) as without:
        plain.kernel()
    seconds_minao = time.process_time() - began
    options = {} if checkpoint is None else {"checkpoint": str(checkpoint)}
    load_predictor(predictor, **options)  # once in a process, seconds
    guessed = kp.initial_guess(built(), predictor, **options)
    began = time.process_time()
    with warnings.catch_warnings(), kp.counted_builds(guessed) as used:
        warnings.simplefilter("ignore", DomainWarning)
        guessed.kernel()
    seconds = time.process_time() - began
    outcome = guessed.guess_outcome
    one_shot, estimated = float("nan"), outcome.energy_error
    if not charge and plain.mol.spin == 0:
        try:
            result = load_predictor(predictor, **options)(kp.guess_request(plain))
        except NotImplementedError:
            pass
        else:
            dm = result.density_matrix
            core, vhf = plain.get_hcore(), plain.get_veff(plain.mol, dm)
            one_shot = float(plain.energy_tot(dm, core, vhf) - plain.e_tot)
            estimated = kp.estimated_energy_error(
                core + vhf, result.hamiltonian, plain.get_ovlp(), plain.mol.nelectron
            )
    return GuessTrial(
        name=name,
        decision=outcome.decision,
        reason=outcome.reason,
        n_builds=used.n,
        n_builds_minao=without.n,
        seconds=seconds,
        seconds_minao=seconds_minao,
        energy_difference=float(guessed.e_tot - plain.e_tot),
        one_shot_error=one_shot,
        estimated_error=estimated,
        converged=bool(plain.converged and guessed.converged),
    )


def guess_trials(
    requests: Sequence[Mapping[str, Any]],
    directory: Path,
    *,
    executor: Executor | None = None,
    description: str = "molecules",
) -> list[GuessTrial]:
    """Return trials of many molecules; those that are on disk are not run again.

    Args:
        requests: As ``tried`` reads them.
        directory: Where trials are kept.
        executor: Where they run; None for one after the other in this process.
        description: For the progress bar.
    """
    found = run_ensemble(
        tried,
        requests,
        directory=directory,
        executor=executor,
        description=description,
        version=VERSION,
    )
    return [GuessTrial(**one) for one in found]


def tried(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run one trial on one thread.

    Args:
        request: "name", "numbers", "positions" (Å), "charge", "predictor", "xc", "basis", and "sha256" of the
            weights, so that trials with others are not taken for these.
    """
    with thread_limit(1):
        trial = guess_trial(
            request["name"],
            (request["numbers"], np.asarray(request["positions"])),
            predictor=request["predictor"],
            xc=request["xc"],
            basis=request["basis"],
            charge=int(request["charge"]),
        )
    return asdict(trial)


def summary(trials: Sequence[GuessTrial]) -> dict[str, float]:
    """Return ratios over all molecules, and the worst one."""
    ratios = [t.n_builds / t.n_builds_minao for t in trials]
    return {
        "molecules": float(len(trials)),
        "Fock matrices over minao": sum(t.n_builds for t in trials)
        / sum(t.n_builds_minao for t in trials),
        "worst ratio": max(ratios),
        "most additional Fock matrices": float(max(t.n_builds - t.n_builds_minao for t in trials)),
        "CPU time over minao": sum(t.seconds for t in trials)
        / sum(t.seconds_minao for t in trials),
        "largest difference of energies, hartree": max(abs(t.energy_difference) for t in trials),
        "used": float(np.mean([t.decision == "used" for t in trials])),
    }


def flagging_score(trials: Sequence[GuessTrial], threshold: float = 1e-3) -> float:
    """Return the area under the curve of hits against false alarms of the estimated error, 0.5 to 1.

    Args:
        trials: With predictions good and bad; others are left out.
        threshold: Energy error, hartree, above which a prediction is bad.
    """
    known = [t for t in trials if np.isfinite(t.one_shot_error) and np.isfinite(t.estimated_error)]
    bad = [t.estimated_error for t in known if t.one_shot_error > threshold]
    good = [t.estimated_error for t in known if t.one_shot_error <= threshold]
    if not bad or not good:
        return float("nan")
    wins = [(b > g) + 0.5 * (b == g) for b in bad for g in good]
    return float(np.mean(wins))
