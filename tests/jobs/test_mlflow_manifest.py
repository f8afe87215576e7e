"""The MLflow server of cluster/, started with the manifest's own command: it asks for a login."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from tests.jobs.command_line import CHECKOUT
from tests.ports import free_port

pytestmark = pytest.mark.slow
PASSWORD = "for-this-test-alone"


def container():
    """The only container of the Deployment."""
    manifests = yaml.safe_load_all((CHECKOUT / "cluster" / "mlflow.kubernetes.yaml").read_text())
    (deployment,) = (m for m in manifests if m["kind"] == "Deployment")
    (only,) = deployment["spec"]["template"]["spec"]["containers"]
    return only


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The server with its volume in a temporary folder, on a free port; gives its address."""
    volume = tmp_path_factory.mktemp("mlflow")
    port = free_port()
    spec = container()
    here = {"/mlflow/": f"{volume}/", "0.0.0.0": "127.0.0.1", "--port=5000": f"--port={port}", ":5000": f":{port}"}
    arguments = spec["args"]
    for there, local in here.items():
        arguments = [argument.replace(there, local) for argument in arguments]
    command = [str(Path(sys.executable).parent / spec["command"][0]), *spec["command"][1:], *arguments]
    secrets = {e["name"]: PASSWORD if "valueFrom" in e else e["value"] for e in spec["env"]}
    with open(volume / "server.log", "w") as log:
        process = subprocess.Popen(command, env={**os.environ, **secrets}, cwd=volume, stdout=log, stderr=log)
    address = f"http://localhost:{port}"
    for _ in range(120):
        assert process.poll() is None, (volume / "server.log").read_text()
        try:
            urllib.request.urlopen(f"{address}/health", timeout=2).close()
            break
        except OSError:
            time.sleep(0.5)
    yield address
    process.terminate()
    process.wait(20)


def test_without_a_login_nobody_gets_in(server):
    request = urllib.request.Request(f"{server}/api/2.0/mlflow/experiments/search?max_results=1")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    refused.value.close()
    assert refused.value.code == 401


def test_with_the_login_of_the_secret_a_run_is_kept(server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    client = MlflowClient(server)
    run = client.create_run(client.create_experiment("metarec"))
    client.log_metric(run.info.run_id, "mae", 0.7)
    assert client.get_run(run.info.run_id).data.metrics == {"mae": 0.7}
