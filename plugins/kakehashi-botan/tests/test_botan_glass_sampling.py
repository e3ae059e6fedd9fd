"""Annealing, exchanges through a flow, the sampler and its files, on ten particles."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch
from ase.io import read

from kakehashi_botan.glass_sample import glass_sample
from kakehashi_botan.sampling import (
    FlowExchange,
    GlassSampler,
    ParticleMoves,
    TrainedFlow,
    anneal,
    equilibrated,
    equilibrium_samples,
    load_flow,
    pair_distribution,
    save_flow,
    small_ternary_liquid,
    ternary_liquid,
)
from kakehashi_botan.sampling.field_fitting import fit_continuity
from kakehashi_botan.sampling.flow import Flow
from kakehashi_botan.sampling.liquid_samples import (
    FAST_ABOVE,
    LARGEST_RATIO,
    TemperedSamples,
    stored_samples,
    tempered_samples,
    with_hotter,
)
from kakehashi_botan.sampling.reweighting import CollapsedWeightsWarning, WeightedSamples
from kakehashi_botan.sampling.transport_field import TransportField
from kakehashi_botan.training.flow_training import FlowSettings, refined, train_flow_ladder
from kakehashi_botan.training.sampling_checks import check_rungs, integrated_log_ratio
from kakehashi_core.chains import EitherWay, ScriptKernel, autocorrelation, warm_up
from kakehashi_core.errors import (
    CheckpointError,
    InvalidInputError,
    NonFiniteError,
    UnknownNameError,
)

LADDER = (2.0, 1.2, 0.8)
LIQUID = small_ternary_liquid()


@pytest.fixture(scope="module")
def trained() -> TrainedFlow:
    rng = np.random.default_rng(1)
    field = TransportField(LIQUID, (LADDER[-1], LADDER[0]), exponents=(3, 9))
    fit_continuity(field, {t: equilibrium_samples(LIQUID, t, 800, rng) for t in refined(LADDER, 1)})
    return TrainedFlow(field=field, ladder=LADDER)


@pytest.fixture(scope="module")
def cold_energies() -> np.ndarray:
    x = equilibrium_samples(LIQUID, LADDER[-1], 4000, np.random.default_rng(2))
    return LIQUID.energies(x)


@pytest.fixture(scope="module")
def tempered() -> TemperedSamples:
    return tempered_samples(
        LIQUID, refined(LADDER, 1), 1500, np.random.default_rng(4), equilibration=300
    )


def test_tempered_samples_agree_with_separate_chains(tempered, cold_energies):
    """Oracles: separate swap Monte Carlo; an integral with twice the spacing; d<U>/dbeta = -Var U."""
    energies = LIQUID.energies(tempered.at(0.8))
    uniform = WeightedSamples(tempered.at(0.8), np.zeros(1500), tempered.ensembles)
    found = uniform.expectation(energies)
    error = np.hypot(found.stderr, cold_energies.std() / np.sqrt(len(cold_energies)))
    assert abs(found.mean - cold_energies.mean()) < 4 * error
    assert found.stderr > 0.5 * energies.std() / np.sqrt(1500)
    half = dataclasses.replace(
        tempered, temperatures=tempered.temperatures[::2], positions=tempered.positions[::2]
    )
    fine, coarse = (integrated_log_ratio(LIQUID, s, 2.0, 0.8) for s in (tempered, half))
    assert abs(fine.mean - coarse.mean) < 4 * fine.stderr
    betas = 1.0 / np.array(tempered.temperatures)
    means = [LIQUID.energies(x).mean() for x in tempered.positions]
    slopes = np.diff(means) / np.diff(betas)
    variances = [LIQUID.energies(x).var() for x in tempered.positions]
    np.testing.assert_allclose(-slopes, np.convolve(variances, [0.5, 0.5], "valid"), rtol=0.25)
    with pytest.raises(InvalidInputError, match=r"no samples at T = 0\.81"):
        tempered.at(0.81)
    with pytest.raises(InvalidInputError, match="say nothing about"):
        integrated_log_ratio(LIQUID, tempered, 2.0, 0.7)
    with pytest.raises(InvalidInputError, match="descend"):
        tempered_samples(LIQUID, (0.5, 0.8), 8, np.random.default_rng(1))


def test_cold_samples_come_with_hotter_copies():
    """Oracle: the ratio of neighbors and the end of the ladder."""
    ladder = np.array(with_hotter(0.365))
    assert ladder[-1] == 0.365
    assert ladder[0] >= FAST_ABOVE - 1e-12
    assert (ladder[:-1] / ladder[1:] <= LARGEST_RATIO + 1e-12).all()
    assert with_hotter(0.7) == [0.7]
    with pytest.raises(InvalidInputError, match="positive"):
        with_hotter(0.0)


def test_stored_samples_go_on_where_they_stopped(tmp_path):
    """Oracle: the same numbers when a part is made again."""
    arguments = (LIQUID, (2.0, 1.2), 130)
    first = stored_samples(tmp_path, *arguments, seed=3, equilibration=20)
    assert first.positions.shape == (2, 130, 10, 2)
    parts = sorted(tmp_path.glob("*.npz"))
    assert len(parts) == 4
    parts[2].unlink()
    again = stored_samples(tmp_path, *arguments, seed=3, equilibration=20)
    np.testing.assert_array_equal(first.positions, again.positions)
    # The same ensemble at different times stays one group.
    assert first.ensembles[0] == first.ensembles[64] != first.ensembles[1]
    with pytest.raises(InvalidInputError, match=r"edge|box|outside|density|overlap|other"):
        stored_samples(tmp_path, LIQUID, (2.0, 1.2000001), 130, seed=3, equilibration=20)


def test_errors_of_groups():
    """Oracle: every sample four times over has the error of a quarter of the samples."""
    rng = np.random.default_rng(3)
    x, w = rng.normal(size=500), 0.3 * rng.normal(size=500)
    once = WeightedSamples(x[:, None], w)
    often = WeightedSamples(
        np.repeat(x, 4)[:, None], np.repeat(w, 4), groups=np.repeat(np.arange(500), 4)
    )
    one, four = once.expectation(x), often.expectation(np.repeat(x, 4))
    assert one.stderr == pytest.approx(four.stderr)
    assert one.mean == pytest.approx(four.mean)
    ratios = [s.log_mean_weight_estimate().stderr for s in (once, often)]
    assert ratios[0] == pytest.approx(ratios[1])
    assert ratios[0] == pytest.approx(np.sqrt((1.0 / once.effective_share - 1.0) / 499), rel=1e-9)
    with pytest.raises(InvalidInputError, match="groups"):
        WeightedSamples(x[:, None], w, groups=np.arange(3))


@pytest.mark.parametrize("way", ["nothing", "flow", "moves", "resampled", "all"])
def test_annealing_gives_the_free_energy_and_the_energy(trained, cold_energies, tempered, way):
    """Oracle: thermodynamic integration, and swap Monte Carlo at the end of the ladder."""
    rng = np.random.default_rng(3)
    # Without anything in between, only short steps keep a share of the samples.
    ladder = LADDER if way in {"flow", "all"} else tuple(np.geomspace(2.0, 0.8, 7))
    done = anneal(
        LIQUID,
        equilibrium_samples(LIQUID, 2.0, 1000, rng, equilibration=200),
        ladder,
        rng,
        flow=trained.flow(tolerance=1e-4) if way in {"flow", "all"} else None,
        n_sweeps=0 if way in {"nothing", "flow"} else 10,
        resample_below=1.0 if way in {"resampled", "all"} else 0.0,
    )
    exact = integrated_log_ratio(LIQUID, tempered, 2.0, 0.8)
    size = done.effective_size
    assert size > 10
    error = np.hypot(exact.stderr, np.sqrt(1.0 / size - 1.0 / 1000))
    assert abs(done.log_ratio - exact.mean) < 4 * error
    energies = LIQUID.energies(done.samples.positions)
    spread = cold_energies.std()
    difference = done.samples.weights @ energies - cold_energies.mean()
    assert abs(difference) < 4 * spread * np.sqrt(1.0 / size + 1.0 / 4000)
    assert len(done.rungs) == len(ladder) - 1
    assert done.n_moves == (0 if way in {"nothing", "flow"} else 10 * 10 * len(done.rungs))


def test_a_flow_keeps_more_of_the_samples(trained):
    """Oracle: plain reweighting of the same samples."""
    rng = np.random.default_rng(5)
    for start, end in pairwise(LADDER):
        x = equilibrium_samples(LIQUID, start, 1000, rng)
        plain = anneal(LIQUID, x, (start, end), rng, n_sweeps=0, resample_below=0.0)
        carried = trained.flow(tolerance=1e-4).weighted(x, start, end)
        assert carried.effective_share > 1.3 * plain.samples.effective_share


@pytest.mark.parametrize("kind", ["trained", "wrong"])
def test_exchanges_are_exact_whatever_the_flow(trained, cold_energies, kind):
    """Oracle: swap Monte Carlo; partners that remember, and a field of random weights, must not matter."""
    field = trained.field
    if kind == "wrong":
        field = TransportField(LIQUID, field.temperatures, exponents=(3, 9))
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            weights = 0.008 * torch.randn(
                field.pair_weights.shape, generator=generator, dtype=torch.float64
            )
            field.pair_weights.copy_(weights)
    kernel = FlowExchange(Flow(field, tolerance=1e-3), 1.2, 0.8, n_hot_sweeps=2)
    rng = np.random.default_rng(6)
    state = kernel.start(equilibrated(LIQUID, 0.8, 16, rng, n_sweeps=400)[0].positions)
    state = warm_up(kernel, state, rng, 60)
    energies = []
    for _ in range(250):
        state = kernel.step(state, rng).state
        energies.append(-0.8 * state.log_weights)
    found = autocorrelation(np.array(energies).T).estimate()
    reference = cold_energies.std() / np.sqrt(len(cold_energies))
    assert abs(found.mean - cold_energies.mean()) < 4 * np.hypot(found.stderr, reference)
    share = kernel.n_accepted / kernel.n_proposed
    assert share > 0.35 if kind == "trained" else 0.001 < share < 0.35, share
    np.testing.assert_allclose(state.log_weights, -LIQUID.energies(state.positions) / 0.8)


def test_the_sampler_agrees_with_swap_monte_carlo(trained, cold_energies):
    """Oracle: swap Monte Carlo for <U>; c_V against the variance of its energies, jackknife error."""
    sampler = GlassSampler(0.8, flow=trained, n_chains=8, n_sweeps=5, seed=7)
    sampler.run(150)
    found = sampler.expt_value("energy")
    reference = cold_energies.std() / np.sqrt(len(cold_energies))
    assert abs(found.mean - cold_energies.mean()) < 4 * np.hypot(found.stderr, reference)
    capacity = sampler.heat_capacity()
    assert abs(capacity.mean - cold_energies.var() / 6.4) < 4 * np.hypot(capacity.stderr, 0.05)
    assert 0.2 < sampler.diagnostics()["flow acceptance"] < 1.0
    same = sampler.expt_value(lambda x: LIQUID.energies(x) / 10)
    assert same.mean == pytest.approx(sampler.expt_value("energy_per_particle").mean)


@pytest.mark.parametrize("moves", ["mixture", "flow", "local"])
def test_the_sampler_goes_on_to_the_last_bit(trained, moves):
    first = GlassSampler(0.9, flow=trained, moves=moves, n_chains=3, warmup=4, seed=8)
    first.sample(6)
    saved = first.state_dict()
    second = GlassSampler(0.9, flow=trained, moves=moves, n_chains=3, warmup=4, seed=99)
    second.load_state_dict(saved)
    np.testing.assert_array_equal(first.sample(9), second.sample(9))
    other = GlassSampler(1.0, flow=trained, moves=moves, n_chains=3, warmup=4)
    with pytest.raises(InvalidInputError, match="temperature"):
        other.load_state_dict(saved)


def test_wrong_input_of_the_sampler(trained):
    for temperature in (0.5, 2.0, 3.0, -1.0, np.nan):
        with pytest.raises(InvalidInputError, match="temperature"):
            GlassSampler(temperature, flow=trained)
    with pytest.raises(InvalidInputError, match="cutoff"):
        GlassSampler(1.0, flow=trained, liquid=ternary_liquid())
    with pytest.raises(InvalidInputError, match="composition"):
        GlassSampler(1.0, flow=trained, liquid=dataclasses.replace(LIQUID, composition=(5, 3, 2)))
    with pytest.raises(InvalidInputError, match="density"):
        GlassSampler(1.0, flow=trained, liquid=dataclasses.replace(LIQUID, density=1.0))
    with pytest.raises(UnknownNameError, match="moves"):
        GlassSampler(1.0, flow=trained, moves="swaps")
    with pytest.raises(UnknownNameError, match="observable"):
        GlassSampler(1.0, flow=trained, seed=1).expt_value("pressure")
    with pytest.raises(InvalidInputError, match="flow is 3"):
        GlassSampler(1.0, flow=3)
    x = equilibrium_samples(LIQUID, 2.0, 2, np.random.default_rng(1))
    flow = trained.flow()
    with pytest.raises(InvalidInputError, match="trained between"):
        flow(x, 2.0, 0.3)
    x[1, 3] = x[1, 4]
    with pytest.raises(InvalidInputError, match="sample 1: particles 3 and 4 overlap"):
        flow.weighted(x, 2.0, 1.2)
    x[1, 3] = np.nan
    with pytest.raises(NonFiniteError, match="sample 1"):
        flow.weighted(x, 2.0, 1.2)


def test_files_of_flows(trained, tmp_path):
    path = tmp_path / "flow.safetensors"
    sha = save_flow(path, trained)
    again = load_flow(path)
    assert again.sha256 == sha
    assert again.ladder == trained.ladder
    assert again.liquid == trained.liquid
    x = equilibrium_samples(LIQUID, 2.0, 3, np.random.default_rng(1))
    one, two = trained.flow()(x, 2.0, 0.8), again.flow()(x, 2.0, 0.8)
    np.testing.assert_array_equal(one.positions, two.positions)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CheckpointError):
        load_flow(path)


@pytest.mark.thorough
def test_a_small_training_from_scratch(tmp_path):
    """Oracle: the same numbers again from the stored samples; averages agree with swap Monte Carlo."""
    settings = FlowSettings(n_samples=400, n_check=400, exponents=(6,), equilibration=200)
    paths = [tmp_path / f"{name}.safetensors" for name in "ab"]
    found = [
        train_flow_ladder(
            path, directory=tmp_path / "data", liquid=LIQUID, ladder=LADDER, settings=settings
        )
        for path in paths
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert "density 1.19" in found[0][0].card.training_data
    assert all(score.carried > score.plain for score in found[0][1])
    checks = check_rungs(
        found[0][0].flow(tolerance=1e-4),
        LADDER,
        tmp_path / "data",
        n_samples=640,
        n_reference=640,
        equilibration=200,
    )
    for check in checks:
        assert all(abs(z) < 4 for z in check.z_scores().values())
        assert check.pair_p > 1e-4
        # Of many uncarried samples; a few hundred see it within their scatter.
        assert 0.0 < check.plain_share.mean < check.effective_share
    with pytest.raises(InvalidInputError, match="descends"):
        train_flow_ladder(paths[0], directory=tmp_path, ladder=(0.5, 0.9))


def test_pair_distribution_of_an_ideal_gas_is_one():
    x = np.random.default_rng(9).random((4000, 10, 2)) * LIQUID.edge
    _, g = pair_distribution(LIQUID, x, n_bins=12)
    error = g.std(axis=0) / np.sqrt(len(g))
    assert (np.abs(g.mean(axis=0) - 1.0) < 4.5 * error).all()


def test_local_moves_in_a_script_of_ones_own(cold_energies):
    """Oracle: swap Monte Carlo of the same liquid, run by the sampler's own loop."""
    kernel = ScriptKernel(ParticleMoves(LIQUID, 0.8, n_sweeps=10), vectorized=True)
    rng = np.random.default_rng(10)
    state, logw = kernel.warmup(LIQUID.random_positions(16, rng), rng, n_steps=200)
    energies = []
    for _ in range(300):
        state, logw, accepted = kernel.step(state, logw, rng)
        energies.append(-0.8 * logw)
    assert accepted.shape == (16,)
    found = autocorrelation(np.array(energies).T).estimate()
    reference = cold_energies.std() / np.sqrt(len(cold_energies))
    assert abs(found.mean - cold_energies.mean()) < 4 * np.hypot(found.stderr, reference)


