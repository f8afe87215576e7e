"""Everything that a job keeps, on a server that speaks S3: prepared, trained, stopped and gone on from there."""

import importlib.util
import shlex
import signal
import socket
import subprocess
import sys
import time

import pytest
from pyarrow import fs

from metarec import storage
from metarec.errors import StorageError
from tests.jobs.command_line import SMALL, rest_of, run_job, start_job, until
from tests.ports import free_port

pytestmark = pytest.mark.slow
BUCKET = "lake"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """An output root in a bucket of a server of its own."""
    if importlib.util.find_spec("moto") is None:
        pytest.skip("needs moto's server: pip install -e '.[test]'")
    port = free_port()
    patch = pytest.MonkeyPatch()
    for name, value in (("ACCESS_KEY_ID", "any"), ("SECRET_ACCESS_KEY", "any"), ("EC2_METADATA_DISABLED", "true")):
        patch.setenv(f"AWS_{name}", value)
    log = (tmp_path_factory.mktemp("moto") / "log").open("w")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        wait_for(port)
        fs.S3FileSystem(
            endpoint_override=f"127.0.0.1:{port}", scheme="http", region="us-east-1", allow_bucket_creation=True
        ).create_dir(BUCKET)
        yield f"s3://{BUCKET}/metarec?endpoint_override=http://127.0.0.1:{port}&region=us-east-1"
        server.terminate()
    patch.undo()


def wait_for(port):
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("moto's server did not start")


def test_files_folders_and_bundles_are_as_on_a_disk(root):
    place = storage.join(root, "kept")
    assert storage.list_names(place) == []
    storage.write_bundle(storage.join(place, "one"), "checkpoint", {"weights": b"content", "empty": b""}, step=1)
    assert storage.list_names(place) == ["one"]
    assert storage.read_bundle(storage.join(place, "one"), "checkpoint")[1] == {"weights": b"content", "empty": b""}
    storage.check_writable(place)
    assert storage.list_names(place) == ["one"]
    storage.delete(place)
    assert not storage.exists(storage.join(place, "one", "weights"))
    with pytest.raises(StorageError, match=r"cannot read s3://lake/metarec/kept/one/weights"):
        storage.read_bytes(storage.join(place, "one", "weights"))


def test_a_bucket_that_is_not_there_is_named(root):
    with pytest.raises(StorageError, match=r"cannot write s3://none/.*; free space or choose another output\.root"):
        storage.check_writable(root.replace(BUCKET, "none"))


def test_a_job_with_its_root_on_s3_is_stopped_goes_on_and_is_evaluated(root, tmp_path):
    settings = ["run.name=far", f"output.root={root}", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db", *SMALL]
    long = ["--set", *settings, "train.num_workers=2", "outer.epochs=40"]
    process = start_job("train", *long, root=tmp_path)
    until(process, "epoch 2/")
    process.send_signal(signal.SIGTERM)
    said = rest_of(process, timeout=240)
    assert process.returncode == 130, said
    resumed = run_job("train", *long, root=tmp_path)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "going on from the checkpoint of step" in resumed.stdout
    assert "0 dropped or repeated" in resumed.stdout
    assert "report.json" in storage.list_names(storage.join(root, "runs", "far"))
    evaluate = shlex.split(resumed.stdout.splitlines()[-1])[2:]
    evaluated = run_job("evaluate", *evaluate[1:], root=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr


def test_the_command_that_a_search_prints_trains_with_its_best_config(root, tmp_path):
    settings = ["run.name=sought", f"output.root={root}", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db", *SMALL]
    arguments = ("--space", "rates", "--trials", "2", "--set", *settings, "train.num_workers=0")
    sought = run_job("tune", *arguments, root=tmp_path, timeout=400)
    assert sought.returncode == 0, sought.stdout + sought.stderr
    (command,) = [line for line in sought.stdout.splitlines() if " jobs.train " in line]
    assert storage.read_bytes(storage.join(root, "runs/sought/best.toml")).decode().startswith(f"# {command.strip()}\n")
    _, _, module, *rest = shlex.split(command)
    trained = run_job(module.removeprefix("jobs."), *rest, "--set", "run.name=found", root=tmp_path)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert "report.json" in storage.list_names(storage.join(root, "runs", "found"))
