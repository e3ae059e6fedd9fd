"""The checker of exact conditions: known functionals satisfy and violate what is known of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from kakehashi_core.errors import InvalidInputError, UnknownNameError
from kakehashi_core.files import write_json
from kakehashi_core.gaussian_kernels import GaussianKernel
from kakehashi_nnxc.constrained_form import ConstrainedFunctional, network, parameter_shapes, terms
from kakehashi_nnxc.exact_conditions import CONDITIONS, Mesh, check_conditions, uniform_gas_energy
from kakehashi_nnxc.exact_conditions_command import (
    bench_constraints,
    condition_table,
    record,
    remarks,
)
from kakehashi_nnxc.four_layer_form import FourLayerFunctional
from kakehashi_nnxc.four_layer_form import parameter_shapes as four_layer_shapes
from kakehashi_nnxc.pointwise_energy import (
    PointwiseEnergy,
    density_variables_at,
    local_exchange,
)

pytest.importorskip("kakehashi_pyscf")

SMALL = Mesh(
    seitz_radii=(0.3, 2.0, 20.0),
    polarizations=(0.0, 0.6, 0.9, 1.0),
    gradients=(0.0, 0.5, 1.5, 3.0),
    alphas=(0.0, 0.5, 1.0, 3.0),
    near=(0.7, 1.0, 1.5),
)

BUILT_IN = {
    "uniform-gas",
    "exchange-limit",
    "spin-scaling",
    "exchange-gradient",
    "correlation-gradient",
    "exchange-bound",
    "large-gradient",
    "negative",
    "negative-correlation",
    "one-electron",
    "hydrogen",
    "spin-flip",
    "closed-shell",
    "smooth",
}
"""What the constrained form promises for any weights; the rest depends on the fit."""


def drawn(family, last=1.0):
    generator = torch.Generator().manual_seed(11)
    parameters = {}
    for name, shape in parameter_shapes(family).items():
        _, layer, kind = name.split(".")
        scale = {"0": 2.0, "3": last}.get(layer, 1.4 / shape[-1] ** 0.5)
        if kind == "bias":
            scale = 0.1 if layer != "3" else 0.0
        parameters[name] = scale * torch.randn(shape, generator=generator)
    return ConstrainedFunctional(name="drawn", family=family, parameters=parameters)


class Toy:
    """Minus n^(4/3) times whatever a test wants."""

    hybrid = 0.0
    max_deriv = 2
    name = "toy"

    def __init__(self, factor, family="LDA"):
        self.factor, self.family = factor, family
        self.convolution = GaussianKernel.exponential(0.3)

    def energy_density(self, variables, spin):
        density = variables[: spin + 1].sum(0)
        return -(density ** (4 / 3)) * self.factor(variables, spin)


def failed(results):
    return {result.name for result in results if result.passed is False}


@pytest.mark.parametrize(
    ("name", "violated"),
    [
        (
            "lda,pw",
            {
                "exchange-gradient",
                "correlation-gradient",
                "large-gradient",
                "one-electron",
                "hydrogen",
            },
        ),
        # mu = 0.2195, F_x -> 1.804, correlation of one electron, T_c > -E_c at large s.
        ("pbe", {"exchange-gradient", "large-gradient", "one-electron", "monotonic-correlation"}),
        ("tpss", {"large-gradient", "monotonic-correlation"}),
        # SCAN obeys 17 conditions of electrons and bounds, but not quite the conjecture T_c <= -E_c.
        ("scan", {"monotonic-correlation"}),
        ("r2scan", {"monotonic-correlation"}),
    ],
)
def test_functionals_of_libxc(name, violated):
    """Oracle: the construction of these functionals, and the violations found in the literature."""
    results = check_conditions(name)
    assert [result.name for result in results] == [condition.name for condition in CONDITIONS]
    assert all(result.passed is not None for result in results)
    assert failed(results) == violated


def test_blyp_is_not_exact_for_the_uniform_gas():
    results = {r.name: r for r in check_conditions("blyp", mesh=SMALL)}
    assert not results["uniform-gas"].passed
    assert results["uniform-gas"].worst > 0.02
    assert results["spin-scaling"].passed


@pytest.mark.parametrize("family", ["MGGA", "NONLOCAL"])
def test_the_constrained_form_keeps_its_promises(family):
    results = check_conditions(drawn(family), mesh=SMALL)
    assert failed(results).isdisjoint(BUILT_IN)
    assert all(result.passed is not None for result in results)


def test_constrained_form_without_networks_is_r2scan():
    """Oracle: libxc's r2SCAN, condition by condition."""
    ours = check_conditions(drawn("MGGA", last=0.0))
    theirs = check_conditions("r2scan")
    assert failed(ours) == failed(theirs)
    for own, other in zip(ours, theirs, strict=True):
        assert own.worst == pytest.approx(other.worst, rel=0.05, abs=1e-5), own.name


