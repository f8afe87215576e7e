"""A whole training whose MLflow server is killed in the middle and started again before the end, or has lost files."""

import json
import shutil
import time

import pytest
from mlflow import MlflowClient

from metarec.search.trials import Trials
from metarec.train.journal import read_journal
from tests.jobs.command_line import SMALL, last_line, rest_of, run_job, start_job, until
from tests.tracking_server import TrackingServer

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    server = TrackingServer(folder)
    yield server
    server.kill()


def begin(root, server, *settings):
    return start_job("train", "--set", "run.name=outage", f"tracking.uri={server.uri}", *settings, root=root)


def held_and_kept(server, root):
    """For each metric of the journals: what the server holds and what they hold, as steps and values in order."""
    run_id = json.loads((root / "runs/outage/run.json").read_text())["mlflow_run_id"]
    client, kept = MlflowClient(server.uri), {}
    for name in ("metrics", "machine", "results"):
        for line in read_journal(str(root / f"runs/outage/{name}.jsonl")):
            for key, value in line.metrics.items():
                kept.setdefault(key.replace("@", "_at_"), []).append((line.step, value))
    held = {key: sorted((m.step, m.value) for m in client.get_metric_history(run_id, key)) for key in kept}
    return client.get_run(run_id), held, kept


def test_a_server_that_was_gone_for_most_of_a_training_holds_all_of_it(server, tmp_path):
    long = [*SMALL, "outer.epochs=600", "train.checkpoint_every=300", "train.num_workers=0"]
    process = begin(tmp_path, server, *long)
    until(process, "epoch 2/")
    server.kill()
    until(process, "epoch 40/")
    server.start()
    output = rest_of(process, timeout=300)
    assert process.returncode == 0, output
    run, held, kept = held_and_kept(server, tmp_path)
    assert run.info.status == "FINISHED"
    assert held == kept
    assert {"train.loss", "test.mae", "system/cpu_utilization_percentage"} <= held.keys()


def test_a_server_that_stays_away_costs_the_end_of_the_job_alone_and_the_same_command_ends_it(server, tmp_path):
    long = [*SMALL, "outer.epochs=60", "train.checkpoint_every=30", "train.num_workers=0"]
    process = begin(tmp_path, server, *long)
    until(process, "epoch 1/")
    server.kill()
    output = rest_of(process, timeout=300)
    assert process.returncode == 1
    assert "trained on" in output
    assert "training is done and kept: go on with --set run.name=outage" in output.splitlines()[-1]
    server.start()
    synced = run_job("sync", "--set", f"tracking.uri={server.uri}", root=tmp_path)
    assert synced.returncode == 0, synced.stderr
    assert synced.stdout.startswith("outage: ")
    assert synced.stdout.endswith("0 left; FAILED\n")
    run, held, kept = held_and_kept(server, tmp_path)
    assert (run.info.status, held) == ("FAILED", kept)
    again = run_job("train", "--set", "run.name=outage", f"tracking.uri={server.uri}", *long, root=tmp_path)
    assert again.returncode == 0, again.stderr
    run, held, kept = held_and_kept(server, tmp_path)
    assert (run.info.status, held) == ("FINISHED", kept)


def test_a_search_whose_server_stays_away_says_at_its_end_how_to_go_on(server, tmp_path):
    settings = ("run.name=outage", f"tracking.uri={server.uri}", *SMALL, "train.num_workers=0")
    arguments = ("--space", "rates", "--trials", "2", "--set", *settings)
    process = start_job("tune", *arguments, root=tmp_path)
    while not Trials(str(tmp_path / "runs/outage/trials")).all():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    server.kill()
    output = rest_of(process, timeout=300)
    assert process.returncode == 1
    assert output.splitlines()[-1].startswith("error: the MLflow server ")
    assert output.endswith("; all trials have ended and are kept: go on with --set run.name=outage\n")
    server.start()
    again = run_job("tune", *arguments, root=tmp_path, timeout=300)
    assert again.returncode == 0, again.stdout + again.stderr
    runs = MlflowClient(server.uri).search_runs(["1"])
    assert {run.info.run_name: run.info.status for run in runs} == dict.fromkeys(
        ("outage", "outage.000", "outage.001"), "FINISHED"
    )


def test_a_password_of_the_environment_is_kept_and_shown_nowhere(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri.replace("//", "//me:n0t-to-be-seen@"))
    root = tmp_path / "home"
    done = run_job("train", "--set", "run.name=first", *SMALL, "train.num_workers=0", root=root)
    assert done.returncode == 0, done.stderr
    assert f"  {server.uri}/#/experiments/1" in done.stdout.splitlines()
    files = [file for folder in (root, server.folder) for file in folder.rglob("*") if file.is_file()]
    assert root / "runs/first/run.json" in files
    assert not [file for file in files if b"n0t-to-be-seen" in file.read_bytes()]
    assert "n0t-to-be-seen" not in done.stdout + done.stderr


def test_a_model_is_registered_beside_a_champion_whose_files_the_server_has_lost_and_can_take_its_place(
    server, tmp_path
):
    def job(verb, *arguments):
        done = run_job(verb, *arguments, "--set", f"tracking.uri={server.uri}", root=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    small = ("--set", *SMALL, "train.num_workers=0")
    job("train", *small)
    job("promote", "--force")
    for folder in (server.folder / "files").rglob("bundle"):
        shutil.rmtree(folder)
    said = job("train", *small, "run.seed=1")
    assert "models:/metarec-synthetic@candidate is version 2" in said
    assert "not promoted: models:/metarec-synthetic/1, the champion, cannot be read (model models:/" in said
    assert last_line(job("promote", "--force")).startswith("promoted by force: models:/metarec-synthetic@champion")
