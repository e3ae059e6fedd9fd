"""Entry points of kakehashi-botan. Imports kakehashi_core only: listing must stay cheap."""

from __future__ import annotations

from kakehashi_core.specs import API_VERSION, CalculatorSpec, Citation, Domain

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

UNITS = {
    "energy": "epsilon_AA (eV for ASE)",
    "energies": "epsilon_AA",
    "forces": "epsilon_AA/sigma_AA",
    "stress": "epsilon_AA/sigma_AA^3",
}


def _sample(symbols: str, positions: list[list[float]], cell: list[float]) -> dict[str, object]:
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
