"""Markov chains: kernels, runs, errors. Oracles: closed forms of Gaussians, AR(1), few states, quadrature."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kakehashi_core.chains import (
    ChainState,
    EitherWay,
    Kernel,
    Metropolis,
    ParallelTempering,
    Repeated,
    Step,
    autocorrelation,
    binder_cumulant,
    binned,
    effective_sample_size,
    estimate,
    jackknife,
    rhat,
    run_chains,
)
from kakehashi_core.errors import InvalidInputError, LockedError, NonFiniteError


def first_order(rho: float, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Return x_t = rho x_(t-1) + noise, of unit variance, from the start."""
    rng = np.random.default_rng(seed)
    x = np.empty(shape)
    x[:, 0] = rng.normal(size=shape[0])
    for t in range(1, shape[1]):
        x[:, t] = rho * x[:, t - 1] + math.sqrt(1 - rho**2) * rng.normal(size=shape[0])
    return x


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_autocorrelation_of_an_autoregressive_process(rho):
    """Oracle: tau_int = (1 + rho) / (1 - rho) / 2; the error bar covers it."""
    found = autocorrelation(first_order(rho, (4, 20_000)))
    exact = 0.5 * (1 + rho) / (1 - rho)
    assert found.tau_int == pytest.approx(exact, rel=0.08)
    assert abs(found.tau_int - exact) < 4 * found.tau_int_error
    assert found.stderr == pytest.approx(math.sqrt(2 * exact / 80_000), rel=0.06)
    assert abs(found.mean) < 4 * found.stderr
    assert found.n_effective == pytest.approx(80_000 / (2 * exact), rel=0.08)


def test_errors_are_those_of_many_repetitions():
    """Oracle: the scatter of the means of 200 runs."""
    runs = [autocorrelation(first_order(0.8, (2, 500), seed)) for seed in range(200)]
    scatter = np.std([r.mean for r in runs])
    assert np.mean([r.stderr for r in runs]) == pytest.approx(scatter, rel=0.12)


def test_chains_that_disagree_have_a_larger_error():
    together = first_order(0.5, (4, 1000))
    apart = together + np.array([[0.0], [0.0], [0.0], [1.0]])
    assert autocorrelation(apart).stderr > 2.5 * autocorrelation(together).stderr
    assert rhat(together) == pytest.approx(1.0, abs=0.01)
    assert rhat(apart) > 1.1
    assert effective_sample_size(together) == pytest.approx(4000 / 3, rel=0.2)


def test_constant_measurements_have_no_error():
    assert estimate(np.ones((2, 10))).stderr == 0.0
    assert rhat(np.ones((2, 10))) == 1.0


def test_measurements_that_cannot_be_averaged():
    with pytest.raises(InvalidInputError, match="at least four"):
        autocorrelation([1.0, 2.0])
    series = np.zeros((2, 10))
    series[1, 3] = np.nan
    with pytest.raises(NonFiniteError, match="measurement 3 of chain 1"):
        autocorrelation(series)
    with pytest.raises(InvalidInputError, match="at least two chains"):
        rhat(np.zeros((1, 10)))


def test_jackknife_of_a_ratio():
    """Oracle: linear error propagation, and the mean of many repetitions."""
    ratios = []
    for seed in range(100):
        a = 2.0 + first_order(0.5, (2, 1000), seed)
        b = 4.0 + 0.5 * first_order(0.5, (2, 1000), seed + 1000)
        ratios.append(jackknife(lambda x, y: x / y, a, b))
    scatter = np.std([r.mean for r in ratios])
    assert np.mean([r.stderr for r in ratios]) == pytest.approx(scatter, rel=0.2)
    assert np.mean([r.mean for r in ratios]) == pytest.approx(0.5, abs=4 * scatter / 10)
    assert binned(np.arange(7.0), 3).tolist() == [1.0, 4.0]
    with pytest.raises(InvalidInputError, match="do not fit"):
        binned(np.arange(3.0), 4)
    with pytest.raises(InvalidInputError, match="same states"):
        jackknife(lambda x, y: x, np.zeros(10), np.zeros(9))


