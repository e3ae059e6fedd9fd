"""Entry points of kakehashi-nnxc. Imports kakehashi_core only: listing must stay cheap."""

from __future__ import annotations

from typing import Literal

from kakehashi_core.contracts import XCFamily
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

FLAGSHIP = Citation(
    text=(
        f"{PAPER.text}; J. W. Furness, A. D. Kaplan, J. Ning, J. P. Perdew, J. Sun, Accurate and numerically "
        "efficient r2SCAN meta-generalized gradient approximation, J. Phys. Chem. Lett. 11, 8208 (2020)"
    ),
    doi=PAPER.doi,
    bibtex=PAPER.bibtex
    + """
@article{furness2020accurate,
  author  = {Furness, James W. and Kaplan, Aaron D. and Ning, Jinliang and Perdew, John P. and Sun, Jianwei},
  title   = {Accurate and Numerically Efficient {r2SCAN} Meta-Generalized Gradient Approximation},
  journal = {The Journal of Physical Chemistry Letters},
  volume  = {11},
  pages   = {8208},
  year    = {2020},
  doi     = {10.1021/acs.jpclett.0c02405}
}""",
)
"""Of functionals that bend r2SCAN."""

UNITS = {"energy_density": "hartree/bohr^3", "variables": "Hartree atomic units"}

TRAINED_ELEMENTS = ("H", "Li", "Be", "B", "C", "N", "O", "F", "Na", "Al", "Si", "P", "S", "Cl")

PUBLISHED_DOMAIN = Domain(
    elements=TRAINED_ELEMENTS,
    note="ground states of molecules near equilibrium; no dispersion, no exact exchange",
)
FLAGSHIP_DOMAIN = Domain(
    elements=TRAINED_ELEMENTS,
    note="molecules and reaction barriers of light elements; no dispersion, no exact exchange",
)


def nn_lsda() -> XCSpec:
    """Describe the neural local spin-density functional."""
    return _functional(
        "nn-lsda", "LDA", "neural local spin density, four-layer form of Nagai et al."
    )


def nn_gga() -> XCSpec:
    """Describe the neural generalized-gradient functional."""
    return _functional("nn-gga", "GGA", "neural GGA, four-layer form of Nagai et al.")


def nn_mgga() -> XCSpec:
    """Describe the neural meta-GGA; torch is imported when ``factory`` is resolved."""
    return _functional("nn-mgga", "MGGA", "neural meta-GGA, four-layer form of Nagai et al.")


def nn_nra() -> XCSpec:
    """Describe the neural near-region functional, which reads a convolved density as well."""
    return _functional("nn-nra", "NONLOCAL", "neural near-region functional of Nagai et al.")


def kh_mgga() -> XCSpec:
    """Describe the constrained flagship: r2SCAN bent by two bounded networks."""
    return _functional(
        "kh-mgga", "MGGA", "constrained neural meta-GGA on r2SCAN", FLAGSHIP_DOMAIN, FLAGSHIP
    )


def kh_nra() -> XCSpec:
    """Describe the flagship whose correlation reads a convolved density as well."""
    return _functional(
        "kh-nra",
        "NONLOCAL",
        "constrained neural meta-GGA with a near-region channel",
        FLAGSHIP_DOMAIN,
        FLAGSHIP,
    )


def _functional(
    name: str,
    family: XCFamily,
    summary: str,
    domain: Domain = PUBLISHED_DOMAIN,
    citation: Citation = PAPER,
) -> XCSpec:
    return XCSpec(
        name=name,
        api_version=1,
        factory=f"kakehashi_nnxc.functionals:{name.replace('-', '_')}",
        summary=summary,
        citation=citation,
        code_license="MIT",
        weights_license="MIT",
        domain=domain,
        units=UNITS,
        devices=("cpu", "cuda"),
        dtypes=("float64",),
        checkpoint=f"weights/{name}.safetensors",
        samples=("H2O", "NH2"),
        family=family,
        hybrid=0.0,
        max_deriv=2,
    )


def demo_xc() -> CommandSpec:
    """Describe the demo section: atomization energies and a geometry with real SCF runs."""
    return _command(
        "demo",
        "demo:demo_xc",
        "molecules from ASE's G2 set with PBE, r2SCAN, nn-mgga and kh-mgga inside PySCF",
        position=10,
    )


def bench_xc() -> CommandSpec:
    """Describe the evaluation of functionals on sets of reactions."""
    return _command(
        "bench",
        "evaluation.command:bench_xc",
        "self-consistent errors of functionals on ae147, ae148, bh76, ip13 or s22",
        position=20,
    )


def bench_constraints() -> CommandSpec:
    """Describe the check of exact conditions on a mesh."""
    return _command(
        "bench",
        "exact_conditions_command:bench_constraints",
        "exact conditions of a functional on a mesh, and plots of its enhancement factors",
        position=30,
        energy="hartree",
    )


def train_xc() -> CommandSpec:
    """Describe the training of functionals."""
    return _command(
        "train",
        "training.command:train_xc",
        "train a functional of this plugin from scratch",
        position=10,
    )


def _command(
    verb: Literal["demo", "bench", "train"],
    factory: str,
    summary: str,
    *,
    position: int,
    energy: str = "kcal/mol",
) -> CommandSpec:
    return CommandSpec(
        name=factory.partition(":")[2].replace("_", "-"),
        api_version=1,
        factory=f"kakehashi_nnxc.{factory}",
        summary=summary,
        citation=PAPER,
        code_license="MIT",
        units={"energy": energy},
        verb=verb,
        position=position,
    )
