"""Entry points of kakehashi-botan. Imports kakehashi_core only: listing must stay cheap."""

from __future__ import annotations

import json
from pathlib import Path

from kakehashi_core.specs import (
    API_VERSION,
    CalculatorSpec,
    Citation,
    CommandSpec,
    Domain,
    SamplerSpec,
)

KOB_ANDERSEN = Citation(
    text=(
        "W. Kob, H. C. Andersen, Testing mode-coupling theory for a supercooled binary Lennard-Jones "
        "mixture: The van Hove correlation function, Phys. Rev. E 51, 4626 (1995)"
    ),
    doi="10.1103/PhysRevE.51.4626",
    bibtex="""@article{kob1995testing,
  author  = {Kob, Walter and Andersen, Hans C.},
  title   = {Testing mode-coupling theory for a supercooled binary {Lennard-Jones} mixture:
             The van {Hove} correlation function},
  journal = {Phys. Rev. E},
  volume  = {51},
  pages   = {4626},
  year    = {1995},
  doi     = {10.1103/PhysRevE.51.4626}
}""",
)

BOTAN = Citation(
    text=(
        "H. Shiba, M. Hanai, T. Suzumura, T. Shimokawabe, BOTAN: BOnd TArgeting Network for prediction of "
        "slow glassy dynamics by machine learning relative motion, J. Chem. Phys. 158, 084503 (2023)"
    ),
    doi="10.1063/5.0129791",
    bibtex="""@article{shiba2023botan,
  author  = {Shiba, Hayato and Hanai, Masatoshi and Suzumura, Toyotaro and Shimokawabe, Takashi},
  title   = {{BOTAN}: {BOnd} {TArgeting} {Network} for prediction of slow glassy dynamics by machine
             learning relative motion},
  journal = {The Journal of Chemical Physics},
  volume  = {158},
  pages   = {084503},
  year    = {2023},
  doi     = {10.1063/5.0129791}
}""",
)
T_BOTAN = Citation(
    text="Bessho, Kawasaki, Shiba, arXiv:2603.13820 (2026): T-BOTAN",
    doi="10.48550/arXiv.2603.13820",
    bibtex="""@misc{bessho2026tbotan,
  author = {Bessho and Kawasaki and Shiba},
  year   = {2026},
  eprint = {2603.13820},
  archivePrefix = {arXiv}
}""",
)
FLOWS = Citation(
    text=(
        "G. Jung, G. Biroli, L. Berthier, Normalizing flows as an enhanced sampling method for atomistic "
        "supercooled liquids, Mach. Learn.: Sci. Technol. 5, 035053 (2024)"
    ),
    doi="10.1088/2632-2153/ad6ca0",
    bibtex="""@article{jung2024normalizing,
  author  = {Jung, Gerhard and Biroli, Giulio and Berthier, Ludovic},
  title   = {Normalizing flows as an enhanced sampling method for atomistic supercooled liquids},
  journal = {Machine Learning: Science and Technology},
  volume  = {5},
  pages   = {035053},
  year    = {2024},
  doi     = {10.1088/2632-2153/ad6ca0}
}""",
)

UNITS = {
    "energy": "epsilon_AA (eV for ASE)",
    "energies": "epsilon_AA",
    "forces": "epsilon_AA/sigma_AA",
    "stress": "epsilon_AA/sigma_AA^3",
}


def _sample(
    symbols: str | list[str], positions: list[list[float]], cell: list[float]
) -> dict[str, object]:
    """Return arguments of ase.Atoms for a periodic sample with masses of 1."""
    return {
        "symbols": symbols,
        "positions": positions,
        "cell": cell,
        "pbc": True,
        "masses": [1.0] * len(positions),
    }


