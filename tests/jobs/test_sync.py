"""`python -m jobs.sync`: what a run has kept gets to the store, and how it ended."""

import argparse
import json

import pytest

from jobs import sync
from metarec import storage
from metarec.config import config_to_dict, load_config
from metarec.errors import ConfigError, TrackingError
from metarec.tracking import open_store, start_run
from metarec.train.journal import Journal
from metarec.train.run import RunFolder, keeping_status, locked, open_run


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def store(home):
    return open_store(config_of("any", home))


def config_of(name, home):
    return load_config(overrides=[f'output.root="{home}"', f'run.name="{name}"'])


def kept_run(name, home, store, *, num_steps=3, status="running"):
    """A run that was tracked and has steps in its journal which nobody has sent."""
    folder = open_run(config_of(name, home))
    tracked = start_run(store, name, config_of(name, home))
    folder.update_state(mlflow_run_id=tracked.run_id, status=status)
    journal = Journal(folder.journal)
    for step in range(num_steps):
        journal.write(step, {"train.loss": step / 2})
    journal.flush()
    return folder, tracked.run_id


def run_sync(home, name=None):
    sync.run(config_of("any", home), argparse.Namespace(run=name))


def test_several_runs_are_sent_each_with_how_it_ended(home, store, capsys):
    found = {status: kept_run(status, home, store, status=status)[1] for status in ("running", "failed", "finished")}
    RunFolder(f"{home}/runs/untracked").update_state(config=config_to_dict(load_config()), status="new")
    run_sync(home)
    assert capsys.readouterr().out.splitlines() == [
        "failed: 3 lines sent, 0 left; FAILED",
        "finished: 3 lines sent, 0 left; FINISHED",
        "running: 3 lines sent, 0 left; KILLED",
        "untracked: has never been tracked",
    ]
    for run_id in found.values():
        history = store.client.get_metric_history(run_id, "train.loss")
        assert sorted((each.step, each.value) for each in history) == [(0, 0.0), (1, 0.5), (2, 1.0)]
    run_sync(home, "failed")
    assert capsys.readouterr().out == "failed: 0 lines sent, 0 left; FAILED\n"


@pytest.mark.parametrize("status", ["new", "running", None])
def test_a_run_that_does_not_know_how_it_ended_was_killed_unless_mlflow_knows_better(home, store, capsys, status):
    folder, run_id = kept_run(f"unsure-{status}", home, store, status=status)
    if status is None:
        storage.write_bytes(folder.state, json.dumps({"mlflow_run_id": run_id}).encode())
    run_sync(home, f"unsure-{status}")
    assert store.client.get_run(run_id).info.status == "KILLED"
    store.client.set_terminated(run_id, "FINISHED")
    run_sync(home, f"unsure-{status}")
    assert store.client.get_run(run_id).info.status == "FINISHED"
    assert [line.partition(": ")[2] for line in capsys.readouterr().out.splitlines()] == [
        "3 lines sent, 0 left; KILLED",
        "0 lines sent, 0 left; FINISHED",
    ]


def test_a_folder_that_is_no_run_or_is_damaged_does_not_keep_the_others_from_being_sent(store, capsys, tmp_path):
    (tmp_path / "runs/a").mkdir(parents=True)
    (tmp_path / "runs/a/lock").touch()
    damaged, _ = kept_run("b", tmp_path, store)
    storage.write_bytes(damaged.state, b'{"format_')
    _, run_id = kept_run("c", tmp_path, store)
    config = load_config(overrides=[f'output.root="{tmp_path}"', f'tracking.uri="{store.uri}"'])
    with pytest.raises(TrackingError, match=r"^1 of 3 runs could not be sent; .*/runs/b/run\.json is damaged: "):
        sync.run(config, argparse.Namespace(run=None))
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["a", "b", "c"]
    assert (lines[0], lines[2]) == ("a: has never been tracked", "c: 3 lines sent, 0 left; KILLED")
    assert lines[1].startswith("b: not sent: ")
    assert store.client.get_run(run_id).info.status == "KILLED"


def test_a_run_that_is_being_worked_on_is_left_alone(home, store, capsys):
    folder, run_id = kept_run("busy", home, store)
    with locked(folder):
        run_sync(home, "busy")
    assert capsys.readouterr().out == "busy: is being worked on, and sends by itself\n"
    assert store.client.get_run(run_id).info.status == "RUNNING"
    assert store.client.get_metric_history(run_id, "train.loss") == []


def test_a_run_of_another_store_is_named_and_the_others_are_sent(home, store, capsys, tmp_path):
    kept_run("a", tmp_path, store)
    other = open_store(config_of("any", tmp_path))
    kept_run("b", tmp_path, other)
    with pytest.raises(TrackingError, match=r"^1 of 2 runs could not be sent; its MLflow run \w+ is not in sqlite"):
        run_sync(tmp_path)
    assert capsys.readouterr().out.splitlines()[-1] == "b: 3 lines sent, 0 left; KILLED"


def test_an_unknown_run_is_answered_with_those_there_are(home, store, tmp_path):
    kept_run("known", home, store)
    with pytest.raises(ConfigError, match=r"no run 'unknown' in .*; there are .*known"):
        run_sync(home, "unknown")
    with pytest.raises(ConfigError, match=r"there is none yet: python -m jobs\.train makes one"):
        run_sync(tmp_path, "unknown")


@pytest.mark.parametrize(("error", "status"), [(ValueError, "failed"), (KeyboardInterrupt, "killed")])
def test_a_folder_keeps_how_the_work_ended_where_no_server_hears_it(tmp_path, error, status):
    folder = RunFolder(str(tmp_path))
    with pytest.raises(error, match="end"), keeping_status(folder):
        fail(error, folder)
    assert folder.read_state()["status"] == status


def fail(error, folder):
    assert folder.read_state()["status"] == "running"
    raise error("end")
