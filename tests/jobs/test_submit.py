"""`ray job submit`, as the README gives it: a cluster of its own, with token authentication."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.jobs.command_line import CHECKOUT, SMALL
from tests.ports import free_port

pytestmark = pytest.mark.slow
RAY = str(Path(sys.executable).parent / "ray")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head node that asks for a token; gives the address of its dashboard and the environment of its owner."""
    home = tmp_path_factory.mktemp("h")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    owner = {**os.environ, "HOME": str(home), "METAREC_HOME": f"{home}/metarec", "RAY_AUTH_MODE": "token", "PATH": path}
    subprocess.run([RAY, "get-auth-token", "--generate"], env=owner, check=True, capture_output=True)
    port = free_port()
    command = [RAY, "start", "--head", "--block", f"--port={free_port()}", f"--dashboard-port={port}"]
    command += [f"--dashboard-agent-listen-port={free_port()}", f"--metrics-export-port={free_port()}"]
    command += ["--num-cpus=2", f"--temp-dir={home}/r", "--disable-usage-stats"]
    with open(home / "head.log", "w") as log:
        head = subprocess.Popen(command, env=owner, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    wait_until_it_answers(address, head)
    yield address, owner
    stop(head)


def stop(head):
    """End the head and, where its own children keep it waiting, all of its process group."""
    head.send_signal(signal.SIGTERM)
    try:
        head.wait(15)
    except subprocess.TimeoutExpired:
        os.killpg(head.pid, signal.SIGKILL)
        head.wait(15)


def wait_until_it_answers(address, head):
    for _ in range(120):
        assert head.poll() is None, "ray start ended"
        try:
            urllib.request.urlopen(f"{address}/api/version", timeout=2).close()
        except urllib.error.HTTPError as refusal:
            return refusal.close()  # it answers, and asks for the token
        except OSError:
            time.sleep(0.5)
        else:
            return None
    return pytest.fail("the dashboard did not answer within a minute")


def submit(cluster, *arguments):
    address, owner = cluster
    command = [RAY, "job", "submit", "--address", address, "--working-dir", ".", "--", "python", "-m", "jobs.train"]
    return subprocess.run(
        [*command, *arguments], env=owner, cwd=CHECKOUT, capture_output=True, text=True, timeout=300, check=False
    )


def test_a_submitted_training_streams_its_log_and_exits_zero(cluster):
    done = submit(cluster, "--set", "run.name=submitted", *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"epoch 2/2 .* validation mae", done.stdout)
    assert "next steps:" in done.stdout


def test_the_same_submission_again_prints_the_result(cluster):
    done = submit(cluster, "--set", "run.name=submitted", *SMALL)
    assert done.returncode == 0
    assert "run submitted is finished" in done.stdout


def test_a_submitted_job_that_fails_exits_one_with_the_reason(cluster):
    failed = submit(cluster, "--set", *SMALL, "inner.lr=-1")
    assert failed.returncode == 1
    assert "error: inner.lr is -1.0; use a number above 0" in failed.stdout


def test_without_the_token_nobody_gets_in(cluster):
    address, _ = cluster
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{address}/api/jobs/", timeout=5)
    refused.value.close()
    assert refused.value.code == 401
