"""The runs of a search in MLflow and in its folders: each keeps how it really ended, whatever comes after."""

import argparse

import pytest
from ray import tune

from jobs import sync
from jobs.tune_tracking import SearchTracking
from metarec.config import load_config
from metarec.data.dataset import Dataset
from metarec.errors import TrackingError
from metarec.search.search import Search
from metarec.search.space import Space
from metarec.search.trials import Result, trial_config, trial_folder
from metarec.tracking import open_store
from metarec.train.journal import Journal
from metarec.train.run import keeping_status, locked, open_run
from tests.tiny_learner import tiny_learner

ENDINGS = ("finished", "failed", "stopped early", None)
STATUSES = {"a.000": "FINISHED", "a.001": "FAILED", "a.002": "KILLED", "a.003": "KILLED"}
MANIFEST = {"name": "synthetic", "fingerprint": "ab" * 32, "counts": {}, "source": "synthetic"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A store for all tests: a fresh one costs seconds of migrations."""
    home = tmp_path_factory.mktemp("store")
    return open_store(load_config(overrides=[f'output.root="{home}"']))


@pytest.fixture
def config(shared, tmp_path):
    return load_config(
        overrides=[f'output.root="{tmp_path}"', "run.name=a", f'tracking.uri="{shared.uri}"', "train.num_workers=0"]
    )


@pytest.fixture
def search(config):
    space = Space("rates", {"outer.lr": tune.loguniform(1e-4, 1e-1)}, "mae", "min", len(ENDINGS))
    dataset = Dataset("nowhere", MANIFEST, tiny_learner().schema)
    return Search(config, space, dataset, open_run(config), len(ENDINGS))


def begin(search, number):
    """A trial that was suggested and has trained for an epoch."""
    values = {"outer.lr": 0.01 * (number + 1)}
    folder = open_run(trial_config(search.config, number, values))
    search.trials.suggest(number, values, f"tune-{number}")
    journal = Journal(folder.journal)
    journal.write(0, {"train.loss": 1.0})
    journal.flush()


def end(search, number, ending):
    search.trials.end(number, Result(ending, 0.7, 1, 1.0))


def kept(search):
    """What the folders say."""
    return [trial_folder(search.config, number).read_state()["status"] for number in range(len(ENDINGS))]


def look_and_stop(search, store):
    with keeping_status(search.folder), SearchTracking(search, store) as tracking:
        tracking(last=True)
        raise KeyboardInterrupt


def in_mlflow(search, store):
    """Name → status of the runs of this search's trials."""
    runs = {number: trial_folder(search.config, number).read_state() for number in range(len(ENDINGS))}
    infos = [store.client.get_run(state["mlflow_run_id"]).info for state in runs.values()]
    return {info.run_name: info.status for info in infos}


def run_sync(search):
    sync.run(search.config, argparse.Namespace(run=None))


def test_trials_and_search_keep_how_they_ended_and_sync_changes_nothing_of_it(search, shared, capsys):
    for number, ending in enumerate(ENDINGS):
        begin(search, number)
        if ending is not None:
            end(search, number, ending)
    with pytest.raises(KeyboardInterrupt):
        look_and_stop(search, shared)
    assert kept(search) == ["finished", "failed", "killed", "killed"]
    assert search.folder.read_state()["status"] == "killed"
    assert in_mlflow(search, shared) == STATUSES
    capsys.readouterr()
    run_sync(search)
    assert capsys.readouterr().out.splitlines() == [
        "a: 0 lines sent, 0 left; KILLED",
        *(f"{name}: 0 lines sent, 0 left; {status}" for name, status in STATUSES.items()),
    ]
    assert in_mlflow(search, shared) == STATUSES


def test_a_search_that_was_killed_is_sent_with_what_its_records_say(search, shared, capsys):
    for number in range(len(ENDINGS)):
        begin(search, number)
    SearchTracking(search, shared).__enter__()(last=True)  # and then a SIGKILL
    assert set(in_mlflow(search, shared).values()) == {"RUNNING"}
    for number, ending in enumerate(ENDINGS):
        if ending is not None:
            end(search, number, ending)
    run_sync(search)
    assert in_mlflow(search, shared) == STATUSES
    assert capsys.readouterr().out.splitlines()[-1] == "a.003: 0 lines sent, 0 left; KILLED"


def test_trials_of_a_search_that_goes_on_are_left_alone(search, shared, capsys):
    for number in range(len(ENDINGS)):
        begin(search, number)
    with locked(search.folder):
        SearchTracking(search, shared).__enter__()(last=True)
        capsys.readouterr()
        run_sync(search)
    assert capsys.readouterr().out.splitlines() == [
        f"{name}: is being worked on, and sends by itself" for name in ("a", *STATUSES)
    ]
    assert set(in_mlflow(search, shared).values()) == {"RUNNING"}


def test_a_search_that_goes_on_leaves_trials_that_ended_as_they_are_and_reopens_the_others(search, shared):
    for number, ending in enumerate(ENDINGS):
        begin(search, number)
        if ending is not None:
            end(search, number, ending)
    with SearchTracking(search, shared) as tracking:
        tracking(last=True)
    ids = [trial_folder(search.config, number).read_state()["mlflow_run_id"] for number in range(len(ENDINGS))]
    ended = [shared.client.get_run(run_id).info.end_time for run_id in ids]
    with SearchTracking(search, shared) as tracking:
        tracking(last=True)
        assert in_mlflow(search, shared) == {**STATUSES, "a.003": "RUNNING"}
        assert kept(search) == ["finished", "failed", "killed", "running"]
        end(search, 3, "finished")
        tracking(last=True)
    assert in_mlflow(search, shared) == {**STATUSES, "a.003": "FINISHED"}
    assert [shared.client.get_run(run_id).info.end_time for run_id in ids[:3]] == ended[:3]


def test_a_winner_that_was_stopped_early_is_still_that_after_it_was_judged(search, shared):
    begin(search, 0)
    end(search, 0, "stopped early")
    with SearchTracking(search, shared) as tracking:
        tracking(last=True)
        with tracking.reopened(search.trials.read(0)) as run:
            assert shared.client.get_run(run.run_id).info.status == "RUNNING"
        assert shared.client.get_run(run.run_id).info.status == "KILLED"
        with pytest.raises(ValueError, match="judge"), tracking.reopened(search.trials.read(0)) as run:
            raise ValueError("judge")
        assert shared.client.get_run(run.run_id).info.status == "KILLED"


def test_a_trial_whose_end_the_server_did_not_take_keeps_it_all_the_same(search, shared, monkeypatch, capsys):
    begin(search, 0)
    with SearchTracking(search, shared) as tracking:
        tracking(last=True)
        end(search, 0, "failed")
        with monkeypatch.context() as away:
            away.setattr(type(shared.client), "log_batch", refuse)
            tracking(last=True)
        assert "the search goes on" in capsys.readouterr().out
    assert trial_folder(search.config, 0).read_state()["status"] == "failed"
    assert shared.client.get_run(trial_folder(search.config, 0).read_state()["mlflow_run_id"]).info.status == "FAILED"


def refuse(*arguments, **named):
    raise TrackingError("the server is away")
