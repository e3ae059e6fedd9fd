"""One task of an evaluation: one species with one functional, self-consistently."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kakehashi_core.checkpoints import load_checkpoint, manifest_path, read_manifest
from kakehashi_core.contracts import XCFamily, XCFunctional
from kakehashi_core.errors import ConvergenceError, DomainWarning
from kakehashi_core.results import ConvergenceReport
from kakehashi_core.threads import thread_limit
from kakehashi_nnxc.molecular_calculations import (
    AUXILIARY_BASIS,
    BASIS,
    GRID_LEVEL,
    as_json,
    from_json,
    kohn_sham,
)
from kakehashi_nnxc.reaction_sets.reactions import Molecule

FEW_CYCLES = 30
"""A species counts as converged by default if the first rung needs no more cycles than this."""

START_DENSITIES = ("minao", "atom", "huckel", "hcore")
"""PySCF's start densities for the first attempt and for the retries."""

CHECKPOINT_ENDING = ".safetensors"
RETRY_MAX_CYCLE = 200
MAX_REOPTIMIZATIONS = 3


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides the energies besides species and functional.

    Attributes:
        basis: Orbital basis.
        auxiliary_basis: Basis of the density fit.
        grid_level: PySCF grid level.
        stability: Whether the solution is followed to an internally stable one.
    """

    basis: str = BASIS
    auxiliary_basis: str = AUXILIARY_BASIS
    grid_level: int = GRID_LEVEL
    stability: bool = False


@dataclass(frozen=True, kw_only=True)
class SpeciesResult:
    """What is kept of one calculation.

    Attributes:
        species: Name of the molecule or atom.
        functional: Canonical name.
        energy: Total energy, hartree; None when the SCF did not converge.
        converged: Whether any rung of the ladder converged.
        method: The rung that did, empty if none.
        default_converged: Whether the first rung, the default settings, converged.
        default_cycles: Cycles of the first rung.
        cycles: Cycles over all rungs.
        orbital_gradient: Norm at the end, hartree.
        report: The whole report of the driver, for people.
        attempt: 0, or the number of the retry.
        n_ao: Number of basis functions.
        n_points: Number of grid points.
        spin_square: <S^2>, dimensionless.
        stable: Whether the solution is internally stable; None when this was not asked for.
        seconds: CPU time.
        warnings: Remarks, for instance elements outside the training domain.
        settings: Basis, grid and so on, see ``Settings``.
        weights_sha256: Digest of the weight file, empty without one.
        versions: Of the packages the numbers depend on.
        beside: Other functional to the total energy at the density of this one, hartree.
    """

    species: str
    functional: str
    energy: float | None
    converged: bool
    method: str
    default_converged: bool
    default_cycles: int
    cycles: int
    orbital_gradient: float
    report: str
    attempt: int
    n_ao: int
    n_points: int
    spin_square: float
    stable: bool | None
    seconds: float
    warnings: Sequence[str]
    settings: Mapping[str, Any]
    weights_sha256: str
    versions: Mapping[str, str]
    beside: Mapping[str, float] = field(default_factory=dict)

    @property
    def few_cycles(self) -> bool:
        """Whether default settings converged within ``FEW_CYCLES``."""
        return self.default_converged and self.default_cycles <= FEW_CYCLES


def species_task(
    molecule: Molecule,
    functional: Mapping[str, Any],
    settings: Settings,
    *,
    attempt: int = 0,
    beside: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the input of ``calculate_species``; everything in it is part of the key of the result.

    Args:
        molecule: Species.
        functional: Description from ``EvaluatedFunctional.description``.
        settings: Basis, grid and so on.
        attempt: 0 for the defaults of a user; retries start from other densities with more cycles.
        beside: Descriptions of functionals to evaluate at the converged density in addition.
    """
    return {
        **({"beside": [dict(other) for other in beside]} if beside else {}),
        "species": molecule.name,
        "functional": dict(functional),
        "settings": asdict(settings),
        "attempt": attempt,
        "molecule": as_json(molecule),
    }


