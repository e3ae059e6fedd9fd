"""Entry points of kakehashi-template. Imports kakehashi_core only: listing must stay cheap."""

from __future__ import annotations

from kakehashi_core.specs import API_VERSION, Citation, XCSpec


def functional() -> XCSpec:
    """Describe the functional; torch is imported when ``factory`` is resolved."""
    return XCSpec(
        name="kakehashi-template",
        api_version=API_VERSION,
        factory="kakehashi_template.functional:SlaterWigner",
        summary="local density: exchange of Dirac and Slater, correlation of Wigner",
        citation=Citation(
            text="E. Wigner, Trans. Faraday Soc. 34, 678 (1938)", doi="10.1039/TF9383400678"
        ),
        units={"energy_density": "hartree bohr^-3"},
        samples=("H2O", "NH2"),
        family="LDA",
        max_deriv=2,
    )
