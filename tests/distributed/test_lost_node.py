"""A real job on a cluster of two nodes, one of which is taken away: it waits, says so, and loses no task.

The cluster's nodes are processes of this machine. The workers stand on different nodes because a node has CPUs for one.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from jobs.benchmarks.recovery import SETTINGS, Disturbed
from metarec.config import load_config
from metarec.data.dataset import open_dataset
from metarec.train.journal import read_journal
from tests.jobs.command_line import CHECKOUT, last_line, until

pytestmark = pytest.mark.slow

ONE_A_NODE = ("train.cpus_per_worker=0.6", "train.max_failures=3")
SECONDS_FOR_A_JOB = 240


@pytest.fixture
def cluster():
    """Two nodes of one CPU each, of which the first is the one that the job talks to."""
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    yield nodes
    nodes.shutdown()


class Job:
    """`python -m jobs.train` on a cluster, of which the lines are read while it runs."""

    def __init__(self, cluster, root, name, *settings):
        self.settings = [*SETTINGS, *ONE_A_NODE, f"output.root={root}", f"run.name={name}", *settings]
        self.said = []
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "jobs.train", "--set", *self.settings],
            cwd=CHECKOUT,
            env={**os.environ, "RAY_ADDRESS": cluster.address},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.stdout.close()
        self.process.wait(30)

    def until(self, words):
        """Read on until a line holds some words; it must come."""
        self.said += until(self.process, words)
        return self.said[-1]

    def finish(self):
        """Read to the end; the exit code."""
        self.said += self.process.stdout
        return self.process.wait(SECONDS_FOR_A_JOB)

    def result(self):
        """What the run left."""
        config = load_config(None, self.settings)
        uri = next(Path(config.output.uri, "datasets").iterdir())
        return Disturbed(config, open_dataset(str(uri)), config.run.name)


def test_a_job_waits_for_another_node_says_so_and_ends_at_the_same_bits(cluster, tmp_path):
    with Job(cluster, tmp_path, "undisturbed") as undisturbed:
        assert undisturbed.finish() == 0, "".join(undisturbed.said)
    with Job(cluster, tmp_path, "robbed") as job:
        job.until("epoch 3/")
        (second,) = cluster.worker_nodes
        cluster.remove_node(second, allow_graceful=False)
        lost, run = time.time(), job.result()
        reached = max(line.step for line in read_journal(run.folder.journal))
        warning = job.until("a node is lost")
        assert "2 x 0.6 CPUs + 2 x 0.25 for Ray Data = 1.7 CPUs, but the cluster has 1 left; waiting" in warning
        cluster.add_node(num_cpus=1)
        job.until("the cluster has 2 CPUs again")
        assert job.finish() == 0, "".join(job.said)
        assert any("0 dropped or repeated" in line for line in job.said)
    went_on = next(line.step for line in read_journal(run.folder.journal) if line.time > lost)
    assert max(reached + 1 - went_on, 0) <= run.num_steps // run.config.outer.epochs
    assert run.is_exact()
    assert run.last_checkpoint() == undisturbed.result().last_checkpoint()


def test_a_job_that_waited_in_vain_ends_with_the_reason(cluster, tmp_path):
    with Job(cluster, tmp_path, "left", "train.max_wait_minutes=0.2") as job:
        job.until("epoch 2/")
        (second,) = cluster.worker_nodes
        cluster.remove_node(second, allow_graceful=False)
        lost = time.monotonic()
        assert job.finish() == 1
    assert time.monotonic() - lost < 120
    assert last_line("".join(job.said)).startswith(
        "error: run 'left' found no room for its workers in the 0.2 minutes of train.max_wait_minutes: "
        "train.num_workers = 2 x 0.6 CPUs + 2 x 0.25 for Ray Data = 1.7 CPUs"
    )
