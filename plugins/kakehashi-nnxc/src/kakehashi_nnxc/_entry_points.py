"""Entry points of kakehashi-nnxc. Imports kakehashi_core only: listing must stay cheap."""

from __future__ import annotations

from kakehashi_core.specs import Citation, CommandSpec, Domain, XCSpec

PAPER = Citation(
    text=(
        "R. Nagai, R. Akashi, O. Sugino, Completing density functional theory by machine learning hidden "
        "messages from molecules, npj Comput. Mater. 6, 43 (2020)"
    ),
    doi="10.1038/s41524-020-0310-0",
    bibtex="""@article{nagai2020completing,
  author  = {Nagai, Ryo and Akashi, Ryosuke and Sugino, Osamu},
  title   = {Completing density functional theory by machine learning hidden messages from molecules},
  journal = {npj Computational Materials},
  volume  = {6},
  pages   = {43},
  year    = {2020},
  doi     = {10.1038/s41524-020-0310-0}
}""",
)

TRAINED_ELEMENTS = ("H", "Li", "Be", "B", "C", "N", "O", "F", "Na", "Al", "Si", "P", "S", "Cl")


def nn_mgga() -> XCSpec:
    """Describe the neural meta-GGA; torch is imported when ``factory`` is resolved."""
    return XCSpec(
        name="nn-mgga",
        api_version=1,
        factory="kakehashi_nnxc.functionals:nn_mgga",
        summary="neural meta-GGA, four-layer form, trained on fixed densities of small molecules",
        citation=PAPER,
        code_license="MIT",
        weights_license="MIT",
        domain=Domain(
            elements=TRAINED_ELEMENTS,
            note="ground states of molecules near equilibrium; no dispersion, no exact exchange",
        ),
        units={"energy_density": "hartree/bohr^3", "variables": "Hartree atomic units"},
        devices=("cpu", "cuda"),
        dtypes=("float64",),
        checkpoint="weights/nn-mgga.safetensors",
        samples=("H2O", "NH2"),
        family="MGGA",
        hybrid=0.0,
        max_deriv=2,
    )


def demo_xc() -> CommandSpec:
    """Describe the demo section: atomization energies and a geometry with real SCF runs."""
    return CommandSpec(
        name="demo-xc",
        api_version=1,
        factory="kakehashi_nnxc.demo:demo_xc",
        summary="molecules from ASE's G2 set with PBE, r2SCAN and nn-mgga inside PySCF",
        citation=PAPER,
        code_license="MIT",
        units={"energy": "kcal/mol"},
        verb="demo",
        position=10,
    )
