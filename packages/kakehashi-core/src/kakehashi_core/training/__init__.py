"""A training loop that survives ``kill -9``: the same call goes on, bit for bit.

``train`` drives anything with ``step``, ``validate`` and a state (a ``Trainable``) and owns what surrounds
it: run directory, checkpoints, metrics, early stopping, signals. ``GradientTraining`` makes a ``Trainable``
of a torch module and an optimizer, on lightning-fabric.
"""

from kakehashi_core.training.batches import Batches, RandomBatches, ShuffledBatches
from kakehashi_core.training.gradient_training import GradientTraining
from kakehashi_core.training.lightning import create_fabric
from kakehashi_core.training.loop import Outcome, TrainingResult, train
from kakehashi_core.training.metrics_file import plot_metrics, read_metrics
from kakehashi_core.training.random_states import load_random_state, random_state
from kakehashi_core.training.trainable import Trainable

__all__ = [
    "Batches",
    "GradientTraining",
    "Outcome",
    "RandomBatches",
    "ShuffledBatches",
    "Trainable",
    "TrainingResult",
    "create_fabric",
    "load_random_state",
    "plot_metrics",
    "random_state",
    "read_metrics",
    "train",
]
