"""Entry points of kakehashi-deqh. Imports kakehashi_core only: listing must stay cheap."""

from __future__ import annotations

from kakehashi_core.specs import (
    API_VERSION,
    CalculatorSpec,
    Citation,
    CommandSpec,
    Domain,
    InitialGuessSpec,
)

DEQH = Citation(
    text=(
        "Z. Wang, C. Liu, N. Zou, H. Zhang, X. Wei, L. Huang, L. Wu, B. Shao, Infusing self-consistency into "
        "density functional theory Hamiltonian prediction via deep equilibrium models, NeurIPS 2024"
    ),
    doi="10.48550/arXiv.2406.03794",
    bibtex="""@inproceedings{wang2024infusing,
  author    = {Wang, Zun and Liu, Chang and Zou, Nianlong and Zhang, He and Wei, Xinran and Huang, Lin and
               Wu, Lijun and Shao, Bin},
  title     = {Infusing self-consistency into density functional theory {Hamiltonian} prediction via deep
               equilibrium models},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2024},
  eprint    = {2406.03794},
  archivePrefix = {arXiv}
}""",
)


def _guess(
    name: str, molecule: str, sample: str, xc: str, elements: tuple[str, ...]
) -> InitialGuessSpec:
    return InitialGuessSpec(
        name=name,
        api_version=API_VERSION,
        factory=f"kakehashi_deqh.shipped_models:{name.replace('-', '_')}",
        summary=f"Kohn-Sham Hamiltonian of {molecule} ({xc}, def2-SVP) before the first Fock matrix",
        citation=DEQH,
        code_license="MIT",
        weights_license="MIT",
        domain=Domain(elements=elements, basis="def2-svp", xc=xc, note="neutral closed shells"),
        units={"hamiltonian": "hartree", "density_matrix": "1"},
        devices=("cpu", "cuda"),
        dtypes=("float64",),
        checkpoint=f"weights/{name}.safetensors",
        samples=(sample,),
    )


def deqh_water() -> InitialGuessSpec:
    """Return the spec of the model of water."""
    return _guess("deqh-water", "water", "H2O", "pbe", ("H", "O"))


def deqh() -> CalculatorSpec:
    """Return the spec of the calculator."""
    return CalculatorSpec(
        name="deqh",
        api_version=API_VERSION,
        factory="kakehashi_pyscf.hamiltonian_calculator:HamiltonianCalculator",
        summary="closed-shell molecules with predicted Hamiltonians: SCF, a few Fock matrices, or none",
        citation=DEQH,
        code_license="MIT",
        weights_license="MIT",
        domain=Domain(elements=("H", "O"), basis="def2-svp", xc="pbe", note="see the predictors"),
        units={
            "energy": "eV",
            "forces": "eV/Å",
            "dipole": "e·Å",
            "charges": "e",
            "orbital_energies": "eV",
            "gap": "eV",
            "energy_error": "eV",
            "commutator": "eV",
            "n_builds": "1",
            "in_domain": "1",
            "from_scf": "1",
        },
        dtypes=("float64",),
        implemented_properties=(
            "energy",
            "free_energy",
            "forces",
            "dipole",
            "charges",
            "orbital_energies",
            "gap",
            "energy_error",
            "commutator",
            "n_builds",
            "in_domain",
            "from_scf",
        ),
        samples=("H2O",),
    )


def train_deqh() -> CommandSpec:
    """Return the spec of ``kakehashi train deqh``."""
    return CommandSpec(
        name="train-deqh",
        api_version=API_VERSION,
        factory="kakehashi_deqh.training.command:train_deqh",
        summary="train a predictor of Kohn-Sham Hamiltonians",
        citation=DEQH,
        verb="train",
    )


def bench_deqh() -> CommandSpec:
    """Return the spec of ``kakehashi bench deqh``."""
    return CommandSpec(
        name="bench-deqh",
        api_version=API_VERSION,
        factory="kakehashi_deqh.evaluation.command:bench_deqh",
        summary="errors of predicted Hamiltonians, Fock matrices that they save, behavior where they fail",
        citation=DEQH,
        verb="bench",
    )


def bench_deqh_training() -> CommandSpec:
    """Return the spec of ``kakehashi bench deqh-training``."""
    return CommandSpec(
        name="bench-deqh-training",
        api_version=API_VERSION,
        factory="kakehashi_deqh.evaluation.training_command:bench_deqh_training",
        summary="networks with and without self-consistency at equal training time",
        citation=DEQH,
        verb="bench",
    )


def hamiltonian_report() -> CommandSpec:
    """Return the spec of ``kakehashi hamiltonian report``."""
    return CommandSpec(
        name="hamiltonian-report",
        api_version=API_VERSION,
        factory="kakehashi_deqh.report_command:hamiltonian_report",
        summary="how a predicted Hamiltonian came about, and how far it can be trusted",
        citation=DEQH,
        verb="hamiltonian",
    )


def demo_hamiltonian() -> CommandSpec:
    """Return the spec of the section of ``kakehashi demo``."""
    return CommandSpec(
        name="demo-hamiltonian",
        api_version=API_VERSION,
        factory="kakehashi_deqh.demo:demo_hamiltonian",
        summary="water from predicted Hamiltonians: Fock matrices, and what is refused",
        citation=DEQH,
        verb="demo",
        position=40,
    )
