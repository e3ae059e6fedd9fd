"""Fixed densities of the training species, computed once and kept on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from kakehashi_core.checkpoints import load_checkpoint, read_manifest
from kakehashi_core.ensembles import run_ensemble
from kakehashi_nnxc.four_layer_form import FourLayerFunctional, parameter_shapes
from kakehashi_nnxc.g2_calculations import kohn_sham

BASE_FUNCTIONAL = "r2scan"
CONVERGENCE = 1e-8
POINT_GRID_LEVEL = 1
"""Level of the stored points: only differences between functionals are taken on it, its error cancels."""


def compute_density(species: str) -> dict[str, Any]:
    """Converge one atom or molecule of the G2 set with r2SCAN and return its density as arrays.

    Args:
        species: Name in ASE's G2 set; atoms by their symbol.

    Returns:
        "variables" (n_var, n_points), "weights" (n_points,), "spin", "xc_energy" of the functional on these
        points and "total_energy" of the calculation, atomic units; "xc_rows" (1 + n_var, n_points), energy
        per particle and first derivatives of the functional.
    """
    return _converged_arrays(species, BASE_FUNCTIONAL)


def compute_relaxed_density(request: Mapping[str, str]) -> dict[str, Any]:
    """Do the same with a network in place of r2SCAN.

    Args:
        request: "species" and "weights", a checkpoint of the smooth meta-GGA form; "sha256" of that file
            makes the key of the stored result unique.
    """
    checkpoint = load_checkpoint(request["weights"], shapes=parameter_shapes("MGGA"))
    functional = FourLayerFunctional(
        name="in-training", family="MGGA", parameters=checkpoint.tensors, activation="silu"
    )
    return _converged_arrays(request["species"], functional)


def _converged_arrays(species: str, functional: str | FourLayerFunctional) -> dict[str, Any]:
    import kakehashi_pyscf as kp
    from kakehashi_pyscf.density_variables import rho_from_variables

    mf = kohn_sham(species, functional)
    mf.conv_tol = CONVERGENCE
    kp.converge(mf)
    density = kp.fixed_density(mf, grid_level=POINT_GRID_LEVEL)
    rho = rho_from_variables(density.variables, density.spin)
    return {
        "variables": density.variables,
        "weights": density.weights,
        "spin": density.spin,
        "xc_energy": density.xc_energy,
        "total_energy": float(mf.e_tot),
        "xc_rows": mf._numint.eval_xc1(mf.xc, rho, density.spin, 1),
    }


def load_densities(
    species: Sequence[str],
    directory: Path,
    executor: Executor | None = None,
    *,
    weights: Path | None = None,
) -> dict[str, dict[str, Any]]:
    """Return species to arrays; whatever is not on disk in ``directory`` yet is computed.

    Args:
        species: Names in ASE's G2 set.
        directory: Where results are kept.
        executor: Runs the calculations; None for one after the other in this process.
        weights: Checkpoint of the functional whose densities are wanted; None for r2SCAN.
    """
    if weights is None:
        results = run_ensemble(
            compute_density,
            list(species),
            directory=directory,
            executor=executor,
            description="r2SCAN densities",
        )
    else:
        sha256 = str(read_manifest(weights)["sha256"])
        results = run_ensemble(
            compute_relaxed_density,
            [{"species": name, "weights": str(weights), "sha256": sha256} for name in species],
            directory=directory,
            executor=executor,
            description="densities of the network",
        )
    return dict(zip(species, results, strict=True))