def test_binder_cumulant_of_gaussian_and_fixed_vectors():
    """Oracle: <m^4> / <m^2>^2 = (n + 2) / n for n Gaussian components, 1 for fixed length."""
    m = np.random.default_rng(1).normal(size=(4, 5000, 3))
    square = (m**2).sum(axis=-1)
    found = binder_cumulant(square, square**2)
    assert abs(found.z_score(0.0)) < 4
    assert found.stderr < 0.05
    fixed = binder_cumulant(np.ones((2, 20)), np.ones((2, 20)))
    assert fixed.mean == pytest.approx(1.0)


def gaussian(positions):
    return -0.5 * (positions**2).sum(axis=1)


def shifted(positions, scale, rng):
    return positions + scale * rng.normal(size=positions.shape)


def measured(**options):
    return run_chains(
        Metropolis(gaussian, shifted, scale=20.0),
        np.zeros((8, 2)),
        observables={
            "x": lambda s: s.positions[:, 0],
            "square": lambda s: (s.positions**2).sum(axis=1),
            "both": lambda s: s.positions,
        },
        **{"n_measurements": 2000, "warmup": 200, "seed": 3, **options},
    )


def test_metropolis_samples_a_gaussian():
    """Oracle: <x> = 0, <x^2 + y^2> = 2; warm-up brings the acceptance to its target."""
    run = measured()
    assert abs(run.estimate("x").z_score(0.0)) < 4
    assert abs(run.estimate("square").z_score(2.0)) < 4
    assert run.estimate("square").stderr < 0.1
    assert run.acceptance.mean() == pytest.approx(0.5, abs=0.05)
    assert run.series["both"].shape == (8, 2000, 2)
    found = run.diagnostics()
    assert found["R-hat square"] < 1.02
    assert found["tau_int x"] > 1.0
    with pytest.raises(InvalidInputError, match="x, square"):
        run.estimate("both")


def test_thinning_keeps_every_third_state():
    """Oracle: the run that measures after every step."""
    every = measured(n_measurements=30, warmup=5)
    third = measured(n_measurements=10, warmup=5, thin=3)
    assert np.array_equal(third.series["x"], every.series["x"][:, 2::3])


def test_a_run_that_was_killed_ends_with_the_same_bits(tmp_path, monkeypatch):
    """Oracle: the run that was not; killed in the warm-up, and again while measuring."""
    whole = measured(n_measurements=20, warmup=30)
    original = Metropolis.step

    def killed_at(n):
        count = []

        def step(self, state, rng):
            count.append(1)
            if len(count) == n:
                raise KeyboardInterrupt
            return original(self, state, rng)

        return step

    for n in (17, 22):
        monkeypatch.setattr(Metropolis, "step", killed_at(n))
        with pytest.raises(KeyboardInterrupt):
            measured(n_measurements=20, warmup=30, directory=tmp_path, checkpoint_seconds=0.0)
    monkeypatch.setattr(Metropolis, "step", original)
    again = measured(n_measurements=20, warmup=30, directory=tmp_path)
    for name, values in whole.series.items():
        assert np.array_equal(again.series[name], values)
    assert np.array_equal(again.acceptance, whole.acceptance)
    assert np.array_equal(again.state.positions, whole.state.positions)
    monkeypatch.setattr(Metropolis, "step", killed_at(1))
    done = measured(n_measurements=20, warmup=30, directory=tmp_path)  # nothing is computed again
    assert np.array_equal(done.series["x"], whole.series["x"])


def test_directories_are_guarded(tmp_path):
    from kakehashi_core.files import directory_lock

    measured(n_measurements=5, warmup=2, directory=tmp_path)
    with pytest.raises(InvalidInputError, match="started with thin = 1, now it is 2"):
        measured(n_measurements=5, warmup=2, thin=2, directory=tmp_path)
    with directory_lock(tmp_path / "other"), pytest.raises(LockedError):
        measured(n_measurements=5, directory=tmp_path / "other")