def test_the_high_density_limit_is_exchange():
    """Oracle: the terms that the constrained form adds up."""
    form = drawn("MGGA")
    energy = PointwiseEnergy(form)
    rs, zeta, s, alpha = (
        x.ravel()
        for x in np.meshgrid([0.1, 1.0, 10.0], [0.0, 0.5, 1.0], [0.1, 1.0, 3.0], [0.0, 1.0, 4.0])
    )
    variables = torch.from_numpy(density_variables_at(rs, zeta, s, alpha, spin=1))
    expected = sum(
        t.base + t.amplitude * network(form._parameters, "exchange", t.inputs)
        for t in terms(variables, 1)[0]
    ) / variables[:2].sum(0)
    limit = energy.exchange(rs, zeta, s, alpha)
    assert limit == pytest.approx(expected.numpy(), rel=1e-6)
    assert np.abs(energy(rs, zeta, s, alpha) / limit - 1).max() > 0.02


def test_points_have_the_variables_that_they_are_named_after():
    """Oracle: the definitions of zeta, s and alpha, with both channels alike."""
    variables = density_variables_at(*np.array([[2.0], [0.4], [1.3], [0.7]]), spin=1)[:, 0]
    n_a, n_b, s_aa, s_ab, s_bb, t_a, t_b = variables
    n = n_a + n_b
    assert (3 / (4 * np.pi * n)) ** (1 / 3) == pytest.approx(2.0)
    assert (n_a - n_b) / n == pytest.approx(0.4)
    sigma = s_aa + 2 * s_ab + s_bb
    assert np.sqrt(sigma) / (2 * (3 * np.pi**2) ** (1 / 3) * n ** (4 / 3)) == pytest.approx(1.3)
    for density, gradient, tau in ((n_a, s_aa, t_a), (n_b, s_bb, t_b)):
        uniform = 0.3 * (6 * np.pi**2) ** (2 / 3) * density ** (5 / 3)
        assert (tau - gradient / (8 * density)) / uniform == pytest.approx(0.7)


def test_uniform_gas_reference():
    """Oracle: Slater exchange and the correlation of Perdew and Wang at r_s = 2, -0.0448 hartree."""
    assert uniform_gas_energy(2.0, 0.0) == pytest.approx(-0.4581653 / 2 - 0.0447600, abs=2e-6)


@pytest.mark.parametrize(("activation", "smooth"), [("elu", False), ("silu", True)])
def test_kinks_of_a_network_are_found(activation, smooth):
    """The published activation has a second derivative that jumps; its smooth twin has none."""
    generator = torch.Generator().manual_seed(3)
    parameters = {
        name: torch.randn(shape, generator=generator)
        / (1.0 if len(shape) == 1 else shape[1] ** 0.5)
        for name, shape in four_layer_shapes("MGGA", 20).items()
    }
    form = FourLayerFunctional(
        name="kinks", family="MGGA", parameters=parameters, activation=activation
    )
    (result,) = check_conditions(form, names=["smooth"])
    assert result.passed is smooth
    if not smooth:
        assert result.worst > 10 * result.tolerance


@pytest.mark.parametrize(
    ("condition", "factor"),
    [
        ("negative", lambda v, spin: -torch.ones_like(v[0])),
        ("lieb-oxford", lambda v, spin: torch.full_like(v[0], 2.0)),
        ("spin-flip", lambda v, spin: v[0] / v[: spin + 1].sum(0)),
        ("closed-shell", lambda v, spin: torch.full_like(v[0], 1.0 + spin)),
        ("exchange-bound", lambda v, spin: torch.full_like(v[0], 1.5)),
        ("spin-scaling", lambda v, spin: torch.ones_like(v[0])),
        ("exchange-limit", lambda v, spin: 1.0 + v[0] ** (1 / 6)),
        ("scaling-inequality", lambda v, spin: 1.0 + 0.1 * torch.tanh(v[: spin + 1].sum(0))),
    ],
)
def test_a_functional_made_to_violate_a_condition_does(condition, factor):
    """Oracle: the construction of the toy. Control: 3/4 (3/pi)^(1/3), exchange of the uniform gas."""
    (result,) = check_conditions(Toy(factor), mesh=SMALL, names=[condition])
    assert result.passed is False
    assert result.worst > result.tolerance
    assert 0.0 < result.share <= 1.0
    assert result.where["seitz_radius"] in SMALL.seitz_radii
    if condition != "spin-scaling":
        slater = Toy(lambda v, spin: torch.full_like(v[0], 0.75 * (3 / np.pi) ** (1 / 3)))
        assert check_conditions(slater, mesh=SMALL, names=[condition])[0].passed


