"""Entry points of kakehashi-ase. Imports kakehashi_core only: listing must stay cheap."""

from __future__ import annotations

from kakehashi_core.specs import API_VERSION, Citation, CommandSpec

ASE = Citation(
    text="A. Hjorth Larsen et al., The atomic simulation environment - a Python library for working "
    "with atoms, J. Phys.: Condens. Matter 29, 273002 (2017)",
    doi="10.1088/1361-648X/aa680e",
    bibtex="""@article{ase2017,
  author  = {Hjorth Larsen, Ask and others},
  title   = {The atomic simulation environment---a {Python} library for working with atoms},
  journal = {J. Phys.: Condens. Matter},
  volume  = {29},
  pages   = {273002},
  year    = {2017},
  doi     = {10.1088/1361-648X/aa680e}
}""",
)


def doctor_ase() -> CommandSpec:
    """Describe the section of ``kakehashi doctor`` on what ASE knows of our calculators."""
    return CommandSpec(
        name="doctor-ase",
        api_version=API_VERSION,
        factory="kakehashi_ase.ase_hook:hook_findings",
        summary="whether ASE finds the calculators by itself",
        citation=ASE,
        verb="doctor",
    )