def test_a_run_of_another_weight_is_not_taken_over(tmp_path):
    """Oracle: what messages say, of a finished run and of one that was cut short."""

    def run(directory, temperature, kernel=Metropolis, n=12):
        return run_chains(
            kernel(lambda p: gaussian(p) / temperature, shifted),
            np.ones((3, 2)),
            observables={"x": lambda s: s.positions[:, 0]},
            n_measurements=n,
            seed=1,
            directory=directory,
        )

    class Other(Metropolis):
        pass

    first = run(tmp_path, 1.0)
    assert np.array_equal(run(tmp_path, 1.0).series["x"], first.series["x"])
    with pytest.raises(
        InvalidInputError, match="run of another weight: log-weights of chain 0 were"
    ):
        run(tmp_path, 2.0)
    with pytest.raises(InvalidInputError, match="kernel = 'Metropolis', now it is 'Other'"):
        run(tmp_path, 1.0, Other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_measurements": 5.0}, "n_measurements must be an integer"),
        ({"thin": True}, "thin must be an integer"),
        ({"observables": [len]}, "observables are a list"),
        ({"observables": {"x": 1.0}}, "'x' is a float"),
        ({"observables": {"x": lambda s: s.positions[0, 0]}}, r"'x' has shape \(\)"),
        ({"observables": {"x": lambda s: 1j * s.positions}}, "complex128"),
        ({"kernel": "slow", "warmup": 6}, "at least 7 steps"),
    ],
)
def test_bad_input_is_found_before_the_first_step(options, message):
    """Oracle: what messages say; a kernel whose steps fail."""

    class Still(Metropolis):
        def step(self, state, rng):
            raise AssertionError

    class Slow(Still):
        least_warmup = 7

    kernel = (Slow if options.pop("kernel", None) else Still)(gaussian, shifted)
    with pytest.raises(InvalidInputError, match=message):
        run_chains(
            Repeated(kernel, 2),
            np.zeros((2, 2)),
            **{"n_measurements": 3, "observables": {}, "warmup": 2, **options},
        )


def test_proposals_may_work_in_place():
    """Oracle: the proposal that does not."""

    def in_place(positions, scale, rng):
        positions += scale * rng.normal(size=positions.shape)
        return positions

    found = []
    for proposal in (shifted, in_place):
        kernel = Metropolis(gaussian, proposal)
        state, rng = kernel.start(np.zeros((4, 2))), np.random.default_rng(2)
        for _ in range(5):
            state = kernel.step(state, rng).state
        found.append(state.positions)
    assert np.array_equal(*found)


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        (lambda p: np.zeros((len(p), 3)), InvalidInputError, r"\(8, 2\), one column"),
        (gaussian, InvalidInputError, "one column for each"),
        (lambda p: gaussian(p)[:, None] / [2.0, 1.0], InvalidInputError, "kernel 0 gives chain 0"),
        (lambda p: np.full((len(p), 2), np.nan), NonFiniteError, "copy 0 of chain 0"),
    ],
)
def test_tables_of_log_weights_that_cannot_be(table, error, message):
    """Oracle: what messages say."""
    kernels = [Metropolis(lambda p, t=t: gaussian(p) / t, shifted) for t in (1.0, 2.0)]
    with pytest.raises(error, match=message):
        ParallelTempering(kernels, table).start(np.ones((4, 2, 3)))


def test_weights_and_observables_that_cannot_be():
    def broken(positions):
        values = gaussian(positions)
        values[5] = np.nan
        return values

    with pytest.raises(NonFiniteError, match="for chain 5"):
        Metropolis(broken, shifted).start(np.zeros((8, 2)))
    with pytest.raises(InvalidInputError, match="one number for each"):
        Metropolis(lambda p: np.zeros(3), shifted).start(np.zeros((8, 2)))
    with pytest.raises(NonFiniteError, match="'bad' is not finite for chain 0"):
        run_chains(
            Metropolis(gaussian, shifted),
            np.zeros((2, 2)),
            observables={"bad": lambda s: np.array([np.inf, 0.0])},
            n_measurements=1,
        )
    with pytest.raises(InvalidInputError, match="thin must be at least 1"):
        measured(thin=0)


WEIGHTS = np.array([0.5, 0.3, 0.2])