def calculate_species(task: Mapping[str, Any]) -> dict[str, Any]:
    """Converge one species and return the fields of a ``SpeciesResult``.

    An SCF that does not converge by any rung is a result, with energy None.

    Args:
        task: From ``species_task``.

    Raises:
        KakehashiError: If the functional cannot be loaded.
    """
    import pyscf

    import kakehashi_pyscf as kp
    from kakehashi_pyscf.bench import versions

    settings, attempt = Settings(**task["settings"]), int(task["attempt"])
    with thread_limit(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", DomainWarning)  # recorded in the report
        start = time.process_time()
        mf = kohn_sham(
            from_json(task["molecule"]),
            load_described(task["functional"]),
            basis=settings.basis,
            auxiliary_basis=settings.auxiliary_basis,
            grid_level=settings.grid_level,
        )
        if attempt:
            mf.init_guess = START_DENSITIES[attempt]
            mf.max_cycle = RETRY_MAX_CYCLE
        problem = ""
        report: ConvergenceReport | None = None
        stable: bool | None = None
        others: dict[str, float] = {}
        try:
            report = kp.converge(mf)
            if settings.stability:
                stable = _follow_instabilities(mf)
            for other in task.get("beside", ()):
                others[other["name"]] = _energy_at_density(mf, load_described(other))
        except (ConvergenceError, ArithmeticError, ValueError, np.linalg.LinAlgError) as error:
            # Values that are not finite surface as ValueError of the eigensolver.
            report = getattr(error, "report", report)
            problem = f"{type(error).__name__}: {error}"
        seconds = time.process_time() - start
    first = report.stages[0] if report is not None and report.stages else None
    converged = not problem
    fields = asdict(
        SpeciesResult(
            species=task["species"],
            functional=task["functional"]["name"],
            energy=float(mf.e_tot) if converged else None,
            converged=converged,
            method=report.method if report is not None and converged else "",
            default_converged=bool(first and first.converged and not attempt),
            default_cycles=first.n_iterations if first else 0,
            cycles=report.n_iterations if report is not None else 0,
            orbital_gradient=report.residual if report is not None else float("nan"),
            report=problem or str(report),
            attempt=attempt,
            n_ao=int(mf.mol.nao),
            n_points=0 if mf.grids.weights is None else int(mf.grids.weights.size),
            spin_square=float(mf.spin_square()[0]) if converged and mf.mol.spin else 0.0,
            stable=stable,
            seconds=seconds,
            warnings=list(report.warnings) if report is not None else [],
            settings=asdict(settings),
            weights_sha256=str(task["functional"].get("sha256", "")),
            versions={**versions(), "libxc": str(pyscf.dft.libxc.__version__)},
            beside=others,
        )
    )
    # Sorted mappings are stored as plain JSON, which people can read.
    return {
        name: dict(sorted(value.items())) if isinstance(value, dict) else value
        for name, value in sorted(fields.items())
    }


def _energy_at_density(mf: Any, functional: str | XCFunctional) -> float:
    import kakehashi_pyscf as kp

    return float(kp.attach(mf, functional).energy_tot(dm=mf.make_rdm1()))


def load_described(description: Mapping[str, Any]) -> str | XCFunctional:
    """Return what ``kohn_sham`` takes, from the description in a task.

    Args:
        description: From ``EvaluatedFunctional.description``: a name; or a published weight file as bytes;
            or a checkpoint as bytes, with its manifest.
    """
    name = str(description["name"])
    if "file" not in description:
        return name
    from kakehashi_nnxc.published_weights import load_published

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"weights{CHECKPOINT_ENDING}"
        path.write_bytes(np.asarray(description["file"], dtype=np.uint8).tobytes())
        if "manifest" not in description:
            return load_published(path, name=name)
        manifest_path(path).write_text(str(description["manifest"]), encoding="utf-8")
        return load_checkpointed(path, name=name)


def load_checkpointed(path: str | Path, *, name: str = "") -> XCFunctional:
    """Load a checkpoint of the form that its manifest names.

    Args:
        path: The safetensors file.
        name: Name for hosts.

    Raises:
        CheckpointError: If it is damaged or of another form.
    """
    manifest = read_manifest(path)
    if manifest.get("form") != "four-layer":
        from kakehashi_nnxc.constrained_form import load_functional

        return load_functional(path, name=name)
    from kakehashi_nnxc.four_layer_form import FourLayerFunctional, parameter_shapes

    family: XCFamily = manifest["family"]
    checkpoint = load_checkpoint(path, shapes=parameter_shapes(family))
    return FourLayerFunctional(
        name=name or "four-layer",
        family=family,
        parameters=checkpoint.tensors,
        activation=manifest["activation"],
        sha256=checkpoint.sha256,
    )


def _follow_instabilities(mf: Any) -> bool:
    """Re-optimize along internal instabilities; return whether the end is stable."""
    for _ in range(MAX_REOPTIMIZATIONS):
        orbitals, _, stable, _ = mf.stability(return_status=True)
        if stable:
            return True
        mf.kernel(dm0=mf.make_rdm1(orbitals, mf.mo_occ))
        if not mf.converged:
            raise ConvergenceError(
                f"SCF with xc={mf.xc!r} converged to an unstable solution, and did not converge from "
                "the orbitals of lower energy"
            )
    return bool(mf.stability(return_status=True)[2])
