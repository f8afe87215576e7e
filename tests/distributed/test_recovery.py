"""Runs that are killed, or go on with another number of workers, lose no task; killed ones end at the same bits."""

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from jobs.benchmarks.disturbances import WorkerKiller, worker_processes
from jobs.benchmarks.recovery import SETTINGS, Disturbed, change_workers, kill_whole_job
from metarec.config import load_config
from metarec.data.prepare import prepare

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return [*SETTINGS, f"output.root={tmp_path_factory.mktemp('root')}"]


@pytest.fixture(scope="module")
def dataset(ray_cluster, settings):
    return prepare(load_config(None, settings), progress=lambda line: None)


@pytest.fixture(scope="module")
def undisturbed(settings, dataset):
    run = Disturbed(load_config(None, settings), dataset, "undisturbed")
    run.train()
    return run


def test_three_killed_workers_cost_at_most_an_interval_each_no_task_and_no_bit(settings, dataset, undisturbed):
    run = Disturbed(load_config(None, settings), dataset, "killed")
    rng = np.random.default_rng()
    killer = WorkerKiller(run.folder, np.sort(rng.integers(0, int(0.9 * run.num_steps), 3)).tolist(), rng)
    outcome = run.train(killer=killer)
    assert len(killer.kills) == 3
    assert max(killer.redone()) <= run.num_steps // run.config.outer.epochs
    assert outcome["num_tasks_seen"] == outcome["num_tasks_due"]
    assert run.is_exact()
    assert run.last_checkpoint() == undisturbed.last_checkpoint()


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_run_that_goes_on_with_other_workers_loses_and_repeats_no_task(settings, dataset, undisturbed, before, after):
    """In float32 sums in another order differ in the last bits, and the optimiser carries them on."""
    changed = change_workers(load_config(None, settings), dataset, undisturbed, before, after)
    assert 0 < changed["step"] < undisturbed.num_steps
    assert changed["exact"]
    assert changed["largest_difference"] < 0.01


def test_a_whole_job_that_was_killed_goes_on_under_its_name_to_the_same_bits(settings, dataset, undisturbed):
    job = kill_whole_job(settings, dataset, undisturbed)
    assert (job["exact"], job["bit_equal"]) == (True, True)


def test_the_workers_of_others_are_left_alone(tmp_path):
    """A process with a worker's name is found below the one that started it, and below no other."""
    program = shutil.copy(sys.executable, tmp_path / "RayTrainWorker")
    with subprocess.Popen([program, "-c", "import time; time.sleep(60)"], env={"PYTHONHOME": sys.base_prefix}) as one:
        time.sleep(0.2)
        assert one.pid in worker_processes(os.getpid())
        assert worker_processes(one.pid) == [one.pid]
        with subprocess.Popen(["sleep", "60"]) as other:
            assert worker_processes(other.pid) == []
            other.kill()
        one.kill()
