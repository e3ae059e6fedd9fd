"""``kakehashi bench flow``: flows beside Metropolis, swap Monte Carlo, tempering and annealing."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from kakehashi_botan.sampling.annealing import anneal
from kakehashi_botan.sampling.flow import Flow
from kakehashi_botan.sampling.flow_exchange import FlowExchange
from kakehashi_botan.sampling.glass_sampler import TOLERANCE
from kakehashi_botan.sampling.liquid_samples import stored_samples
from kakehashi_botan.sampling.monte_carlo import ParticleMoves, equilibrated
from kakehashi_botan.sampling.reweighting import WeightedSamples
from kakehashi_botan.sampling.trained_flow import TrainedFlow, load_flow, load_packaged_flow
from kakehashi_botan.training.flow_training import refined
from kakehashi_botan.training.sampling_checks import (
    RungCheck,
    check_rungs,
    reference_temperatures,
)
from kakehashi_core.chains import (
    EitherWay,
    Kernel,
    ParallelTempering,
    autocorrelation,
    rhat,
    warm_up,
)
from kakehashi_core.consoles import result_console
from kakehashi_core.files import write_json
from kakehashi_core.progress import progress_bar
from kakehashi_core.results import Estimate
from kakehashi_core.threads import thread_limit

FloatArray = npt.NDArray[np.float64]

PACKAGES = ("kakehashi-botan", "kakehashi-core", "numba", "numpy", "scipy", "torch")
N_CHAINS = 8
N_POPULATION = 256
WARMUP = 0.25
"""Of the time of each method, before anything counts: copies of parallel tempering start all alike."""
FEWEST = 10.0
"""Independent samples, or populations, whose error can be known."""
AGREEING = 1.02
"""R-hat of chains above which their own autocorrelation is not believed."""
PT_PER_RUNG = 2
"""Temperatures of parallel tempering and population annealing between neighbors of the ladder, at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodScore:
    """What independent samples at one temperature cost with one method.

    Attributes:
        method: Which.
        effective_samples: Independent samples, by the autocorrelation of the energy (chains) or by families
            and weights (populations).
        cpu_seconds: Spent on them, the warm-up of chains apart.
        particle_energies: Energies of one particle with all others that were evaluated.
        fields: Evaluations of the field of a flow, each for one configuration.
        energy_z: Difference of <U> from the reference, in combined standard errors; NaN for fewer than ten
            independent samples or populations, whose error is not known.
        acceptance: Of exchanges with a flow; NaN without.
    """

    method: str
    effective_samples: float
    cpu_seconds: float
    particle_energies: int
    fields: int
    energy_z: float
    acceptance: float

    @property
    def per_second(self) -> float:
        """Independent samples per CPU second."""
        return self.effective_samples / self.cpu_seconds

    def per_million(self, n_particles: int) -> float:
        """Independent samples per million evaluations; a field counts as the energies of all particles."""
        return 1e6 * self.effective_samples / (self.particle_energies + self.fields * n_particles)