def test_what_would_give_wrong_numbers_is_refused(trained):
    """Oracle: the same calls with good input go through elsewhere in this file."""
    x = equilibrium_samples(LIQUID, 2.0, 4, np.random.default_rng(1))
    for wrong in (x[:, 1:], x[0], np.concatenate([x, x], axis=1), np.dstack([x, x[..., :1]])):
        with pytest.raises(InvalidInputError, match="shape"):
            LIQUID.energies(wrong)
    broken = x.copy()
    broken[2, 1, 0] = np.nan
    with pytest.raises(NonFiniteError, match="sample 2"):
        LIQUID.energies(broken)
    rng = np.random.default_rng(2)
    denser = dataclasses.replace(LIQUID, density=1.1)
    y = equilibrium_samples(denser, 2.0, 4, rng, equilibration=20)
    with pytest.raises(InvalidInputError, match="another liquid"):
        anneal(denser, y, (2.0, 1.2), rng, flow=trained.flow())
    with pytest.raises(InvalidInputError, match=r"trained\.flow"):
        anneal(LIQUID, x, (2.0, 1.2), rng, flow=trained)
    with pytest.raises(InvalidInputError, match=r"trained\.flow"):
        FlowExchange(trained, 1.2, 0.8)
    mixture = EitherWay([ParticleMoves(LIQUID, 0.8), ParticleMoves(LIQUID, 1.2)])
    with pytest.raises(InvalidInputError, match="one distribution"):
        mixture.start(x)


