"""Fixed densities of the training species, computed once and kept on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kakehashi_core.ensembles import run_ensemble
from kakehashi_nnxc.constrained_form import KERNEL, load_functional
from kakehashi_nnxc.molecular_calculations import as_json, from_json, kohn_sham
from kakehashi_nnxc.reaction_sets.reactions import Molecule

if TYPE_CHECKING:
    from kakehashi_pyscf.fixed_densities import FixedDensity

BASE_FUNCTIONAL = "r2scan"
CONVERGENCE = 1e-7
VERSION = "4"
"""Changes when a stored density holds something else."""

POINT_GRID_LEVEL = 3
"""Level of the stored points. Levels 1 and 5 differ by up to 0.2 kcal/mol in what the networks of kh-mgga add
to an atom, and by 0.6 with the near-region channel; levels 3 and 5 by 0.002."""

SCF_GRID_LEVEL = 1
"""Level on which the densities converge. The energy on the stored points is second order in what this
changes: it moves by 0.002 kcal/mol, and the calculation takes a third of the time."""


def compute_density(request: Mapping[str, Any]) -> dict[str, Any]:
    """Converge one species and return its density as arrays.

    Args:
        request: "molecule" (see ``molecular_calculations.as_json``), "basis", and "functional": a name that
            libxc or the registry knows, or {"weights": path, "sha256": digest} of a flagship checkpoint.

    Returns:
        "variables" (n_var, n_points), "weights" (n_points,), "spin", "xc_energy" of the functional on these
        points, "near" (n_points,) the density convolved with ``KERNEL``, "rest_energy" without
        exchange-correlation, "total_energy" their sum, "cycles" and "method" of the SCF, atomic units.
    """
    import kakehashi_pyscf as kp

    functional = request["functional"]
    if not isinstance(functional, str):
        functional = load_functional(functional["weights"])
    mf = _on_coarse_grid(request, functional)
    report = kp.converge(mf)
    density = kp.fixed_density(mf, grid_level=POINT_GRID_LEVEL, kernel=KERNEL)
    return {
        **_split(density),
        "xc_energy": density.xc_energy,
        "total_energy": density.energy_rest + density.xc_energy,
        "rest_energy": density.energy_rest,
        "cycles": report.n_iterations,
        "method": report.method,
    }


def compute_on_grids(request: Mapping[str, Any]) -> dict[str, Any]:
    """Converge one species with r2SCAN and return its density on several grids.

    Args:
        request: As for ``compute_density``, with "grids" in addition: pairs of a level and the number of a
            random rotation, 0 for none.

    Returns:
        Number in "grids" (as text) to a dictionary like that of ``compute_density``, energies zero.
    """
    from scipy.spatial.transform import Rotation

    import kakehashi_pyscf as kp

    mf = _on_coarse_grid(request, BASE_FUNCTIONAL)
    kp.converge(mf)
    found: dict[str, Any] = {}
    for number, (level, seed) in enumerate(request["grids"]):
        rotation = Rotation.random(random_state=seed).as_matrix() if seed else None
        density = kp.fixed_density(mf, grid_level=level, rotation=rotation, kernel=KERNEL)
        found[str(number)] = {**_split(density), "total_energy": 0.0, "xc_energy": 0.0}
    return found


def _on_coarse_grid(request: Mapping[str, Any], functional: Any) -> Any:
    mf = kohn_sham(
        from_json(request["molecule"]),
        functional,
        basis=request["basis"],
        grid_level=SCF_GRID_LEVEL,
    )
    mf.conv_tol = CONVERGENCE
    return mf


def _split(density: FixedDensity) -> dict[str, Any]:
    n_local = 7 if density.spin else 3
    return {
        "near": density.variables[n_local],
        "variables": density.variables[:n_local],
        "weights": density.weights,
        "spin": density.spin,
    }


def load_grids(
    molecules: Sequence[Molecule],
    directory: Path,
    *,
    grids: Sequence[tuple[int, int]],
    basis: str,
    executor: Executor | None = None,
) -> dict[str, dict[str, Any]]:
    """Return species to number of the grid to arrays; see ``compute_on_grids`` and ``load_densities``."""
    results = run_ensemble(
        compute_on_grids,
        [
            {
                "molecule": as_json(m),
                "basis": basis,
                "grids": [list(grid) for grid in grids],
            }
            for m in molecules
        ],
        directory=directory,
        executor=executor,
        description="densities on several grids",
        version=VERSION,
    )
    return dict(zip([m.name for m in molecules], results, strict=True))


def load_densities(
    molecules: Sequence[Molecule],
    directory: Path,
    *,
    functional: str | Mapping[str, str] = BASE_FUNCTIONAL,
    basis: str,
    executor: Executor | None = None,
) -> dict[str, dict[str, Any]]:
    """Return species to arrays; whatever is not on disk in ``directory`` yet is computed.

    Args:
        molecules: Species with unique names.
        directory: Where results are kept.
        functional: As in ``compute_density``.
        basis: Orbital basis.
        executor: Runs the calculations; None for one after the other in this process.
    """
    stored = functional if isinstance(functional, str) else dict(functional)
    results = run_ensemble(
        compute_density,
        [{"molecule": as_json(m), "basis": basis, "functional": stored} for m in molecules],
        directory=directory,
        executor=executor,
        description="densities",
        version=VERSION,
    )
    return dict(zip([m.name for m in molecules], results, strict=True))
