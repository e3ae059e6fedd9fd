"""Entry points of kakehashi-pyscf. Imports ``kakehashi_core`` only: listing must stay cheap."""

from __future__ import annotations

from kakehashi_core.specs import API_VERSION, CalculatorSpec, Citation, CommandSpec, Domain

_PYSCF = Citation(
    text="Q. Sun et al., Recent developments in the PySCF program package, "
    "J. Chem. Phys. 153, 024109 (2020)",
    doi="10.1063/5.0006074",
    bibtex="""@article{pyscf2020,
  author  = {Sun, Qiming and others},
  title   = {Recent developments in the {PySCF} program package},
  journal = {J. Chem. Phys.},
  volume  = {153},
  pages   = {024109},
  year    = {2020},
  doi     = {10.1063/5.0006074}
}""",
)


def pyscf_calculator() -> CalculatorSpec:
    """Describe the calculator for ASE that runs Kohn-Sham calculations in PySCF."""
    return CalculatorSpec(
        name="pyscf",
        api_version=API_VERSION,
        factory="kakehashi_pyscf.calculator:PySCFCalculator",
        summary="Kohn-Sham DFT of molecules in PySCF with any registered or libxc functional",
        citation=_PYSCF,
        domain=Domain(note="molecules without periodic boundary conditions"),
        implemented_properties=("energy", "free_energy", "forces", "dipole"),
        units={"energy": "eV", "free_energy": "eV", "forces": "eV/Å", "dipole": "e·Å"},
        samples=("H2O", "OH", "CH4"),
    )


def bench_scf() -> CommandSpec:
    """Describe the benchmark that compares SCF times of a functional with r2SCAN."""
    return CommandSpec(
        name="bench-scf",
        api_version=API_VERSION,
        factory="kakehashi_pyscf.bench:bench_scf",
        summary="time of a self-consistent calculation, relative to r2SCAN from libxc",
        citation=_PYSCF,
        verb="bench",
        serves="xc",
    )