def test_numbers_that_make_no_sense(trained):
    rng = np.random.default_rng(1)
    x = equilibrium_samples(LIQUID, 2.0, 4, rng, equilibration=20)
    for options in ({"n_sweeps": -1}, {"resample_below": 2.0}):
        with pytest.raises(InvalidInputError, match="n_sweeps is"):
            anneal(LIQUID, x, (2.0, 1.2), rng, **options)
    for options in ({"sweeps_between": 0}, {"equilibration": -1}):
        with pytest.raises(InvalidInputError, match="sweeps_between is"):
            equilibrium_samples(LIQUID, 2.0, 4, rng, **options)
    with pytest.raises(InvalidInputError, match="swaps is 1"):
        ParticleMoves(LIQUID, 1.0, swaps=1.0)
    with pytest.raises(InvalidInputError, match="n_bins"):
        pair_distribution(LIQUID, x, n_bins=0)
    with pytest.raises(InvalidInputError, match="temperature is '1'"):
        GlassSampler("1", flow=trained)
    with pytest.raises(UnknownNameError, match="flow-ka2d"):
        GlassSampler(1.0, flow="flow-ka3d")
    with pytest.raises(NonFiniteError, match="all of 4 weights are zero"):
        WeightedSamples(x, np.full(4, -np.inf))
    with pytest.raises(NonFiniteError, match="value of sample 2"):
        WeightedSamples(x, np.zeros(4)).expectation([0.0, 1.0, np.nan, 2.0])


