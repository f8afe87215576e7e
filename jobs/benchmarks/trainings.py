"""A training in this process, and how long one would take."""

import hashlib
import json
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from jobs.train import best_learner
from metarec.build import build_learner
from metarec.config import Config, config_to_dict, with_values
from metarec.data.negatives import Negatives
from metarec.data.tasks import draw_training_tasks
from metarec.evaluate.predictor import Predict
from metarec.train.run import FREE_TO_CHANGE, locked, open_run

if TYPE_CHECKING:
    from metarec.data.dataset import Dataset
    from metarec.serving.learner import Learner


SMALL = (
    "synthetic.num_users=300",
    "synthetic.num_items=60",
    "model.hidden=[16]",
    "model.embedding_width=8",
    "outer.epochs=10",
)
"""Settings of a training of seconds, for what is measured around it."""


class Trained(NamedTuple):
    """A model at its best validation metric.

    Attributes:
        config: of the training.
        validation: the metric there.
        predict: adapts and predicts.
        seconds: what the epochs took.
    """

    config: Config
    validation: float
    predict: Predict
    seconds: float


def train_here(config: Config, dataset: "Dataset") -> Trained:
    """As `learner_here`, with what a comparison needs of it."""
    learner = learner_here(config, dataset)
    facts = learner.facts
    return Trained(learner.config, facts["validation"], learner.predictor, facts["training_seconds"])


def learner_here(config: Config, dataset: "Dataset") -> "Learner":
    """Train without workers, or go on where the same training was cut; a finished one is read.

    Args:
        config: without a run name; it gets one that tells it from every other config.
        dataset: prepared from it.
    """
    from metarec.train.launch import launch

    named = with_values(config, {"run.name": f"benchmark-{config.algorithm.name}-{digest_of(config)}"})
    folder = open_run(named)
    with locked(folder):
        launch(named, dataset, folder, watch=nobody, stop=threading.Event())
        return best_learner(named, dataset, folder)


def digest_of(config: Config) -> str:
    """Eight letters for all that a training computes from; not for where it runs and writes."""
    document = config_to_dict(config)
    for name in (*FREE_TO_CHANGE, "run.name"):
        table, _, key = name.partition(".")
        del document[table][key]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:8]


def seconds_of_training(config: Config, dataset: "Dataset") -> float:
    """How long a training takes at the pace of its second step on the first tasks."""
    from metarec.train.worker import schedule_of

    histories, catalogue = dataset.histories("train"), dataset.catalogue()
    learner = build_learner(config, dataset.schema)
    negatives = Negatives.among_known(catalogue, config.task.num_negatives)
    chosen = histories.take(np.arange(min(config.train.meta_batch, len(histories))))
    batch = draw_training_tasks(chosen, seed=0, epoch=0, task=config.task, negatives=negatives)
    started = 0.0
    for _ in range(2):
        started = time.perf_counter()
        surrogate = learner(catalogue, batch).surrogate
        torch.autograd.backward(surrogate)
    return (time.perf_counter() - started) * schedule_of(config, dataset).num_steps


def nobody(*, last: bool = False) -> None:
    """A `Watch` that looks at nothing; there is nobody to tell."""
    del last
