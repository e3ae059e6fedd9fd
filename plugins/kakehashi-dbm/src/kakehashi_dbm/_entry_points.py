"""Entry points of kakehashi-dbm. Imports kakehashi_core only: listing must stay cheap."""

from __future__ import annotations

from kakehashi_core.specs import API_VERSION, Citation, CommandSpec, Domain, SamplerSpec

NOMURA = Citation(
    text=(
        "Y. Nomura, N. Yoshioka, F. Nori, Purifying deep Boltzmann machines for thermal quantum states, "
        "Phys. Rev. Lett. 127, 060601 (2021)"
    ),
    doi="10.1103/PhysRevLett.127.060601",
    bibtex="""@article{nomura2021purifying,
  author  = {Nomura, Yusuke and Yoshioka, Nobuyuki and Nori, Franco},
  title   = {Purifying Deep {Boltzmann} Machines for Thermal Quantum States},
  journal = {Physical Review Letters},
  volume  = {127},
  pages   = {060601},
  year    = {2021},
  doi     = {10.1103/PhysRevLett.127.060601}
}""",
)

_SAMPLE = {
    "operators": [
        ["zz", [[-1.0, 0, 1], [0.5, 1, 2]]],
        ["z", [[-0.3, 0]]],
        ["x", [[-0.8, 0], [-0.6, 1], [-0.9, 2]]],
    ],
    "basis": 3,
    "beta": 1.0,
}


def thermal_dbm() -> SamplerSpec:
    """Describe the sampler of thermal states; numba and QuSpin are imported when it is resolved."""
    return SamplerSpec(
        name="thermal-dbm",
        api_version=API_VERSION,
        factory="kakehashi_dbm.thermal_sampler:ThermalDBM",
        summary="thermal states of quantum spins from deep Boltzmann machines, with error bars",
        citation=NOMURA,
        domain=Domain(
            note="Ising models in a transverse field, and XXZ models without frustration, on any graph"
        ),
        units={"energy": "unit of the couplings", "states": "basis integers of QuSpin"},
        samples=(_SAMPLE,),
    )


def purified_nqs() -> SamplerSpec:
    """Describe the network that follows imaginary time."""
    return SamplerSpec(
        name="purified-nqs",
        api_version=API_VERSION,
        factory="kakehashi_dbm.purified_nqs:PurifiedNQS",
        summary="thermal states of small quantum spin systems by networks in imaginary time, any signs",
        citation=NOMURA,
        domain=Domain(
            note="any real model of one- and two-spin terms up to 20 sites; transverse fields beyond"
        ),
        units={"energy": "unit of the couplings", "states": "basis integers of QuSpin"},
        samples=(_SAMPLE,),
    )


def thermal_run() -> CommandSpec:
    """Describe the command for models in files."""
    return CommandSpec(
        name="thermal-run",
        api_version=API_VERSION,
        factory="kakehashi_dbm.thermal_command:thermal_run",
        summary="energy, specific heat and entropy of a quantum spin model at all temperatures",
        citation=NOMURA,
        verb="thermal",
    )


def demo_dbm() -> CommandSpec:
    """Describe the demo section: a ring of 64 spins, and a frustrated one."""
    return CommandSpec(
        name="demo-dbm",
        api_version=API_VERSION,
        factory="kakehashi_dbm.demo:demo_dbm",
        summary="thermal states of quantum spins from the operator lists of QuSpin",
        citation=NOMURA,
        verb="demo",
        position=70,
    )