def test_names_and_local_moves(trained):
    """Oracle: local moves alone need no flow, so the top of the ladder is allowed."""
    assert GlassSampler(1.2, flow="flow-ka2d", n_chains=1, seed=1).liquid == ternary_liquid()
    local = GlassSampler(2.0, flow=trained, moves="local", n_chains=2, warmup=4, seed=2)
    assert "moves='local', n_chains=2, seed=2" in repr(local)
    local.sample(8)
    found = local.diagnostics()
    assert 0.0 < found["displacement acceptance"] < 1.0
    assert 0.0 < found["swap acceptance"] < 1.0
    assert "acceptance" not in found


def test_the_command_writes_configurations(tmp_path, capsys):
    """Oracle: what ASE reads back; energies of the file are those of the liquid."""
    path = tmp_path / "a.extxyz"
    options = {"n": 8, "chains": 2, "seed": 3, "thin": 1}
    assert glass_sample(temperature=1.6, moves="local", output=path, **options) == 0
    assert "swap acceptance" in capsys.readouterr().out
    found = read(path, index=":")
    assert len(found) == 8
    x = np.array([atoms.positions[:, :2] for atoms in found])
    energies = [atoms.info["potential_energy"] for atoms in found]
    np.testing.assert_allclose(ternary_liquid().energies(x), energies, atol=1e-4)
    wrong = (
        ({"temperature": 2.2}, "this flow goes from"),
        ({"temperature": 2.2, "moves": "local", "plot": tmp_path / "a.png"}, "this flow goes from"),
        ({"flow": tmp_path / "absent.safetensors"}, "no file"),
        ({"plot": tmp_path / "a.bogus"}, "pictures like"),
        ({"n": 4}, "--n is 4"),
    )
    for change, message in wrong:
        with pytest.raises(InvalidInputError, match=message):
            glass_sample(**{"output": path, **options, **change})


