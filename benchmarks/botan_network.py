"""Cost of the original BOTAN network over its concatenated form: N = 4096, one thread, CPU time.

    python benchmarks/botan_network.py

writes benchmarks/results/botan_network.json: forward pass without gradients, train step (loss and gradients),
and graph building, interleaved in one process; peak memory of each pass in a process of its own, above what
imports, network and graph take. The configuration is a simple cubic lattice with Gaussian displacements at
density 1.2; it has as many edges as the glass within four percent.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table

from kakehashi_botan.concatenated_form import concatenated_outputs
from kakehashi_botan.graphs import particle_graph
from kakehashi_botan.original_form import BotanOutput, OriginalBotan, node_edge_loss
from kakehashi_core.files import write_json
from kakehashi_core.threads import thread_limit

N_SIDE = 16
DENSITY = 1.2
DISPLACEMENT = 0.25
REPEATS = 5
FORMS = ("ours", "concatenated")
PASSES = ("forward", "step")
PACKAGES = ("kakehashi-core", "kakehashi-botan", "torch", "torch-geometric", "numpy", "vesin")
RESULTS = Path(__file__).parent / "results"


def configuration() -> tuple[
    npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.float64]
]:
    """Return positions, types and cell."""
    rng = np.random.default_rng(0)
    n_atoms = N_SIDE**3
    length = (n_atoms / DENSITY) ** (1 / 3)
    sites = np.stack(np.meshgrid(*3 * [np.arange(N_SIDE)], indexing="ij"), axis=-1).reshape(-1, 3)
    positions = sites * (length / N_SIDE) + rng.normal(scale=DISPLACEMENT, size=(n_atoms, 3))
    return positions, (rng.random(n_atoms) < 0.2).astype(np.int64), np.eye(3) * length


def passes() -> dict[str, Callable[[], BotanOutput]]:
    """Return what is measured, by "form pass"; forward passes return their outputs, steps leave gradients."""
    network = OriginalBotan(seed=0)
    parameters = dict(network.named_parameters())
    graph = particle_graph(*configuration())
    data = graph.to_data()
    arguments = (data.types, data.edge_index, data.edge_attr)
    targets = [
        torch.randn(n, generator=torch.Generator().manual_seed(n))
        for n in (graph.n_atoms, graph.n_edges)
    ]

    def ours() -> BotanOutput:
        return network(*arguments)

    def concatenated() -> BotanOutput:
        return BotanOutput(*concatenated_outputs(parameters, *arguments))

    def forward(form: Callable[[], BotanOutput]) -> BotanOutput:
        with torch.no_grad():
            return form()

    def step(form: Callable[[], BotanOutput]) -> BotanOutput:
        network.zero_grad()
        output = form()
        node_edge_loss(output, *targets).backward()
        return output

    return {
        "ours forward": lambda: forward(ours),
        "concatenated forward": lambda: forward(concatenated),
        "ours step": lambda: step(ours),
        "concatenated step": lambda: step(concatenated),
    }


def peak_memory(name: str) -> float:
    """Return by how many MB one pass raises the peak of this process."""
    with thread_limit(1):
        call = passes()[name]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        call()
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024  # from KiB


def cpu_seconds(call: Callable[[], object]) -> float:
    """Return the CPU time of one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    """Measure, print a table, write the results."""
    # First, while this process is small: a child inherits the peak of the process that started it.
    memory = {}
    for form in FORMS:
        for kind in PASSES:
            name = f"{form} {kind}"
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                memory[name] = pool.submit(peak_memory, name).result()

    calls: dict[str, Callable[[], object]] = dict(passes())
    graph = particle_graph(*configuration())
    outputs = [passes()[f"{form} forward"]() for form in FORMS]
    calls["graph"] = lambda: particle_graph(*configuration())
    times: dict[str, list[float]] = {name: [] for name in calls}
    with thread_limit(1):
        for call in calls.values():
            call()
        for _ in range(REPEATS):
            for name, call in calls.items():
                times[name].append(cpu_seconds(call))
    seconds = {name: statistics.median(values) for name, values in times.items()}
    ratios = {
        kind: statistics.median(
            slow / fast
            for slow, fast in zip(times[f"concatenated {kind}"], times[f"ours {kind}"], strict=True)
        )
        for kind in PASSES
    }
    memory_ratios = {
        kind: memory[f"ours {kind}"] / memory[f"concatenated {kind}"] for kind in PASSES
    }
    show(seconds, memory, ratios, memory_ratios)
    write_json(
        RESULTS / "botan_network.json",
        {
            "settings": {
                "n_atoms": graph.n_atoms,
                "n_edges": graph.n_edges,
                "dtype": "float32",
                "repeats": REPEATS,
                "threads": 1,
            },
            "versions": {package: version(package) for package in PACKAGES},
            "cpu_seconds": seconds,
            "peak_memory_megabytes": memory,
            "times_faster_than_concatenated": ratios,
            "memory_over_concatenated": memory_ratios,
            "largest_difference_of_outputs": {
                name: float((getattr(outputs[0], name) - getattr(outputs[1], name)).abs().max())
                for name in ("nodes", "edges")
            },
        },
    )


def show(
    seconds: dict[str, float],
    memory: dict[str, float],
    ratios: dict[str, float],
    memory_ratios: dict[str, float],
) -> None:
    """Print the table."""
    table = Table(title=f"N = {N_SIDE**3}; graph {1e3 * seconds['graph']:.0f} ms CPU")
    for column in ("", "CPU s", "concatenated", "faster", "MB", "concatenated", "ratio"):
        table.add_column(column, justify="right" if column else "left")
    for kind in PASSES:
        ours, other = (f"{form} {kind}" for form in FORMS)
        table.add_row(
            kind,
            f"{seconds[ours]:.2f}",
            f"{seconds[other]:.2f}",
            f"{ratios[kind]:.2f}",
            f"{memory[ours]:.0f}",
            f"{memory[other]:.0f}",
            f"{memory_ratios[kind]:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
