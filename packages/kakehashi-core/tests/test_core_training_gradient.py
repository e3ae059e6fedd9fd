"""Gradient training on lightning-fabric: exact resumption, closed forms, no side effects."""

import os
import socket
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kakehashi_core import spawn, torch_generator
from kakehashi_core.errors import (
    CheckpointError,
    InvalidInputError,
    NonFiniteError,
    UnsupportedError,
)
from kakehashi_core.training import (
    GradientTraining,
    Outcome,
    RandomBatches,
    ShuffledBatches,
    create_fabric,
    plot_metrics,
    read_metrics,
    train,
)

pytest.importorskip("lightning_fabric", reason="the extra kakehashi-core[train] is not installed")
pytest.importorskip("matplotlib", reason="the extra kakehashi-core[train] is not installed")

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
STEPS = 9
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.005, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3, line_search_fn="strong_wolfe"),
}
SCHEDULERS: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "none": lambda o: None,
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20),
    "milestones": lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [2, 5, 5]),
    "plateau": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0, threshold=0.9),
    "warmup": lambda o: torch.optim.lr_scheduler.SequentialLR(
        o,
        [
            torch.optim.lr_scheduler.LinearLR(o, 0.1, total_iters=4),
            torch.optim.lr_scheduler.ExponentialLR(o, 0.9),
        ],
        milestones=[4],
    ),
}


def build(
    optimizer: str = "adam",
    scheduler: str = "cosine",
    *,
    start: int = 1,
    crash_at: int | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> GradientTraining:
    """A network with dropout, data in random order, noise from two streams."""
    streams, _ = spawn(5, 3)
    inputs = torch.from_numpy(streams[0].standard_normal((20, 4))).to(device, dtype)
    targets = inputs.square().sum(1, keepdim=True)
    # Another start must not matter for a resumed run.
    generator = torch.Generator().manual_seed(start)
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1)
    ).to(device, dtype)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    noise = torch_generator(7, device=device)
    calls = 0

    def loss(model: Any, indices: Any) -> Any:
        nonlocal calls
        calls += 1
        if crash_at is not None and calls > crash_at:
            raise KeyError("crash")
        x = inputs[indices]
        x = x + 0.1 * torch.randn(x.shape, generator=noise, dtype=x.dtype, device=device)
        error = model(x) - targets[indices] + 0.01 * streams[2].standard_normal()
        return error.square().mean(), {"largest": error.abs().max()}

    def validation(model: Any) -> dict[str, float]:
        with torch.no_grad():
            return {"loss": float((model(inputs) - targets).square().mean())}

    stepper = OPTIMIZERS[optimizer](model.parameters())
    return GradientTraining(
        model,
        stepper,
        loss=loss,
        batches=ShuffledBatches(20, 6, rng=streams[1]),
        validation=validation,
        scheduler=SCHEDULERS[scheduler](stepper),
        streams={"noise": noise, "shift": streams[2]},
        **options,
    )


def run(directory: Path, training: GradientTraining, **changes: Any) -> Any:
    settings: dict[str, Any] = {
        "config": {},
        "steps": STEPS,
        "validate_every": 2,
        "checkpoint_steps": 4,
        "restore_best": False,
        "plot": False,
    }
    return train(training, directory, **(settings | changes))


def flat(state: Any) -> list[Any]:
    if isinstance(state, dict):
        return [x for key, item in state.items() for x in (key, *flat(item))]
    if isinstance(state, list | tuple):
        return [x for item in state for x in flat(item)]
    if isinstance(state, torch.Tensor):
        return [state.detach().cpu().contiguous().numpy().tobytes()]
    return [state.tobytes() if isinstance(state, np.ndarray) else repr(state)]


def check_resumption(directory: Path, *, crash_at: int = 7, **options: Any) -> None:
    whole = build(**options)
    run(directory / "whole", whole)
    with pytest.raises(KeyError, match="crash"):
        run(directory / "parts", build(crash_at=crash_at, **options))
    parts = build(start=2, **options)
    result = run(directory / "parts", parts)
    assert (result.outcome, result.step) == (Outcome.COMPLETE, STEPS)
    assert flat(parts.state_dict()) == flat(whole.state_dict())
    files = [(directory / name / "metrics.jsonl").read_bytes() for name in ("whole", "parts")]
    assert files[0] == files[1]
    metrics = read_metrics(directory / "whole")
    assert len({line["loss"] for line in metrics}) == STEPS
    assert set(metrics[1]) == {"step", "loss", "largest", "learning_rate", "validation_loss"}


