"""Training under Ray Train, for real: the same numbers as in one process, and no task lost when a worker dies."""

import threading
import time
from pathlib import Path

import pytest
import ray
import safetensors.torch
import torch

from jobs.benchmarks.checkpoints import DISK_BYTES, small_disk
from metarec import storage
from metarec.config import load_config, with_values
from metarec.data.prepare import prepare
from metarec.errors import ClusterError, StorageError
from metarec.train import preflight
from metarec.train.checkpoint import CheckpointFolder
from metarec.train.journal import read_journal
from metarec.train.launch import launch
from metarec.train.room import check_free_to_prepare, check_free_to_train
from metarec.train.run import open_run

SETTINGS = (
    "synthetic.num_users=90",
    "synthetic.num_items=40",
    "model.hidden=[8]",
    "model.embedding_width=4",
    "model.warm_start_rank=2",
    "outer.epochs=3",
    "train.meta_batch=7",
)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return load_config(None, [*SETTINGS, f"output.root={tmp_path_factory.mktemp('root')}"])


@pytest.fixture(scope="module")
def dataset(ray_cluster, config):
    return prepare(config, progress=lambda line: None)


def train(config, dataset, name, *, watch=lambda *, last=False: None, stop=None, **settings):
    changed = with_values(config, {"run.name": name, **{key.replace("__", "."): v for key, v in settings.items()}})
    folder = open_run(changed)
    return folder, launch(changed, dataset, folder, watch=watch, stop=stop or threading.Event())


def final_weights(folder):
    checkpoints = CheckpointFolder(folder.checkpoints, keep=1, lower_is_better=True)
    uri = storage.join(folder.checkpoints, f"step-{max(checkpoints.steps()):010d}")
    return safetensors.torch.load(storage.read_bundle(uri, "checkpoint")[1]["weights.safetensors"])


@pytest.fixture(scope="module")
def two_workers(config, dataset):
    return train(config, dataset, "two", train__num_workers=2)


def test_two_ray_workers_end_at_the_weights_of_one_process(config, dataset, two_workers):
    """Float32, 33 steps of 7 tasks and a last one of 2 an epoch; the order of sums differs."""
    alone, outcome = train(config, dataset, "alone", train__num_workers=0)
    ours, theirs = final_weights(two_workers[0]), final_weights(alone)
    assert outcome["num_tasks_seen"] == two_workers[1]["num_tasks_seen"] == outcome["num_tasks_due"]
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=2e-3, atol=2e-4, msg=name)


def test_the_journal_holds_each_step_once(dataset, two_workers):
    steps = [line.step for line in read_journal(two_workers[0].journal)]
    assert steps == list(range(3 * -(-dataset.num_tasks("train") // 7)))


def test_a_finished_run_started_again_trains_no_further(config, dataset, two_workers):
    before = final_weights(two_workers[0])
    folder, outcome = train(config, dataset, "two", train__num_workers=0)
    assert outcome["num_tasks_seen"] == outcome["num_tasks_due"]
    assert all(torch.equal(before[name], weight) for name, weight in final_weights(folder).items())


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(config, dataset, two_workers):
    stop = threading.Event()
    stop.set()
    folder, outcome = train(config, dataset, "stopped", train__num_workers=2, stop=stop)
    assert outcome["stopped"]
    assert 0 < outcome["num_tasks_seen"] < outcome["num_tasks_due"]
    folder, outcome = train(config, dataset, "stopped", train__num_workers=2)
    assert outcome["num_tasks_seen"] == outcome["num_tasks_due"]
    for name, weight in final_weights(two_workers[0]).items():
        assert torch.equal(final_weights(folder)[name], weight), name


def test_more_workers_than_the_cluster_has_cpus_are_refused_with_the_sum(config, dataset):
    with pytest.raises(ClusterError, match=r"num_workers = 9 x 0.5 CPUs \+ 9 x 0.25 for Ray Data = 6.75 CPUs, but"):
        train(config, dataset, "many", train__num_workers=9)


def test_gpus_that_are_not_there_are_refused(config, dataset):
    with pytest.raises(ClusterError, match="asks for 2 GPUs, one a worker, but the cluster has 0"):
        train(config, dataset, "gpu", train__num_workers=2, train__use_gpu=True)


def test_what_another_job_holds_is_refused_within_seconds_with_the_sum(config, dataset):
    @ray.remote(num_cpus=3)
    class Other:
        def ready(self):
            return True

    other = Other.remote()
    ray.get(other.ready.remote())
    began = time.monotonic()
    with pytest.raises(
        ClusterError, match=r"= 1.5 CPUs, but other jobs hold 3 of the cluster's 4 CPUs and leave 1; wait"
    ):
        check_free_to_train(with_values(config, {"train.num_workers": 2}), 0.5)
    assert time.monotonic() - began < 30
    check_free_to_prepare()
    ray.kill(other)
    check_free_to_train(with_values(config, {"train.num_workers": 2}), 0.5)


@pytest.mark.slow
def test_a_full_disk_ends_the_run_at_the_first_try_with_the_checkpoint_that_is_kept(config, dataset):
    """A try costs 6 s and more: 100 of them would take ten minutes."""
    changed = with_values(config, {"run.name": "full", "train.max_failures": 100, "train.keep_checkpoints": 99})
    folder = open_run(with_values(changed, {"outer.epochs": 400}))
    Path(folder.checkpoints).mkdir(parents=True)
    began = time.monotonic()
    with small_disk(Path(folder.checkpoints)) as disk:
        if disk.startswith("no file"):
            pytest.skip("needs the right to mount a disk that every process sees")
        Path(folder.checkpoints, "ballast").write_bytes(bytes(DISK_BYTES - 200_000))
        with pytest.raises(StorageError, match=r"no space left.*the checkpoint of step \d+ is kept, where"):
            train(changed, dataset, "full", outer__epochs=400)
        assert CheckpointFolder(folder.checkpoints, 99, lower_is_better=True).newest(pytest.fail) is not None
    assert time.monotonic() - began < 300


def test_a_root_that_every_node_sees_passes_and_nothing_is_left_behind(ray_cluster, tmp_path):
    preflight.check_shared(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
