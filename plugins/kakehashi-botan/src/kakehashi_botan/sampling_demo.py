"""Section of ``kakehashi demo``: configurations of a glass former, carried between temperatures."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from kakehashi_botan.glass_sample import sample_figure
from kakehashi_botan.sampling.glass_sampler import TOLERANCE, GlassSampler
from kakehashi_botan.sampling.liquid_samples import equilibrium_samples
from kakehashi_botan.sampling.reweighting import WeightedSamples
from kakehashi_botan.sampling.trained_flow import load_packaged_flow
from kakehashi_core.consoles import result_console
from kakehashi_core.files import write_json

TEMPERATURE = 0.58
N_CARRIED = 128
N_MEASUREMENTS = 20


def demo_flow(*, output: Path) -> None:
    """Carry samples of a liquid to a lower temperature, sample there, and draw both.

    Args:
        output: Folder for ``flow.json`` and ``flow.png``.
    """
    console = result_console()
    trained = load_packaged_flow()
    liquid, hot = trained.liquid, trained.rungs(TEMPERATURE)[-2]
    console.print(
        f"A two-dimensional glass former of {liquid.n_particles} particles: configurations of T = {hot:g}, "
        f"carried to T = {TEMPERATURE:g} by a trained flow and weighted exactly.",
        highlight=False,
    )
    rng = np.random.default_rng(1)
    x = equilibrium_samples(liquid, hot, N_CARRIED, rng, equilibration=200)
    energies = liquid.energies(x)
    plain = WeightedSamples(x, energies / hot - energies / TEMPERATURE)
    started = time.process_time()
    carried = trained.flow(tolerance=TOLERANCE).weighted(x, hot, TEMPERATURE)
    carrying = (time.process_time() - started) / N_CARRIED
    weighted = carried.expectation(liquid.energies(carried.positions) / liquid.n_particles)
    sampler = GlassSampler(TEMPERATURE, n_chains=4, warmup=15, seed=1)
    sampler.run(N_MEASUREMENTS)
    direct = sampler.expt_value("energy_per_particle")
    console.print(
        f"  effective share of the samples: {plain.effective_share:.2f} weighted where they are, "
        f"{carried.effective_share:.2f} carried ({1000 * carrying:.0f} ms each)\n"
        f"  U/N at T = {TEMPERATURE:g}: {weighted} carried, {direct} by chains that also exchange through "
        f"the flow, {100 * sampler.diagnostics()['flow acceptance']:.0f} % of exchanges accepted",
        highlight=False,
    )
    write_json(
        output / "flow.json",
        {
            "temperatures": [hot, TEMPERATURE],
            "effective share, plain": plain.effective_share,
            "effective share, carried": carried.effective_share,
            "U/N, carried": asdict(weighted),
            "U/N, chains": asdict(direct),
            "milliseconds for each map": 1000 * carrying,
        },
    )
    positions = sampler.measured().reshape(-1, liquid.n_particles, liquid.dimension)
    figure = sample_figure(trained, TEMPERATURE, positions, x)
    figure.savefig(output / "flow.png", dpi=150)
    console.print(f"  energies and g(r): {output / 'flow.png'}", highlight=False)
