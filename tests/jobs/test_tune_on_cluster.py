"""A search on a cluster that others use too: refused where they leave no room, shown on the dashboard, and stopped."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.jobs.command_line import SMALL, last_line, run_job, start_job
from tests.ports import free_port

pytestmark = pytest.mark.slow
RAY = str(Path(sys.executable).parent / "ray")
HOLD = """
import ray, sys
ray.init(address=sys.argv[1], log_to_driver=False)
@ray.remote(num_cpus=1.5)
class Other:
    def ready(self):
        return True
other = Other.remote()
print(ray.get(other.ready.remote()), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory):
    """A head node of two CPUs that `RAY_ADDRESS` names; gives the address of its dashboard."""
    home, port, gcs = tmp_path_factory.mktemp("h"), free_port(), free_port()
    command = [RAY, "start", "--head", "--block", f"--port={gcs}", f"--dashboard-port={port}", "--num-cpus=2"]
    command += [f"--dashboard-agent-listen-port={free_port()}", f"--metrics-export-port={free_port()}"]
    command += [f"--temp-dir={home}/r", "--disable-usage-stats"]
    patch = pytest.MonkeyPatch()
    with open(home / "head.log", "w") as log:
        head = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    wait_until_it_answers(address, head)
    patch.setenv("RAY_ADDRESS", f"127.0.0.1:{gcs}")
    yield address
    patch.undo()
    head.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        head.wait(15)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(head.pid, signal.SIGKILL)
    head.wait(15)


def wait_until_it_answers(address, head):
    for _ in range(240):
        assert head.poll() is None, "ray start ended"
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"{address}/api/version", timeout=2).close()
        time.sleep(0.5)
    return pytest.fail("the dashboard did not answer within two minutes")


@pytest.mark.parametrize("workers", [0, 1])
def test_what_other_jobs_hold_is_refused_with_the_sum_and_nothing_is_left_behind(dashboard, tmp_path, workers):
    command = [sys.executable, "-c", HOLD, os.environ["RAY_ADDRESS"]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "True\n"
        refused = run_job(
            "tune", "--space", "rates", "--set", *SMALL, f"train.num_workers={workers}", root=tmp_path, timeout=120
        )
        other.stdin.close()
        other.stdout.close()
        other.wait(60)
    assert refused.returncode == 1
    needed = (
        "0.75 for the trial + 0.25 for Ray Data = 1"
        if workers == 0
        else ("0.1 for the trial + 1 x 1 for workers + 1 x 0.25 for Ray Data = 1.35")
    )
    assert last_line(refused.stderr) == (
        f"error: a trial needs {needed} CPUs, but other jobs hold 1.5 of the cluster's 2 CPUs and leave 0.5; wait for "
        "them, lower train.num_workers or train.cpus_per_worker, or add nodes"
    )
    assert not list(tmp_path.iterdir())


def test_the_train_run_of_each_trial_is_on_the_dashboard(dashboard, tmp_path):
    done = run_job(
        "tune", "--space", "rates", "--trials", "2", "--set", "run.name=shown", *SMALL, "train.num_workers=1",
        root=tmp_path, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith(f"{dashboard}  (Ray: jobs, and the Train run of each trial)")
    with urllib.request.urlopen(f"{dashboard}/api/train/v2/runs/v1", timeout=20) as answer:
        runs = json.load(answer)["train_runs"]
    assert sorted(run["name"] for run in runs) == ["shown.000", "shown.001"]


def test_a_search_that_is_stopped_while_the_winner_is_judged_says_how_to_go_on(dashboard, tmp_path):
    arguments = ("--space", "rates", "--trials", "2", "--set", "run.name=judged", *SMALL, "train.num_workers=0")
    job, said = start_job("tune", *arguments, root=tmp_path), []
    for line in job.stdout:
        said.append(line)
        if "it alone meets the test users" in line:
            job.send_signal(signal.SIGTERM)
    job.stdout.close()
    assert job.wait(120) == 130, "".join(said)
    assert last_line("".join(said)) == (
        "stopped: search judged: all trials have ended and are kept: go on with --set run.name=judged"
    )
    again = run_job("tune", *arguments, root=tmp_path, timeout=300)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "going on: 2 of 2 trials have ended" in again.stdout
