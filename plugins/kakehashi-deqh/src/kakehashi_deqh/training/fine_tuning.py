"""A shipped model on a user's own structures, and what that bought."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kakehashi_core import registry
from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_core.files import write_json
from kakehashi_deqh.atomic_units import BOHR
from kakehashi_deqh.evaluation.guess_trials import GuessTrial, guess_trial, summary
from kakehashi_deqh.hamiltonian_model import HamiltonianModel
from kakehashi_deqh.json_values import without_nan
from kakehashi_deqh.predictor import HamiltonianPredictor
from kakehashi_deqh.training.accuracy import measured_accuracy
from kakehashi_deqh.training.hamiltonian_fit import FitSettings, TrainingSet, fit
from kakehashi_deqh.training.scf_data import Calculation, Level, load_calculations
from kakehashi_deqh.training_domain import TrainingDomain

if TYPE_CHECKING:
    from ase import Atoms

LEAST = 10
HELD_OUT = 0.2


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FineTuning:
    """What fine-tuning bought, on structures that were held out.

    Attributes:
        path: Weights, for ``kakehashi_pyscf.initial_guess(mf, name, checkpoint=path)``.
        before: Errors and ratios of the model as it was; see ``measured_accuracy`` and ``summary``.
        after: The same of the fine-tuned one.
        n_train: Structures that it learned from.
        n_held_out: Structures that it did not see.
    """

    path: Path
    before: Mapping[str, float] = field(repr=False)
    after: Mapping[str, float] = field(repr=False)
    n_train: int
    n_held_out: int

    def __str__(self) -> str:
        lines = [
            f"fine-tuned on {self.n_train} structures, judged on {self.n_held_out} others: {self.path}"
        ]
        lines += [
            f"  {quantity}: {value:.4g} -> {self.after[quantity]:.4g}"
            for quantity, value in self.before.items()
        ]
        return "\n".join(lines)


def fine_tune(
    name: str,
    structures: Sequence[Atoms],
    directory: str | Path,
    *,
    steps: int = 600,
    learning_rate: float = 1e-3,
    seed: int = 0,
    executor: Executor | None = None,
    device: str = "cpu",
) -> FineTuning:
    """Go on training a registered predictor on structures of your own.

    Calculations and the state of the fit are kept in the directory: the same call goes on after an
    interruption. A fifth of the structures is held out to judge by.

    Args:
        name: Registry name, such as "deqh-water".
        structures: Molecules with elements that the model knows, neutral closed shells; at least ten.
        directory: Where everything goes; the weights as NAME.safetensors.
        steps: Optimizer steps.
        learning_rate: Largest one.
        seed: Of the choice of structures and of the order of training.
        executor: Runs the calculations; None for one after the other in this process.
        device: Where the network is trained, "cpu", "cuda[:i]" or "auto".

    Raises:
        InvalidInputError: If there are too few structures, or some that the model cannot treat.
        UnsupportedError: If the predictor is not of this package.
    """
    folder = Path(directory)
    if len(structures) < LEAST:
        raise InvalidInputError(
            f"{len(structures)} structures are too few to train and to judge by; give at least {LEAST}"
        )
    if steps < 1 or not learning_rate > 0.0:
        raise InvalidInputError(
            f"steps and learning_rate must be positive, got {steps} and {learning_rate}"
        )
    for k, atoms in enumerate(structures):
        if atoms.pbc.any():
            raise InvalidInputError(f"structure {k} is periodic; set its pbc to False")
        if atoms.info.get("charge", 0) or atoms.info.get("spin", 0):
            raise InvalidInputError(
                f"structure {k} has charge {atoms.info.get('charge', 0)} and spin "
                f"{atoms.info.get('spin', 0)} in its info; only neutral closed shells can be learned"
            )
    model, level = _loaded(name)
    unknown = {int(z) for atoms in structures for z in atoms.numbers} - set(model.counts)
    if unknown:
        raise InvalidInputError(
            f"the structures have elements {sorted(unknown)}; {name} knows {sorted(model.counts)}"
        )
    found = load_calculations(
        [(atoms.numbers, atoms.positions) for atoms in structures],
        folder / "calculations",
        level=level,
        iterates=False,
        executor=executor,
        description="calculations of your structures",
    )
    order = np.random.default_rng(seed).permutation(len(found))
    n_out = max(2, round(HELD_OUT * len(found)))
    held_out = [found[k] for k in order[:n_out]]
    learned = [found[k] for k in order[n_out:]]
    path = folder / f"{name}.safetensors"
    before = _judged(name, model, held_out, level, None)
    data = TrainingSet(learned, model.settings.start)
    settings = FitSettings(
        steps=steps, learning_rate=learning_rate, batch_size=min(10, len(learned)), target="direct"
    )
    fit(
        model,
        data,
        settings,
        folder / "fit",
        seed=seed,
        identity={
            "from": name,
            "sha256": model.sha256,
            "n": len(learned),
            "structures": _digest(learned),
            "level": asdict(level),
        },
        device=device,
        keep_scales=True,
        description=f"fine-tuning of {name}",
    )
    own = TrainingDomain.of(
        [c.request for c in learned],
        [c.reference_error for c in learned],
        same_compositions=model.domain.same_compositions,
    )
    model.domain = model.domain.merged(own)
    model.card = replace(
        model.card,
        summary=f"{model.card.summary}, fine-tuned",
        training_data=f"{model.card.training_data}; then {len(learned)} structures of a user",
        metrics={},
    )
    model.save(path)
    after = _judged(name, model, held_out, level, path)
    result = FineTuning(
        path=path, before=before, after=after, n_train=len(learned), n_held_out=n_out
    )
    write_json(folder / "report.json", without_nan({"before": dict(before), "after": dict(after)}))
    return result


def _loaded(name: str) -> tuple[HamiltonianModel, Level]:
    predictor: Any = registry.load("init_guess", name)
    spec = registry.find("init_guess", name).spec
    if not isinstance(predictor, HamiltonianPredictor) or spec is None:
        raise UnsupportedError(f"{name!r} is no predictor of kakehashi-deqh")
    return predictor.model, Level(xc=spec.domain.xc, basis=spec.domain.basis)


def _digest(calculations: Sequence[Calculation]) -> str:
    """Return what tells these structures from others."""
    found = hashlib.sha256()
    for c in calculations:
        found.update(np.asarray(c.request.numbers, dtype="<i8").tobytes())
        found.update(np.asarray(c.request.positions, dtype="<f8").tobytes())
    return found.hexdigest()


def _judged(
    name: str,
    model: HamiltonianModel,
    calculations: Sequence[Calculation],
    level: Level,
    checkpoint: Path | None,
) -> dict[str, float]:

    def trial(k: int) -> GuessTrial:
        request = calculations[k].request
        return guess_trial(
            f"held out {k}",
            (request.numbers, request.positions * BOHR),
            predictor=name,
            checkpoint=checkpoint,
            xc=level.xc,
            basis=level.basis,
        )

    trial(0)  # the first one in a process is slow, and would be a bad timing
    trials = [trial(k) for k in range(len(calculations))]
    known = [t.one_shot_error for t in trials if np.isfinite(t.one_shot_error)]
    return {
        **measured_accuracy(model, calculations),
        "one-shot energy error, hartree": float(np.mean(known)) if known else float("nan"),
        **{k: v for k, v in summary(trials).items() if "over minao" in k or k == "used"},
    }