@pytest.mark.parametrize(
    ("optimizer", "scheduler"),
    [(name, "cosine") for name in OPTIMIZERS] + [("adam", name) for name in SCHEDULERS],
)
def test_resumed_equals_uninterrupted(tmp_path: Path, optimizer: str, scheduler: str) -> None:
    """Oracle: the uninterrupted run: weights, buffers, optimizer, scheduler, streams, metrics."""
    crash_at = 20 if optimizer == "lbfgs" else 7
    check_resumption(tmp_path, optimizer=optimizer, scheduler=scheduler, crash_at=crash_at)


@pytest.mark.parametrize(
    ("device", "precision"),
    [
        ("cpu", "bf16-mixed"),
        pytest.param("cuda", "true", marks=NEEDS_CUDA),
        pytest.param("cuda", "bf16-mixed", marks=NEEDS_CUDA),
        pytest.param("cuda", "16-mixed", marks=NEEDS_CUDA),
    ],
)
def test_resumed_equals_uninterrupted_on_fabrics(
    tmp_path: Path, device: str, precision: Any
) -> None:
    """Oracle: the uninterrupted run; control: mixed precision changes the numbers."""
    fabric = create_fabric(device=device, precision=precision)
    check_resumption(tmp_path, device=device, dtype=torch.float32, fabric=fabric)
    if precision != "true":
        plain = build(device=device, dtype=torch.float32)
        run(tmp_path / "plain", plain)
        losses = [read_metrics(tmp_path / name)[0]["loss"] for name in ("plain", "whole")]
        assert losses[0] != losses[1] == pytest.approx(losses[0], rel=0.05)


def test_best_weights_come_back(tmp_path: Path) -> None:
    """Oracle: the validation of the returned weights is the best one of the metrics file."""
    training = build("sgd", "none")
    result = run(tmp_path, training, restore_best=True, validate_every=1)
    values = [line["validation_loss"] for line in read_metrics(tmp_path)]
    assert result.best_value == min(values)
    assert result.best_step == 1 + values.index(min(values))
    assert training.validate()["loss"] == min(values)


def test_gradient_descent_on_a_parabola(tmp_path: Path) -> None:
    """Oracle: w_n = (1 - rate)^n w_0, for a mapping of parameters and float64."""
    weight = torch.tensor([2.0, -4.0], dtype=torch.float64, requires_grad=True)
    training = GradientTraining(
        {"weight": weight},
        torch.optim.SGD([weight], lr=0.25),
        loss=lambda model, batch: 0.5 * model["weight"].square().sum(),
    )
    run(tmp_path, training, validate_every=None, steps=4)
    assert torch.equal(weight, 0.75**4 * torch.tensor([2.0, -4.0], dtype=torch.float64))
    weight.data.zero_()
    run(tmp_path, training, validate_every=None, steps=4)
    assert torch.equal(weight, 0.75**4 * torch.tensor([2.0, -4.0], dtype=torch.float64))


@pytest.mark.parametrize("as_module", [True, False])
def test_long_gradients_are_clipped(tmp_path: Path, as_module: bool) -> None:
    """Oracle: a step of length rate times clip_norm along the gradient (3, 4)."""
    module = torch.nn.Linear(2, 1, bias=False).double()
    torch.nn.init.zeros_(module.weight)
    model = module if as_module else {"w": module.weight}
    slope = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    training = GradientTraining(
        model,
        torch.optim.SGD(module.parameters(), lr=0.5),
        loss=lambda m, batch: (m(slope) if as_module else (m["w"] * slope)).sum(),
        clip_norm=1.0,
    )
    training.step()
    assert module.weight.detach().numpy() == pytest.approx(-0.1 * slope.numpy(), rel=1e-6)


def test_random_batches_reach_the_loss(tmp_path: Path) -> None:
    """Oracle: the same stream drawn by hand."""
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    batches = RandomBatches(
        lambda rng: torch.from_numpy(rng.standard_normal(3)), rng=np.random.default_rng(4)
    )
    training = GradientTraining(
        {"weight": weight},
        torch.optim.SGD([weight], lr=1.0),
        loss=lambda model, batch: (model["weight"] * batch).sum(),
        batches=batches,
    )
    rng = np.random.default_rng(4)
    expected = -sum(rng.standard_normal(3).sum() for _ in range(2))
    for _ in range(2):
        training.step()
    assert weight.item() == pytest.approx(expected, rel=1e-14)


