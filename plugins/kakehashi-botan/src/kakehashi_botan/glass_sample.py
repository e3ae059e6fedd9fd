"""``kakehashi glass sample``: equilibrium configurations of a small glass former, from the command line."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
from rich.table import Table

from kakehashi_botan.figures import check_picture, empty_figure
from kakehashi_botan.particle_types import SPECIES
from kakehashi_botan.sampling.flow import Flow
from kakehashi_botan.sampling.glass_sampler import GlassSampler, trained_flow
from kakehashi_botan.sampling.liquid_samples import equilibrium_samples
from kakehashi_botan.sampling.liquids import Liquid
from kakehashi_botan.sampling.pair_distribution import pair_distribution
from kakehashi_botan.sampling.reweighting import WeightedSamples
from kakehashi_core.consoles import result_console
from kakehashi_core.errors import InvalidInputError

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kakehashi_botan.sampling.glass_sampler import Moves
    from kakehashi_botan.sampling.trained_flow import TrainedFlow

FloatArray = npt.NDArray[np.float64]
N_CARRIED = 256
PICTURE_SWEEPS = 4000
"""Equilibration for pictures: nobody sees what more would change."""
ENOUGH = 50
"""Configurations of a chain from which errors and R-hat mean something."""


def glass_sample(
    *,
    temperature: float = 0.58,
    n: int = 200,
    output: Path = Path("glass.extxyz"),
    plot: Path | None = None,
    flow: Path | None = None,
    moves: str = "mixture",
    chains: int = 8,
    thin: int = 2,
    seed: int | None = None,
) -> int:
    """Write equilibrium configurations at one temperature, and say how good they are.

    Args:
        temperature: epsilon_AA / k_B, within the ladder of the flow and below its top; any with local moves.
        n: How many configurations.
        output: File to write, in any format of ASE that holds several structures.
        plot: Picture of energies, g(r) and effective shares, half a minute more; none by default.
        flow: File of a trained flow, or the name of a shipped one.
        moves: mixture (of local moves and exchanges through the flow), flow or local.
        chains: Chains that move together.
        thin: Steps between configurations of a chain.
        seed: Of everything; a new one is drawn and shown otherwise.
    """
    from ase.io import write

    if n < 4 * chains:
        raise InvalidInputError(
            f"--n is {n}; at least {4 * chains}, four of each of the {chains} chains, are needed to say how "
            "good they are. Take more, or fewer --chains."
        )
    if not output.absolute().parent.is_dir():
        raise InvalidInputError(f"there is no folder {output.absolute().parent} for {output.name}")
    _check_format(output)
    if plot is not None:
        check_picture(plot)
    if flow is not None and flow.suffix and not flow.is_file():
        raise InvalidInputError(f"there is no file {flow}; check --flow")
    trained = trained_flow(None if flow is None else str(flow))
    if plot is not None:
        # Before anything takes time: the picture needs the temperature above, whatever the moves.
        trained.rungs(temperature)
    sampler = GlassSampler(
        temperature,
        flow=trained,
        moves=cast("Moves", moves),
        n_chains=chains,
        thin=thin,
        seed=seed,
    )
    positions = sampler.sample(n)
    write(output, configurations(sampler.liquid, positions, temperature))
    table = Table(title=f"{n} configurations at T = {temperature:g}, seed {sampler.seed}")
    table.add_column("quantity")
    table.add_column("value", justify="right")
    table.add_row("U/N (epsilon_AA)", str(sampler.expt_value("energy_per_particle")))
    table.add_row("excess heat capacity per particle (k_B)", str(sampler.heat_capacity()))
    for name, value in sampler.diagnostics().items():
        table.add_row(name, f"{value:.3g}")
    table.add_row("written", str(output))
    if n < ENOUGH * chains:
        table.caption = (
            f"fewer than {ENOUGH} configurations of each chain: errors and R-hat are rough"
        )
    result_console().print(table)
    if plot is not None:
        rng = np.random.default_rng([sampler.seed, 1])
        hot = equilibrium_samples(trained.liquid, trained.rungs(temperature)[-2], N_CARRIED, rng)
        figure = sample_figure(trained, temperature, positions, hot, ladder_seed=sampler.seed + 1)
        figure.savefig(plot, dpi=150)
    return 0


def _check_format(output: Path) -> None:
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats

    try:
        # Of the name alone: the file need not be there.
        chosen = ioformats[filetype(str(output), read=False)]
    except (UnknownFileTypeError, KeyError) as error:
        raise InvalidInputError(
            f"{output.name} has no extension that ASE writes; take .extxyz or .traj"
        ) from error
    if not chosen.can_write or chosen.single:
        raise InvalidInputError(
            f"files like {output.name} do not hold several structures; take .extxyz or .traj"
        )


def configurations(liquid: Liquid, positions: FloatArray, temperature: float) -> list[Atoms]:
    """Return samples as flat periodic structures of ASE, energies and temperature in ``info``."""
    from ase import Atoms

    edge = liquid.edge
    shape = (*positions.shape[:-1], 3)
    full = np.zeros(shape)
    full[..., : liquid.dimension] = positions
    cell = [edge, edge, edge if liquid.dimension == 3 else 0.0]
    pbc = (True, True, liquid.dimension == 3)
    symbols = [SPECIES[t] for t in liquid.types]
    return [
        Atoms(
            symbols,
            positions=x,
            cell=cell,
            pbc=pbc,
            masses=np.ones(len(symbols)),
            info={
                "temperature": temperature,
                "potential_energy": float(energy),
                "mixture": liquid.mixture.name,
                "shift": liquid.mixture.shift,
            },
        )
        for x, energy in zip(full, liquid.energies(positions), strict=True)
    ]


def sample_figure(
    trained: TrainedFlow,
    temperature: float,
    positions: FloatArray,
    hot_samples: FloatArray,
    *,
    ladder_seed: int | None = None,
) -> Figure:
    """Return energies, g(r) and effective shares of the flow in one picture.

    Args:
        trained: The flow.
        temperature: Of the samples.
        positions: Samples, (n, n_particles, dimension).
        hot_samples: Of the next higher temperature of the ladder; they are carried for the picture.
        ladder_seed: Seed of samples of all temperatures, to measure and draw the effective share at every
            step of the ladder, in a minute; None leaves this out.

    Raises:
        UnsupportedError: If matplotlib is not installed.
    """
    shares = ladder_seed is not None
    figure = empty_figure(13.0 if shares else 8.8, 3.9)
    left, middle, *right = figure.subplots(1, 3 if shares else 2)
    liquid, x = trained.liquid, hot_samples
    flow = trained.flow(tolerance=1e-3)
    hot = trained.rungs(temperature)[-2]
    weighted = flow.weighted(x, hot, temperature)
    _draw_energies(left, liquid, x, weighted, positions, hot, temperature)
    _draw_pairs(middle, liquid, x, weighted, positions, hot, temperature)
    if shares:
        _draw_shares(right[0], trained, flow, np.random.default_rng(ladder_seed))
    return figure


def _draw_energies(
    axes: Axes,
    liquid: Liquid,
    hot_samples: FloatArray,
    weighted: WeightedSamples,
    positions: FloatArray,
    hot: float,
    temperature: float,
) -> None:
    n = liquid.n_particles
    series = [
        (liquid.energies(hot_samples) / n, None, f"T = {hot:g}"),
        (liquid.energies(weighted.positions) / n, None, "carried"),
        (liquid.energies(weighted.positions) / n, weighted.weights, "carried, weighted"),
        (liquid.energies(positions) / n, None, f"T = {temperature:g}"),
    ]
    bins = np.histogram_bin_edges(np.concatenate([s[0] for s in series]), bins=30)
    for values, weights, label in series:
        axes.hist(
            values, bins=bins.tolist(), weights=weights, density=True, histtype="step", label=label
        )
    axes.set_xlabel("U/N (epsilon_AA)")
    axes.set_ylabel("probability density")
    axes.legend(fontsize=8)


def _draw_pairs(
    axes: Axes,
    liquid: Liquid,
    hot_samples: FloatArray,
    weighted: WeightedSamples,
    positions: FloatArray,
    hot: float,
    temperature: float,
) -> None:
    r, g = pair_distribution(liquid, hot_samples)
    axes.plot(r, g.mean(axis=0), label=f"T = {hot:g}")
    axes.plot(
        r,
        weighted.weights @ pair_distribution(liquid, weighted.positions)[1],
        label="carried, weighted",
    )
    axes.plot(
        r,
        pair_distribution(liquid, positions)[1].mean(axis=0),
        "k--",
        lw=1.0,
        label=f"T = {temperature:g}",
    )
    axes.set_xlabel("r (sigma_AA)")
    axes.set_ylabel("g(r)")
    axes.legend(fontsize=8)


def _draw_shares(axes: Axes, trained: TrainedFlow, flow: Flow, rng: np.random.Generator) -> None:
    ladder, liquid = trained.ladder, trained.liquid
    plain, carried = [], []
    for start, end in pairwise(ladder):
        x = equilibrium_samples(liquid, start, N_CARRIED, rng, equilibration=PICTURE_SWEEPS)
        u = liquid.energies(x)
        plain.append(WeightedSamples(x, u / start - u / end).effective_share)
        carried.append(flow.weighted(x, start, end).effective_share)
    axes.semilogy(ladder[1:], carried, "o-", label="carried by the flow")
    axes.semilogy(ladder[1:], plain, "s--", label="plain reweighting")
    axes.set_xlabel("temperature at the end of a step")
    axes.set_ylabel("effective share of the samples")
    axes.legend(fontsize=8)
