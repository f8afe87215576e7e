"""`cluster/local.two-nodes.sh`: every job, submitted to two nodes on this machine, one after the other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from metarec.tracking.provenance import commit_of
from tests.jobs.command_line import CHECKOUT, SMALL
from tests.ports import free_port

pytestmark = pytest.mark.slow


@pytest.mark.timeout(900)
def test_every_job_runs_on_two_nodes_one_after_the_other(tmp_path):
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "HOME": str(tmp_path),
        "METAREC_HOME": str(tmp_path / "metarec"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "GCS_PORT": str(free_port()),
        "DASHBOARD_PORT": str(free_port()),
        "AGENT_PORT": str(free_port(following=1)),
    }
    done = subprocess.run(
        [str(CHECKOUT / "cluster" / "local.two-nodes.sh"), *SMALL],
        env=environment,
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "── the workers ran on 2 nodes" in done.stdout
    verbs = [line.split("jobs.")[1].split()[0] for line in done.stdout.splitlines() if line.startswith("── python -m")]
    assert verbs == ["prepare", "train", "tune", "evaluate", "promote", "recommend"]
    assert done.stdout.splitlines()[-1] == "── all jobs done"
    client = MlflowClient(f"sqlite:///{tmp_path}/metarec/mlflow.db")
    (run,) = client.search_runs([each.experiment_id for each in client.search_experiments()], "run_name = 'two-nodes'")
    assert run.data.tags.get("git.commit") == commit_of(Path(__file__))