# Ten particles in boxes that are shorter than twice the cutoff, the second one not a cube.
SAMPLES = (
    _sample(
        "Ar8Ne2",
        [
            [0.10, 0.05, 0.12],
            [1.12, 0.08, 0.05],
            [0.04, 1.10, 0.10],
            [1.05, 1.14, 0.02],
            [0.12, 0.02, 1.15],
            [1.10, 0.10, 1.06],
            [0.02, 1.12, 1.10],
            [1.15, 1.04, 1.12],
            [0.58, 0.55, 0.60],
            [1.62, 1.60, 1.55],
        ],
        [2.25, 2.25, 2.25],
    ),
    _sample(
        "Ar4Ne",
        [
            [0.0, 0.1, 0.0],
            [1.1, 0.0, 0.1],
            [0.1, 1.2, 0.0],
            [1.2, 1.1, 0.2],
            [0.6, 0.6, 0.8],
        ],
        [2.3, 2.45, 2.1],
    ),
)


def _liquid() -> dict[str, object]:
    """Return 320 particles like those of the training; training/conformance_sample.py made them."""
    stored = json.loads((Path(__file__).parent / "examples" / "sample.json").read_text())
    return _sample(**stored)


def ka_lj() -> CalculatorSpec:
    """Describe the calculator of Lennard-Jones mixtures; numba is imported when it is resolved."""
    return CalculatorSpec(
        name="ka-lj",
        api_version=API_VERSION,
        factory="kakehashi_botan.lennard_jones_calculator:LennardJonesMixture",
        summary="Kob-Andersen and other Lennard-Jones mixtures, compiled, in reduced units",
        citation=KOB_ANDERSEN,
        code_license="MIT",
        domain=Domain(
            elements=("Ar", "Ne", "He"),
            note="Ar, Ne, He stand for A, B, C unless species= says otherwise; any cell, also flat systems",
        ),
        units=UNITS,
        devices=("cpu", "cuda"),
        dtypes=("float64",),
        samples=SAMPLES,
        implemented_properties=("energy", "free_energy", "energies", "forces", "stress"),
        # The default potential is truncated and shifted in energy: its force jumps at the cutoff.
        smooth_derivatives=0,
    )


LEARNED_UNITS = {
    **UNITS,
    "propensity": "sigma_AA",
    "propensity_std": "sigma_AA",
    "bond_change": "sigma_AA",
    "bond_index": "numbers of two atoms",
    "out_of_domain": "0 or 1",
    "temperature_estimate": "epsilon_AA/k_B",
}
LEARNED_PROPERTIES = (
    "energy",
    "free_energy",
    "energies",
    "forces",
    "stress",
    "propensity",
    "propensity_std",
    "bond_change",
    "bond_index",
    "out_of_domain",
)


def botan() -> CalculatorSpec:
    """Describe the calculator of propensities; torch is imported when one is asked for."""
    return _learned(
        "botan",
        "PropensityCalculator",
        "which particles of a glass will move: propensities from one configuration",
        BOTAN,
        "Kob-Andersen mixture, 80:20, density 1.2, T = 0.44, periodic boxes",
    )


def t_botan() -> CalculatorSpec:
    """Describe the calculator of propensities across temperatures."""
    return _learned(
        "t-botan",
        "TemperaturePropensityCalculator",
        "propensities and an estimate of the temperature from one configuration",
        T_BOTAN,
        "Kob-Andersen mixture, 80:20, density 1.2, T = 0.56 to 0.80, periodic boxes",
        "temperature_estimate",
    )


def _learned(
    name: str, class_name: str, summary: str, citation: Citation, domain: str, *more: str
) -> CalculatorSpec:
    return CalculatorSpec(
        name=name,
        api_version=API_VERSION,
        factory=f"kakehashi_botan.propensity_calculator:{class_name}",
        summary=summary,
        citation=citation,
        code_license="MIT",
        weights_license="MIT",
        checkpoint="weights/botan-ts-is.safetensors"
        if name == "botan"
        else f"weights/{name}.safetensors",
        domain=Domain(elements=("Ar", "Ne"), note=domain),
        units=LEARNED_UNITS,
        devices=("cpu", "cuda"),
        dtypes=("float64",),
        samples=(_liquid(),),
        implemented_properties=(*LEARNED_PROPERTIES, *more),
        smooth_derivatives=0,
    )