def test_errors_of_free_energies_of_populations(trained):
    """Oracle: the scatter of independent populations."""
    rng = np.random.default_rng(12)
    x = equilibrium_samples(LIQUID, 2.0, 64 * 24, rng, sweeps_between=40)
    found = [
        anneal(
            LIQUID, part, (2.0, 1.2, 0.8), rng, flow=trained.flow(tolerance=1e-3), n_sweeps=4
        ).log_ratio_estimate()
        for part in x.reshape(24, 64, *x.shape[1:])
    ]
    scatter = np.std([f.mean for f in found], ddof=1)
    # 24 populations know their scatter to 15 %; the estimate allows for families only.
    assert 0.6 < np.mean([f.stderr for f in found]) / scatter < 1.7


def test_few_effective_samples_are_said_to_be_few():
    """Oracle: 64 samples, of which one has nearly all weight; equal weights are not few."""
    collapsed = WeightedSamples(np.zeros((64, 1)), np.where(np.arange(64) == 3, 10.0, 0.0))
    with pytest.warns(CollapsedWeightsWarning, match="effective samples of 64"):
        collapsed.expectation(np.arange(64.0))
    assert WeightedSamples(np.zeros((5, 1)), np.zeros(5)).expectation(np.arange(5.0)).mean == 2.0
    assert (
        WeightedSamples(np.zeros((1, 1)), np.zeros(1)).log_mean_weight_estimate().stderr == np.inf
    )