def test_learning_rate_falls_on_a_plateau(tmp_path: Path) -> None:
    run(tmp_path, build("sgd", "plateau"), validate_every=1)
    rates = [line["learning_rate"] for line in read_metrics(tmp_path)]
    assert rates[0] == 0.005
    assert rates[-1] < rates[0]


def test_validation_leaves_modes_and_random_numbers_alone() -> None:
    training = build()
    module = training._module
    assert module is not None
    module[1].eval()
    modes = [part.training for part in module.modules()]
    training.step()
    before = torch.get_rng_state()
    state = flat(training.state_dict())
    training.validate()
    assert flat(training.state_dict()) == state
    assert [part.training for part in module.modules()] == modes
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_differs_from_step_to_step_and_from_seed_to_seed() -> None:
    def masks(seed: int) -> list[list[float]]:
        module = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Dropout(0.5))
        found: list[list[float]] = []

        def loss(model: Any, batch: Any) -> torch.Tensor:
            found.append(torch.nn.functional.dropout(torch.ones(32), 0.5).tolist())
            return model(torch.ones(1, 1)).sum()

        optimizer = torch.optim.SGD(module.parameters(), lr=0.0)
        training = GradientTraining(module, optimizer, loss=loss, seed=seed)
        for _ in range(3):
            training.step()
        return found

    one = masks(1)
    torch.rand(3)  # the state of the process must not matter
    assert one == masks(1)
    assert len({tuple(mask) for mask in one + masks(2)}) == 6


def test_divergence_is_an_error_that_names_the_step(tmp_path: Path) -> None:
    weight = torch.ones(1, requires_grad=True)
    training = GradientTraining(
        {"weight": weight},
        torch.optim.SGD([weight], lr=1e15),
        loss=lambda model, batch: model["weight"].square().sum(),
    )
    with pytest.raises(NonFiniteError, match=r"^step 3 of the run in .* loss = inf"):
        run(tmp_path, training, validate_every=None)


def test_infinite_weights_are_never_saved(tmp_path: Path) -> None:
    """The loss is finite, its gradient is not: sqrt at zero."""
    weight = torch.zeros(1, requires_grad=True)
    training = GradientTraining(
        {"weight": weight},
        torch.optim.SGD([weight], lr=0.1),
        loss=lambda model, batch: model["weight"].sqrt().sum(),
    )
    with pytest.raises(NonFiniteError, match="weight 'weight' is not finite after step 1"):
        run(tmp_path, training, validate_every=None, checkpoint_steps=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scheduler": "none"}, "started with a scheduler: True, now it is False"),
        ({"seed": 3}, "started with seed: 0, now it is 3"),
    ],
)
def test_another_setup_is_refused(change: dict[str, Any], message: str) -> None:
    state = build().state_dict()
    with pytest.raises(CheckpointError, match=message):
        build(**change).load_state_dict(state)


def test_another_model_is_refused() -> None:
    def training(width: int, dtype: torch.dtype) -> GradientTraining:
        module = torch.nn.Linear(width, 1, dtype=dtype)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        return GradientTraining(module, optimizer, loss=lambda model, batch: torch.zeros(1))

    state = training(2, torch.float64).state_dict()
    with pytest.raises(CheckpointError, match=r"'weight' is torch.float64 \(1, 2\), here .*\(1, 3"):
        training(3, torch.float64).load_state_dict(state)
    with pytest.raises(CheckpointError, match=r"here torch\.float32"):
        training(2, torch.float32).load_state_dict(state)


def test_senseless_arguments_are_refused() -> None:
    weight = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with pytest.raises(InvalidInputError, match="clip_norm must be a positive number, got -1"):
        GradientTraining({"w": weight}, optimizer, loss=lambda m, b: m["w"].sum(), clip_norm=-1)
    with pytest.raises(InvalidInputError, match="the model has no parameters"):
        GradientTraining({}, optimizer, loss=lambda m, b: m["w"].sum())
    training = GradientTraining({"w": weight}, optimizer, loss=lambda m, b: m["w"])
    with pytest.raises(InvalidInputError, match=r"one element, got \(2,\)"):
        training.step()
    with pytest.raises(InvalidInputError, match="has no validation function"):
        training.validate()
    with pytest.raises(InvalidInputError, match="precision must be one of 'true'"):
        create_fabric(device="cpu", precision="64-true")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="'auto' trains in one process, got 2 devices"):
        create_fabric(device="cpu", n_devices=2)


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'kakehashi-core\[train\]'"):
        create_fabric(device="cpu")