def test_the_worst_point_is_reported():
    """Oracle: a bump of the energy at one density."""
    target = 3 / (4 * np.pi * 2.0**3)
    form = Toy(lambda v, spin: torch.where((v[:2].sum(0) / target - 1).abs() < 1e-6, -5.0, 1.0))
    (result,) = check_conditions(form, mesh=SMALL, names=["negative"])
    assert result.where["seitz_radius"] == 2.0
    assert result.share == pytest.approx(1 / 3)


def test_without_a_high_density_limit_parts_are_not_tested():
    results = check_conditions(Toy(lambda v, spin: 1.0 + v[0] ** (1 / 6)), mesh=SMALL)
    untested = {result.name for result in results if result.passed is None}
    assert "negative-correlation" in untested
    assert "negative" not in untested
    assert any("not tested" in line for line in remarks(results))


def test_nan_is_a_violation_that_survives_json(tmp_path):
    energy = PointwiseEnergy(Toy(lambda v, spin: torch.full_like(v[0], float("nan"))))
    results = check_conditions(energy, mesh=SMALL)
    assert not any(result.passed for result in results)
    write_json(tmp_path / "result.json", record(energy, SMALL, results))
    assert json.loads((tmp_path / "result.json").read_text())["conditions"][0]["worst"] is None
    assert condition_table("toy", results).row_count == len(CONDITIONS)


@pytest.mark.parametrize("name", ["b3lyp", "wb97m-v", "hf"])
def test_hybrids_are_refused(name):
    with pytest.raises(InvalidInputError, match="no function of r_s"):
        check_conditions(name)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="r2scan"):
        PointwiseEnergy("r2scam")
    with pytest.raises(UnknownNameError, match="lieb-oxford"):
        check_conditions("pbe", names=["lieb-oxfort"])


@pytest.mark.parametrize(
    ("field", "value"),
    [("seitz_radii", ()), ("polarizations", (1.5,)), ("gradients", (-1.0,)), ("path_steps", 5)],
)
def test_a_senseless_mesh_is_refused(field, value):
    with pytest.raises(InvalidInputError, match=field):
        Mesh(**{field: value})


def test_the_command_writes_results_and_plot(tmp_path, capsys):
    """The functional by name, one condition; table, JSON and PNG."""
    pytest.importorskip("matplotlib")
    status = bench_constraints(
        "pbe",
        condition=("one-electron", "spin-scaling"),
        json=tmp_path / "pbe.json",
        plot=tmp_path / "pbe.png",
    )
    printed = capsys.readouterr().out
    assert status == 0
    assert "1 of 2 conditions hold" in printed
    assert "E_x[n_a, n_b]" in printed
    data = json.loads((tmp_path / "pbe.json").read_text())
    assert [row["passed"] for row in data["conditions"]] == [False, True]
    assert (tmp_path / "pbe.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_plots_of_functionals_with_and_without_separable_exchange(tmp_path):
    pytest.importorskip("matplotlib")
    from kakehashi_nnxc.enhancement_plots import enhancement, plot_enhancement

    plot_enhancement(drawn("NONLOCAL"), tmp_path / "drawn.png")
    plot_enhancement(Toy(lambda v, spin: 1.0 + v[0] ** (1 / 6)), tmp_path / "toy.png")
    assert all(path.stat().st_size > 20_000 for path in tmp_path.iterdir())
    slater = enhancement(PointwiseEnergy("lda,"), 2.0, 1.0, np.array([0.0, 2.0]), 1.0)
    assert slater == pytest.approx([2 ** (1 / 3)] * 2, rel=1e-9)
    assert local_exchange(2.0) == pytest.approx(-0.2290826, abs=1e-6)