def flow_ka2d() -> SamplerSpec:
    """Describe the sampler of a small glass-forming liquid; torch is imported when one is asked for."""
    return SamplerSpec(
        name="flow-ka2d",
        api_version=API_VERSION,
        factory="kakehashi_botan.sampling.glass_sampler:GlassSampler",
        summary="equilibrium configurations of a two-dimensional glass former, with a trained flow",
        citation=FLOWS,
        code_license="MIT",
        weights_license="MIT",
        checkpoint="weights/flow-ka2d.safetensors",
        domain=Domain(
            note=(
                "ternary Kob-Andersen mixture, 20 + 11 + 12 particles in two dimensions, density 1.19, "
                "T = 0.41 to 1.85"
            )
        ),
        units={
            "energy": "epsilon_AA",
            "states": "positions, (n, n_particles, 2), sigma_AA",
            "temperature": "epsilon_AA/k_B",
        },
        devices=("cpu", "cuda"),
        dtypes=("float64",),
        samples=("kakehashi_botan.sampling.glass_sampler:small_sampler",),
    )


def train_botan() -> CommandSpec:
    """Describe the training of propensity models, and the making of data for it."""
    return _command("train", "training.command:train_botan", "train propensity models from scratch")


def train_flow() -> CommandSpec:
    """Describe the training of flows between temperatures, and the making of samples for it."""
    return _command(
        "train",
        "training.command:train_flow",
        "train a flow between temperatures from scratch",
        citation=FLOWS,
    )


def glass_sample() -> CommandSpec:
    """Describe sampling of a glass former from the command line."""
    return _command(
        "glass",
        "glass_sample:glass_sample",
        "equilibrium configurations of a small glass former, with weights checked",
        citation=FLOWS,
    )


def bench_flow() -> CommandSpec:
    """Describe the comparison of flows with Monte Carlo methods."""
    return _command(
        "bench",
        "training.sampling_comparison:bench_flow",
        "samples of a glass former: flows beside Metropolis, swap, tempering and annealing",
        citation=FLOWS,
    )


def bench_botan() -> CommandSpec:
    """Describe the scores of propensity models beside linear ones."""
    return _command(
        "bench", "training.accuracy:bench_botan", "propensity models beside linear baselines"
    )


def bench_t_botan() -> CommandSpec:
    """Describe the scores at temperatures that were left out of the training."""
    return _command(
        "bench",
        "training.temperature_accuracy:bench_t_botan",
        "propensities and temperatures at temperatures that were left out",
    )


def demo_glass() -> CommandSpec:
    """Describe the demo section: a liquid, its predicted and its real dynamics."""
    return _command(
        "demo",
        "demo:demo_glass",
        "where a glass-forming liquid will move, predicted and measured",
        position=50,
    )


def demo_flow() -> CommandSpec:
    """Describe the demo section: samples of a glass former, carried between temperatures."""
    return _command(
        "demo",
        "sampling_demo:demo_flow",
        "configurations of a glass former, carried to a lower temperature",
        position=55,
        citation=FLOWS,
    )


def glass_map() -> CommandSpec:
    """Describe the picture of predicted propensities."""
    return _command("glass", "glass_map:glass_map", "a picture of where a glass will move")


def _command(
    verb: str, factory: str, summary: str, *, position: int = 50, citation: Citation = BOTAN
) -> CommandSpec:
    return CommandSpec(
        name=factory.partition(":")[2].replace("_", "-"),
        api_version=API_VERSION,
        factory=f"kakehashi_botan.{factory}",
        summary=summary,
        citation=citation,
        code_license="MIT",
        units={"length": "sigma_AA"},
        verb=verb,
        position=position,
    )