class Exchange(Kernel):
    """Metropolis between two of three states; the third one stays."""

    def __init__(self, first: int, second: int) -> None:
        self.pair = (first, second)

    def start(self, positions):
        return ChainState(positions, np.log(WEIGHTS)[positions])

    def step(self, state, rng):
        a, b = self.pair
        x = state.positions
        proposed = np.where(x == a, b, np.where(x == b, a, x))
        accepted = rng.random(len(x)) < WEIGHTS[proposed] / WEIGHTS[x]
        new = np.where(accepted, proposed, x)
        return Step(self.start(new), accepted, proposed != x)


def transitions(kernel, n=40_000):
    """Return how many chains went from each state to each, in one step from equilibrium."""
    rng = np.random.default_rng(5)
    before = kernel.start(rng.choice(3, size=n, p=WEIGHTS))
    counts = np.zeros((3, 3))
    for _ in range(10):  # a coin falls for all chains together
        after = kernel.step(before, rng).state
        np.add.at(counts, (before.positions, after.positions), 1)
        before = kernel.start(rng.choice(3, size=n, p=WEIGHTS))
    return counts


def asymmetry(counts):
    """Return the largest difference of forward and backward transitions in standard deviations."""
    return max(
        abs(counts[i, j] - counts[j, i]) / math.sqrt(max(counts[i, j] + counts[j, i], 1))
        for i in range(3)
        for j in range(i)
    )


class FixedOrder(Repeated):
    """Two kernels in a fixed order: stationary, but not reversible."""

    def __init__(self, kernels):
        self.kernels = kernels

    def start(self, positions):
        return self.kernels[0].start(positions)

    def step(self, state, rng):
        for kernel in self.kernels:
            one = kernel.step(state, rng)
            state = one.state
        return one


def test_compositions_are_reversible():
    """Oracle: as many transitions there as back. Control: a fixed order is found out."""
    parts = [Exchange(0, 1), Exchange(1, 2)]
    assert asymmetry(transitions(parts[0])) < 4
    assert asymmetry(transitions(Repeated(parts[0], 3))) < 4
    assert asymmetry(transitions(FixedOrder(parts))) > 20
    # The coin is tossed per step, so that a few steps are uneven; many are not.
    rng = np.random.default_rng(0)
    both, counts = EitherWay(parts), np.zeros((3, 3))
    for _ in range(4000):
        before = both.start(rng.choice(3, size=50, p=WEIGHTS))
        np.add.at(counts, (before.positions, both.step(before, rng).state.positions), 1)
    assert asymmetry(counts) < 6


def test_parallel_tempering_crosses_a_barrier():
    """Oracle: quadrature of a tilted double well. Control: the cold chain alone stays where it was."""
    temperatures = np.array([0.05, 0.12, 0.3, 1.0])

    def energy(x):
        return (x**2 - 1.0) ** 2 + 0.05 * x

    def at(temperature):
        return Metropolis(lambda p: -energy(p[:, 0]) / temperature, shifted, scale=0.3)

    def all_weights(positions):
        return -energy(positions[:, 0])[:, None] / temperatures

    kernel = ParallelTempering([at(t) for t in temperatures], all_weights)
    run = run_chains(
        kernel,
        np.ones((32, 4, 1)),
        observables={"x": lambda s: s.positions[:, 0, 0]},
        n_measurements=3000,
        warmup=500,
        seed=1,
    )
    grid = np.linspace(-3, 3, 20_001)
    weight = np.exp(-energy(grid) / temperatures[0])
    exact = float((grid * weight).sum() / weight.sum())
    assert abs(run.estimate("x").z_score(exact)) < 4
    assert run.estimate("x").stderr < 0.05
    assert (kernel.exchanges / kernel.attempts > 0.1).all()
    weights = run.state.log_weights
    assert weights[:, 2] == pytest.approx(-energy(run.state.positions[:, 2, 0]) / 0.3)
    alone = run_chains(
        at(0.05),
        np.ones((32, 1)),
        observables={"x": lambda s: s.positions[:, 0]},
        n_measurements=500,
        warmup=100,
        seed=1,
    )
    assert alone.series["x"].mean() > 0.5
    with pytest.raises(InvalidInputError, match="hold the 4 temperatures"):
        kernel.start(np.ones((3, 2, 1)))
