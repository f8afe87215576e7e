"""Every algorithm learns on planted tastes: its error falls toward the best known, and with every rating more."""

import itertools
import math

import pytest
import torch

from metarec.baselines.item_user_bias import fit_item_user_bias
from metarec.build import ALGORITHMS
from metarec.config import load_config
from metarec.data.prepare import prepare
from metarec.data.synthetic import best_mae
from metarec.data.tasks import draw_training_tasks
from metarec.evaluate.protocol import evaluate
from metarec.train.checkpoint import Progress
from metarec.train.loop import Hooks, Optimisation, train
from metarec.train.worker import schedule_of, starting_point

pytestmark = pytest.mark.slow
SIZES = (0, 3, 10)
SETTINGS = {"fine_tuned": ("inner.lr=0.2",)}
"""Where the default settings do not suit: no gradient prepares a joint model for steps as long as MAML's."""


@pytest.fixture(autouse=True)
def one_thread():
    """Small products gain nothing from a second thread, which waits for its turn where the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def dataset(ray_cluster, root):
    return prepare(load_config(None, [f"output.root={root}"]), progress=lambda line: None)


def meta_train(config, dataset):
    """The whole schedule in this process, with batches drawn as the stream draws them."""
    catalogue, training, schedule = dataset.catalogue(), dataset.histories("train"), schedule_of(config, dataset)
    learner, met_in_training = starting_point(config, dataset, catalogue, training)

    def batch_of(step):
        histories = training.take(schedule.tasks_of(step))
        return draw_training_tasks(histories, seed=0, epoch=schedule.epoch_of(step), task=config.task)

    losses = []
    train(
        learner,
        met_in_training,
        (batch_of(step) for step in range(schedule.num_steps)),
        schedule=schedule,
        start=Progress(0, math.nan, 0),
        world_size=1,
        optimisation=Optimisation(torch.optim.AdamW(learner.parameters()), config.outer.lr, "cosine", 10.0),
        rhythm=config.train,
        hooks=Hooks(
            sum_over_workers=lambda values: values,
            validate=lambda: 0.0,
            save=lambda progress: None,
            report=lambda step, metrics: losses.append(metrics["train.loss"]),
        ),
    )
    return learner


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_error_falls_below_the_bias_floor_toward_the_best_and_with_more_ratings(algorithm, dataset, root):
    """On users nobody trained on; a curve may rise by what chance allows, two standard errors of its steps."""
    settings = [f"output.root={root}", f"algorithm.name={algorithm}", *SETTINGS.get(algorithm, ())]
    config = load_config(None, settings)
    learner = meta_train(config, dataset)
    floor = fit_item_user_bias(dataset.histories("train"), dataset.catalogue())
    histories = dataset.histories("test")
    judged = evaluate(
        {"floor": floor, "learned": learner.predict},
        dataset.catalogue(),
        histories,
        head=dataset.schema.heads[0],
        num_query=config.task.num_query,
        support_sizes=SIZES,
        num_draws=3,
        seed=0,
    )
    curve = [judged.value("learned", size, "mae") for size in (*SIZES, "all")]
    floor_mae, best = judged.value("floor", "all", "mae"), best_mae(config)
    assert best < curve[-1] < floor_mae, curve
    values = judged.user_values[1, :, 0]
    for before, after in itertools.pairwise(values):
        rises = after - before
        assert rises.mean() < 2 * rises.std(ddof=1) / math.sqrt(len(rises)), curve
