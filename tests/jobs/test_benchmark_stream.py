"""The benchmark of the stream on a small dataset: every task arrives, and groups of like length hold less padding."""

import pytest

from jobs.benchmarks import stream
from metarec.config import load_config
from metarec.data.prepare import prepare


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    return load_config(None, ["synthetic.num_users=300", "synthetic.num_items=200", f"output.root={root}"])


@pytest.fixture(scope="module")
def dataset(ray_cluster, config):
    return prepare(config, progress=lambda line: None)


def test_two_workers_take_each_task_once_an_epoch(config, dataset):
    """`stream` itself asserts the count."""
    rates = stream.stream(config, dataset, meta_batch=32, workers=2)
    assert min(rates["first"], rates["later"], rates["first_batch_seconds"]) > 0
    row = {"meta_batch": 32, "workers": 2, "plain": stream.read_plainly(dataset, 32), "engine": 1.0, **rates}
    padding = stream.padding_of(config, dataset, 32, 1)
    report = {"dataset": "synthetic", "tasks": 240, "streams": [row], "padding": [padding]}
    assert "plain pyarrow" in "\n".join(stream.describe(report))


def test_groups_of_like_length_hold_no_more_padding_than_the_whole_batch(config, dataset):
    padding = stream.padding_of(config, dataset, 64, 1)
    assert padding["steps"] == 4
    assert 0 <= padding["grouped"] <= padding["whole"] < 1


def test_steps_of_like_size_hold_less_padding(config, dataset):
    one, all_steps = (stream.padding_of(config, dataset, 32, window)["whole"] for window in (1, 8))
    assert 0 < all_steps < one / 2


def test_what_the_engine_consumes_is_measured_on_the_same_tasks(config, dataset):
    assert stream.train_plainly(config, dataset, 32) > 0
