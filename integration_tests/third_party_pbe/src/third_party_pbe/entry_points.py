"""Entry points of third-party-pbe. Imports kakehashi_core only: listing must stay free."""

from __future__ import annotations

from kakehashi_core.specs import API_VERSION, Citation, XCSpec


def torch_pbe() -> XCSpec:
    """Describe PBE in torch; torch is imported when ``factory`` is resolved."""
    return XCSpec(
        name="torch-pbe",
        api_version=API_VERSION,
        factory="third_party_pbe.pbe:PerdewBurkeErnzerhof",
        summary="PBE written in torch, equal to libxc's gga_x_pbe + gga_c_pbe",
        citation=Citation(
            text="J. P. Perdew, K. Burke, M. Ernzerhof, Phys. Rev. Lett. 77, 3865 (1996)",
            doi="10.1103/PhysRevLett.77.3865",
        ),
        units={"energy_density": "hartree bohr^-3"},
        samples=("H2O", "NH2"),
        family="GGA",
        max_deriv=3,
    )
