"""Entry points of kakehashi-slmc. Imports kakehashi_core only: listing must stay cheap."""

from __future__ import annotations

from kakehashi_core.specs import API_VERSION, Citation, CommandSpec, Domain, SamplerSpec

NAGAI = Citation(
    text=(
        "Y. Nagai, A. Tomiya, Self-learning Monte Carlo with equivariant Transformer, J. Phys. Soc. Jpn. 93, "
        "114007 (2024)"
    ),
    doi="10.7566/JPSJ.93.114007",
    bibtex="""@article{nagai2024selflearning,
  author  = {Nagai, Yuki and Tomiya, Akio},
  title   = {Self-learning {Monte} {Carlo} with equivariant {Transformer}},
  journal = {Journal of the Physical Society of Japan},
  volume  = {93},
  pages   = {114007},
  year    = {2024},
  doi     = {10.7566/JPSJ.93.114007}
}""",
)


def spin_fermion() -> SamplerSpec:
    """Describe the sampler of spin-fermion models; numba and torch are imported when it is resolved."""
    return SamplerSpec(
        name="spin-fermion",
        api_version=API_VERSION,
        factory="kakehashi_slmc.spin_fermion_sampler:SpinFermionSampler",
        summary="classical spins that electrons feel (double exchange, Kondo), exact, self-learning",
        citation=NAGAI,
        domain=Domain(
            note="any Hermitian hopping matrix, connected, up to some hundred sites; any coupling and filling"
        ),
        units={"energy": "unit of the hopping matrix", "states": "unit vectors, (n, n_sites, 3)"},
        samples=("kakehashi_slmc.spin_fermion_sampler:small_sampler",),
    )


def bench_slmc() -> CommandSpec:
    """Describe the studies of effective models and samplers."""
    return _command(
        "bench",
        "studies.command:bench_slmc",
        "effective models and self-learning Monte Carlo, measured",
    )


def demo_slmc() -> CommandSpec:
    """Describe the demo section: one lattice, three exact samplers."""
    return _command(
        "demo",
        "demo:demo_slmc",
        "spins that electrons feel: what an independent sample costs",
        position=60,
    )


def _command(verb: str, factory: str, summary: str, *, position: int = 50) -> CommandSpec:
    return CommandSpec(
        name=factory.partition(":")[2].replace("_", "-"),
        api_version=API_VERSION,
        factory=f"kakehashi_slmc.{factory}",
        summary=summary,
        citation=NAGAI,
        verb=verb,
        position=position,
    )
