"""Section of ``kakehashi demo``: thermal states of quantum spins from operator lists."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from kakehashi_core.consoles import result_console
from kakehashi_core.files import write_json
from kakehashi_dbm.compact_network import fit_compact, ring_energy, ring_infidelity
from kakehashi_dbm.free_fermions import ring_thermodynamics
from kakehashi_dbm.purified_nqs import PurifiedNQS
from kakehashi_dbm.thermal_curve import thermal_curve
from kakehashi_dbm.thermal_sampler import ThermalDBM
from kakehashi_quspin.exact_thermal import exact_thermal
from kakehashi_quspin.spin_model import SpinModel

N_SITES, BETA = 64, 2.0
N_LAYERS = 4
FRUSTRATED = 6
"""Sites of the frustrated ring."""


def demo_dbm(*, output: Path) -> None:
    """Sample a critical Ising ring of 64 spins and follow a frustrated ring in imaginary time.

    Args:
        output: Folder for ``thermal_spins.json``.
    """
    console = result_console()
    bonds = [[-1.0, i, (i + 1) % N_SITES] for i in range(N_SITES)]
    static = [["zz", bonds], ["x", [[-1.0, i] for i in range(N_SITES)]]]
    model = SpinModel.from_quspin(static, N_SITES)
    exact = ring_thermodynamics(N_SITES, 1.0, 1.0, BETA)
    thermal = ThermalDBM(model, beta=BETA, seed=1)
    thermal.run(600)
    curve = thermal_curve(model, BETA, n_measurements=100, seed=2)
    console.print(
        f"A critical Ising ring of {N_SITES} spins at beta = {BETA:g}, from the operator lists of QuSpin, "
        "per site beside free fermions:",
        highlight=False,
    )
    table = Table()
    for column in ("", "sampled", "exact"):
        table.add_column(column, justify="right" if column else "left")
    rows = {
        "energy": (thermal.energy(), exact.energy),
        "specific heat": (curve.specific_heat(BETA), exact.specific_heat),
        "entropy": (curve.entropy(BETA), exact.entropy(BETA)),
    }
    for name, (found, value) in rows.items():
        table.add_row(
            name,
            f"{found.mean / N_SITES:.5f} ± {found.stderr / N_SITES:.5f}",
            f"{value / N_SITES:.5f}",
        )
    console.print(table)
    network = fit_compact(BETA, N_LAYERS, ring_infidelity(N_SITES, 1.0, 1.0, BETA))
    compact = (ring_energy(network, N_SITES, 1.0, 1.0) - exact.energy) / N_SITES
    console.print(
        f"  {thermal.n_slices} slices; {2 * N_LAYERS} learned ones ({network.n_parameters} numbers) are off "
        f"by {compact:+.1e}",
        highlight=False,
    )
    pairs = [
        [c, i, (i + d) % FRUSTRATED] for i in range(FRUSTRATED) for d, c in ((1, 1.0), (2, 0.5))
    ]
    frustrated = [[letters, pairs] for letters in ("xx", "yy", "zz")]
    rotated = SpinModel.from_quspin(frustrated, FRUSTRATED, pauli=0)
    learned = PurifiedNQS(rotated, beta=BETA, n_layers=3, growth=0.3, seed=1).energy().mean
    from quspin.basis import spin_basis_1d

    reference = exact_thermal(frustrated, spin_basis_1d(FRUSTRATED, pauli=0), beta=BETA).energy.mean
    console.print(
        f"  a frustrated Heisenberg ring of {FRUSTRATED}, which has a sign problem, in imaginary time: "
        f"{learned:.4f}, exactly {reference:.4f}",
        highlight=False,
    )
    write_json(
        output / "thermal_spins.json",
        {
            "ring": {
                name: {"mean": e.mean / N_SITES, "stderr": e.stderr / N_SITES, "exact": v / N_SITES}
                for name, (e, v) in rows.items()
            },
            "compact": {"layers": N_LAYERS, "error": compact},
            "frustrated ring": {"energy": learned, "exact": reference},
        },
    )
