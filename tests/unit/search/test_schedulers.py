"""ASHA in a later start compares new trials with those of an earlier one."""

import json
from types import SimpleNamespace

import pytest
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from metarec.config import load_config
from metarec.data.dataset import Dataset
from metarec.search.reports import EPOCH
from metarec.search.search import Search, _scheduler
from metarec.search.space import Space
from metarec.search.trials import METRIC, Result, Trial, trial_folder
from metarec.train.run import RunFolder
from tests.worlds import make_schema

SPACE = Space("mine", {"outer.lr": tune.uniform(0.1, 1.0)}, "mae", "min", 4)


TWELVE_TASKS = {"splits": {"train": [{"file": "part-00000.parquet", "num_tasks": 12, "sha256": ""}]}}


def search_of(tmp_path, *settings):
    config = load_config(
        None, ["run.name=s", f"output.root={tmp_path}", "outer.epochs=9", "train.meta_batch=12", *settings]
    )
    return Search(config, SPACE, Dataset("nowhere", TWELVE_TASKS, make_schema()), RunFolder("nowhere"), 4)


def ask(scheduler, name, epoch, metric):
    trial = SimpleNamespace(trial_id=name)
    scheduler.on_trial_add(None, trial)
    return scheduler.on_trial_result(None, trial, {EPOCH: epoch, METRIC: metric})


def test_a_trial_worse_than_two_thirds_of_those_of_an_earlier_start_is_stopped(tmp_path):
    """One step an epoch; at epoch 3 the earlier ones had 0.5, 0.6 and 0.7, the best third of which is below 0.57."""
    search = search_of(tmp_path)
    known = []
    for number, metric in enumerate([0.5, 0.6, 0.7]):
        journal = tmp_path / f"runs/s.{number:03d}/metrics.jsonl"
        journal.parent.mkdir(parents=True)
        assert str(journal) == trial_folder(search.config, number).journal
        journal.write_text(
            "".join(json.dumps({"step": s, "time": 0.0, "metrics": {METRIC: metric}}) + "\n" for s in range(4))
        )
        known.append(Trial(number, {}, Result("finished", metric, 4, 1.0)))
    scheduler = _scheduler(search, known)
    assert ask(scheduler, "good", 3, 0.45) == TrialScheduler.CONTINUE
    assert ask(scheduler, "bad", 3, 0.65) == TrialScheduler.STOP
    assert ask(_scheduler(search, []), "bad", 3, 0.65) == TrialScheduler.CONTINUE


def test_before_the_grace_epochs_nobody_is_stopped(tmp_path):
    scheduler = _scheduler(search_of(tmp_path), [])
    assert [ask(scheduler, name, 2, metric) for name, metric in (("a", 0.1), ("b", 9.0))] == ["CONTINUE"] * 2
    assert [ask(scheduler, name, 3, metric) for name, metric in (("c", 0.1), ("d", 9.0))] == ["CONTINUE", "STOP"]


@pytest.mark.parametrize("grace", [1, 20])
def test_grace_may_be_longer_than_the_run(tmp_path, grace):
    assert _scheduler(search_of(tmp_path, f"search.grace_epochs={grace}"), []) is not None


def test_without_early_stopping_all_run_to_their_end(tmp_path):
    assert type(_scheduler(search_of(tmp_path, "search.early_stopping=false"), [])) is FIFOScheduler