class CountedFlow(Flow):
    """A flow that counts evaluations of its field."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        plain = self._velocity
        self.n_fields = 0

        def counted(positions: FloatArray, temperature: float) -> tuple[FloatArray, FloatArray]:
            self.n_fields += len(positions)
            return plain(positions, temperature)

        self._velocity = counted


def bench_flow(
    *,
    flow: Path | None = None,
    temperatures: Sequence[float] = (0.721, 0.41),
    seconds: float = 40.0,
    n_check: int = 10000,
    seed: int = 1,
    data: Path = Path("kakehashi-bench-flow"),
    json: Path | None = None,
) -> int:
    """Compare methods that sample a glass former, and check what a flow carries.

    Two tables: effective shares of the samples with and without the flow at each step of its ladder, with
    averages, g(r) and free energies against long runs of swap Monte Carlo; and independent samples per CPU
    second and per evaluation of each method, equilibration and training apart.

    Args:
        flow: File of a trained flow; the shipped one by default.
        temperatures: Where methods are compared.
        seconds: CPU time for each method.
        n_check: Samples that are carried and compared at each step of the ladder.
        seed: Of everything.
        data: Folder for reference samples; the same call goes on there.
        json: File for the results.
    """
    trained = load_packaged_flow() if flow is None else load_flow(flow)
    # Before anything takes time.
    for temperature in temperatures:
        trained.rungs(temperature)
    console = result_console()
    data.mkdir(parents=True, exist_ok=True)
    with thread_limit(1):
        precise = trained.flow(tolerance=TOLERANCE)
        checks = check_rungs(
            precise, trained.ladder, data, n_samples=n_check, n_reference=n_check, seed=seed + 10
        )
        console.print(check_table(checks))
        scores = {}
        for temperature in temperatures:
            found = compare(trained, temperature, seconds, data, n_check, seed)
            console.print(method_table(found, temperature, trained.liquid.n_particles))
            scores[temperature] = found
    if json is not None:
        write_json(
            json,
            {
                "liquid": trained.liquid.describe(),
                "weights_sha256": trained.sha256,
                "seed": seed,
                "versions": {
                    "python": platform.python_version(),
                    **{p: version(p) for p in PACKAGES},
                },
                "checks": [{**asdict(c), "z": c.z_scores()} for c in checks],
                "methods": [
                    {
                        "temperature": temperature,
                        **asdict(one),
                        "energy_z": _finite(one.energy_z),
                        "acceptance": _finite(one.acceptance),
                        "per_cpu_second": one.per_second,
                        "per_million_evaluations": one.per_million(trained.liquid.n_particles),
                    }
                    for temperature, found in scores.items()
                    for one in found
                ],
            },
        )
    return 0


def compare(
    trained: TrainedFlow,
    temperature: float,
    seconds: float,
    directory: Path,
    n_reference: int,
    seed: int,
) -> list[MethodScore]:
    """Give every method the same CPU time at one temperature."""
    liquid, rungs = trained.liquid, trained.rungs(temperature)
    fine = refined(rungs, PT_PER_RUNG)
    grid = reference_temperatures(trained.ladder)
    samples = stored_samples(
        directory, liquid, grid if temperature in grid else fine, n_reference, seed=seed + 11
    )
    reference = samples.at(temperature)
    uniform = WeightedSamples(reference, np.zeros(len(reference)), samples.ensembles)
    exact = uniform.expectation(liquid.energies(reference))
    start = reference[:N_CHAINS]

    def local(swaps: float) -> Callable[[CountedFlow], Kernel]:
        return lambda _: ParticleMoves(liquid, temperature, swaps=swaps)

    def tempering(_: CountedFlow) -> Kernel:
        kernels = [ParticleMoves(liquid, t, swaps=0.0) for t in fine[::-1]]
        betas = 1.0 / np.array(fine[::-1])
        return ParallelTempering(kernels, lambda x: -liquid.energies(x)[:, None] * betas)

    def exchange(swaps: float) -> Callable[[CountedFlow], Kernel]:
        return lambda counted: FlowExchange(counted, rungs[-2], temperature, swaps=swaps)

    def mixture(swaps: float) -> Callable[[CountedFlow], Kernel]:
        return lambda counted: EitherWay(
            [ParticleMoves(liquid, temperature, swaps=swaps, n_sweeps=20), exchange(swaps)(counted)]
        )

    chains: dict[str, Callable[[CountedFlow], Kernel]] = {
        "Metropolis": local(0.0),
        "swap Monte Carlo": local(0.2),
        f"parallel tempering, {len(fine)} temperatures": tempering,
        "flow exchange, partners with swaps": exchange(0.2),
        "flow exchange and Metropolis": mixture(0.0),
        "flow exchange and swaps": mixture(0.2),
    }
    found = []
    with progress_bar("methods", total=len(chains) + 3) as advance:
        for name, make in chains.items():
            counted = CountedFlow(trained.field, tolerance=TOLERANCE)
            kernel = make(counted)
            found.append(_chain_score(name, kernel, counted, start, exact, seconds, seed))
            advance(1)
        for name, ladder, with_flow, n_sweeps in (
            ("population annealing", fine, False, 20),
            ("annealed importance sampling with flow", rungs, True, 0),
            ("population annealing with flow", rungs, True, 20),
        ):
            counted = CountedFlow(trained.field, tolerance=TOLERANCE)
            flow = counted if with_flow else None
            found.append(
                _population_score(
                    name, trained, ladder, flow, n_sweeps, exact, seconds, seed, counted
                )
            )
            advance(1)
    return found


def _chain_score(
    name: str,
    kernel: Kernel,
    counted: CountedFlow,
    start: FloatArray,
    exact: Estimate,
    seconds: float,
    seed: int,
) -> MethodScore:
    rng = np.random.default_rng([seed, 1])
    several = isinstance(kernel, ParallelTempering)
    n_copies = len(kernel.exchanges) + 1 if isinstance(kernel, ParallelTempering) else 1
    positions = np.repeat(start[:, None], n_copies, axis=1) if several else start
    state = kernel.start(positions)
    begin = time.process_time()
    while time.process_time() - begin < WARMUP * seconds:
        state = warm_up(kernel, state, rng, 10)
    moves, fields = _moves(kernel), counted.n_fields
    series: list[FloatArray] = []
    begin = time.process_time()
    while time.process_time() - begin < seconds or len(series) < 8:
        state = kernel.step(state, rng).state
        series.append(state.log_weights[:, 0] if several else state.log_weights)
    spent = time.process_time() - begin
    # log-weights are -U/T: the autocorrelation is that of the energy.
    values = np.array(series).T
    stderr = autocorrelation(values).stderr
    if rhat(values) > AGREEING:
        # What chains never forgot has no autocorrelation time; their scatter knows it.
        stderr = max(stderr, float(values.mean(axis=1).std(ddof=1)) / np.sqrt(len(values)))
    share = values.var() / max(stderr, 1e-300) ** 2
    temperature = _temperature(kernel)
    z = (-temperature * values.mean() - exact.mean) / np.hypot(temperature * stderr, exact.stderr)
    exchange = _exchange(kernel)
    return MethodScore(
        method=name,
        effective_samples=float(share),
        cpu_seconds=spent,
        particle_energies=2 * len(start) * (_moves(kernel) - moves),
        fields=counted.n_fields - fields,
        energy_z=float(z) if share >= FEWEST else float("nan"),
        acceptance=(
            exchange.n_accepted / exchange.n_proposed if exchange is not None else float("nan")
        ),
    )


def _parts(kernel: Kernel) -> Sequence[Kernel]:
    """Return the kernels of which one is made."""
    return getattr(kernel, "_kernels", (kernel,))


def _exchange(kernel: Kernel) -> FlowExchange | None:
    return next((k for k in _parts(kernel) if isinstance(k, FlowExchange)), None)


def _temperature(kernel: Kernel) -> float:
    first = _parts(kernel)[0]
    assert isinstance(first, ParticleMoves | FlowExchange)  # noqa: S101  all methods begin so
    return first.temperature


def _moves(kernel: Kernel) -> int:
    """Return moves of one particle that every chain tried so far, partners and copies included."""
    total = 0
    for part in _parts(kernel):
        if isinstance(part, FlowExchange):
            total += part.hot_moves.n_moves
        elif isinstance(part, ParticleMoves):
            total += part.n_moves
    return total


def _population_score(
    name: str,
    trained: TrainedFlow,
    ladder: Sequence[float],
    flow: CountedFlow | None,
    n_sweeps: int,
    exact: Estimate,
    seconds: float,
    seed: int,
    counted: CountedFlow,
) -> MethodScore:
    """Anneal populations until the time is over; hot samples are part of the price."""
    liquid = trained.liquid
    rng = np.random.default_rng([seed, 2])
    spent, moves = 0.0, 0
    energies: list[FloatArray] = []
    log_weights: list[FloatArray] = []
    log_ratios: list[float] = []
    sizes: list[float] = []
    while spent < seconds or len(energies) < 4:
        begin = time.process_time()
        hot, kernel = equilibrated(liquid, ladder[0], N_POPULATION, rng, n_sweeps=100)
        done = anneal(liquid, hot.positions, ladder, rng, flow=flow, n_sweeps=n_sweeps, swaps=0.0)
        spent += time.process_time() - begin
        moves += N_POPULATION * (done.n_moves + kernel.n_moves)
        energies.append(liquid.energies(done.samples.positions))
        # Each population counts as much as its estimate of Z: without this, averages are biased.
        log_weights.append(np.log(done.samples.weights) + done.log_ratio)
        log_ratios.append(done.log_ratio)
        sizes.append(done.effective_size)
    runs = np.repeat(np.arange(len(energies)), N_POPULATION)
    pooled = WeightedSamples(runs.astype(float), np.concatenate(log_weights), runs)
    mean = pooled.expectation(np.concatenate(energies))
    z = (mean.mean - exact.mean) / np.hypot(mean.stderr, exact.stderr)
    shares = np.exp(np.array(log_ratios) - max(log_ratios))
    effective = shares.sum() ** 2 / (np.square(shares) / np.array(sizes)).sum()
    return MethodScore(
        method=name,
        effective_samples=float(effective),
        cpu_seconds=spent,
        particle_energies=2 * moves,
        fields=counted.n_fields,
        energy_z=float(z)
        if 1.0 / np.square(shares / shares.sum()).sum() >= FEWEST
        else float("nan"),
        acceptance=float("nan"),
    )


def _finite(value: float) -> float | None:
    """Return a number, or None, which JSON knows, for NaN."""
    return value if np.isfinite(value) else None


def check_table(checks: Sequence[RungCheck]) -> Table:
    """Return averages of carried samples beside swap Monte Carlo."""
    table = Table(
        title="carried and weighted samples | swap Monte Carlo (errors in the last digits)"
    )
    for column in (
        "T",
        "share",
        "plain",
        "U/N",
        "z",
        "c_V",
        "z",
        "chi2 of g(r)",
        "p",
        "ln Z ratio",
        "z",
    ):
        table.add_column(column, justify="right")
    for c in checks:
        z = c.z_scores()
        table.add_row(
            f"{c.start:g} -> {c.end:g}",
            f"{c.effective_share:.3f}",
            f"{c.plain_share.mean:.3f}",
            f"{_short(c.energy)} | {_short(c.energy_reference)}",
            f"{z['energy']:+.1f}",
            f"{_short(c.heat_capacity)} | {_short(c.heat_capacity_reference)}",
            f"{z['heat capacity']:+.1f}",
            f"{c.pair_chi_square:.1f} / {c.pair_bins}",
            f"{c.pair_p:.2g}",
            f"{_short(c.log_ratio)} | {_short(c.log_ratio_reference)}",
            f"{z['log Z ratio']:+.1f}",
        )
    return table


def _short(estimate: Estimate) -> str:
    """Return mean and error as 1.234(56)."""
    digits = max(1 - int(np.floor(np.log10(estimate.stderr))), 0)
    return f"{estimate.mean:.{digits}f}({round(estimate.stderr * 10**digits)})"


def method_table(scores: Sequence[MethodScore], temperature: float, n_particles: int) -> Table:
    """Return what independent samples cost."""
    table = Table(title=f"independent samples at T = {temperature:g}, one core")
    for column in ("method", "samples", "CPU s", "per CPU s", "per 10^6 evaluations", "z of U"):
        table.add_column(column, justify="left" if column == "method" else "right")
    table.add_column("flow accepted", justify="right")
    for s in scores:
        table.add_row(
            s.method,
            f"{s.effective_samples:.0f}",
            f"{s.cpu_seconds:.0f}",
            f"{s.per_second:.3g}",
            f"{s.per_million(n_particles):.3g}",
            "" if np.isnan(s.energy_z) else f"{s.energy_z:+.1f}",
            "" if np.isnan(s.acceptance) else f"{s.acceptance:.2f}",
        )
    return table