def test_plot_is_drawn_from_the_file(tmp_path: Path) -> None:
    run(tmp_path, build(), plot=True)
    assert (tmp_path / "metrics.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "metrics.png").unlink()
    assert plot_metrics(tmp_path).stat().st_size > 10_000
    with pytest.raises(InvalidInputError, match=r"metrics\.jsonl does not exist"):
        plot_metrics(tmp_path / "nowhere")


def test_training_leaves_the_process_as_found(tmp_path: Path) -> None:
    """CHECKS row 40: also with lightning-fabric and matplotlib; core alone imports neither."""
    code = f"""
import logging, os, random, sys, warnings
import kakehashi_core, kakehashi_core.training
assert not {{"torch", "lightning_fabric", "matplotlib"}} & set(sys.modules), "heavy import"
import numpy, torch
import torch._dynamo  # torch.optim imports it, which sets an environment variable
import matplotlib  # adds a warning filter of its own
def seen():
    return (list(warnings.filters), dict(os.environ), random.getstate(), torch.get_default_dtype(),
            torch.get_num_threads(), torch.initial_seed(), torch.is_grad_enabled(),
            torch.get_rng_state().tolist(), str(numpy.random.get_state()), sys.excepthook,
            torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision(),
            logging.getLogger().handlers, logging.getLogger("lightning_fabric").handlers)
module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.5))
optimizer = torch.optim.Adam(module.parameters())
from kakehashi_core.training import GradientTraining, train
state = seen()
training = GradientTraining(module, optimizer, loss=lambda m, b: m(torch.ones(3, 2)).square().mean())
train(training, {str(tmp_path)!r}, config={{}}, steps=3)
names = [i for i, (a, b) in enumerate(zip(state, seen())) if a != b]
assert not names, names
assert "lightning_fabric" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == done.stdout == ""


def parallel_training(fabric: Any) -> GradientTraining:
    """A linear fit without randomness in the loss."""
    rng = np.random.default_rng(1)
    inputs = torch.from_numpy(rng.standard_normal((16, 3)))
    module = torch.nn.Linear(3, 1).double()
    for weight in module.parameters():
        torch.nn.init.ones_(weight)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    return GradientTraining(
        module,
        optimizer,
        loss=lambda model, indices: (model(inputs[indices]) - 2.0).square().mean(),
        batches=ShuffledBatches(16, 4, rng=rng),
        validation=lambda model: {"loss": (model(inputs) - 2.0).square().mean()},
        fabric=fabric,
    )


def start_process(target: Path, port: int, rank: int) -> int:
    """Do what torchrun does for one of two processes; importing all of torch again takes long."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Python fears threads; torch's are idle
        process = os.fork()
    if process == 0:
        try:
            os.environ |= {
                "TORCHELASTIC_RUN_ID": "test",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "WORLD_SIZE": "2",
                "LOCAL_WORLD_SIZE": "2",
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "OMP_NUM_THREADS": "1",
            }
            warnings.simplefilter("ignore")
            training = parallel_training(create_fabric(device="cpu", strategy="ddp", n_devices=2))
            run(target, training, restore_best=True)
            found = torch.cat([w.flatten() for w in training.state_dict()["weights"].values()])
            np.savetxt(target / f"weights-{rank}.txt", found.detach().numpy(), fmt="%.17g")
            os._exit(0)
        except BaseException:  # noqa: BLE001  nothing may reach the test runner of the parent
            traceback.print_exc()
            os._exit(1)
    return process


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_processes_equal_one(tmp_path: Path) -> None:
    """Oracle: one process; the mean over two equal shares is the mean over the batch (rel 1e-12)."""
    one = parallel_training(create_fabric(device="cpu"))
    run(tmp_path / "one", one, restore_best=True)
    for _ in range(2):  # the second call resumes and finds everything done
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        processes = [start_process(tmp_path / "two", port, rank) for rank in range(2)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in processes]
        assert codes == [0, 0]
    expected = torch.cat([w.detach().flatten() for w in one.state_dict()["weights"].values()])
    for rank in range(2):
        weights = np.loadtxt(tmp_path / f"two/weights-{rank}.txt")
        assert weights == pytest.approx(expected.numpy(), rel=1e-12)
    lines = [read_metrics(tmp_path / name) for name in ("one", "two")]
    for single, double in zip(*lines, strict=True):
        assert double == pytest.approx(single, rel=1e-12)
