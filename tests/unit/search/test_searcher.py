"""What Tune's searcher hands out, in a first start and in a later one, and what it puts on record."""

import json
import pickle
import threading

import pytest
from ray.tune.search import Searcher

from metarec.config import load_config
from metarec.errors import ClusterError, ConfigError
from metarec.search.searcher import RecordedSearch
from metarec.search.trials import Result, Trials, trial_folder


class Counting:
    """Proposes the trial's number as `outer.epochs`, and remembers what it learns."""

    def __init__(self):
        self.learned = {}

    def propose(self, number):
        return {"outer.epochs": number + 1}

    def learn(self, number, metric):
        self.learned[number] = metric


@pytest.fixture
def config(tmp_path):
    return load_config(None, ["run.name=s", f"output.root={tmp_path}", "train.max_failures=2"])


def refuse(values):
    """Twos make no valid config."""
    if values["outer.epochs"] == 2:
        raise ConfigError("no twos")


def searcher_of(config, proposals, num_trials=3, stop=None, check=lambda values: None):
    trials = Trials(f"{config.output.root}/runs/s/trials")
    return trials, RecordedSearch(
        config,
        trials,
        proposals=proposals,
        check=check,
        num_trials=num_trials,
        stop=stop or threading.Event(),
    )


def write_journal(config, number, metrics):
    folder = trial_folder(config, number)
    lines = [
        json.dumps(
            {
                "step": step,
                "time": 0.0,
                "metrics": {"validation.metric": metric, "train.seconds": 1.0, "train.epochs": step + 1},
            }
        )
        + "\n"
        for step, metric in enumerate(metrics)
    ]
    with open(folder.journal, "w") as file:
        file.writelines(lines)


def test_a_trial_is_on_record_before_tune_knows_of_it(config):
    trials, searcher = searcher_of(config, Counting())
    assert searcher.suggest("a") == {"values": {"outer.epochs": 1}}
    assert [(trial.number, trial.values, trial.result) for trial in trials.all()] == [(0, {"outer.epochs": 1}, None)]
    assert trials.number_of("a") == 0
    assert trial_folder(config, 0).read_state()["config"]["outer"]["epochs"] == 1


def test_a_trial_that_makes_no_valid_config_has_failed_and_the_next_one_follows(config):
    proposals = Counting()
    trials, searcher = searcher_of(config, proposals, check=refuse)
    assert [searcher.suggest(name) for name in "abc"] == [
        {"values": {"outer.epochs": 1}},
        {"values": {"outer.epochs": 3}},
        Searcher.FINISHED,
    ]
    assert trials.read(1).result == Result("failed", None, 0, 0.0, "no twos")
    assert proposals.learned == {1: None}
    assert not trial_folder(config, 1).read_state()


def test_after_the_last_trial_there_is_nothing_more(config):
    _, searcher = searcher_of(config, Counting(), num_trials=2)
    assert [searcher.suggest(name) == Searcher.FINISHED for name in "abc"] == [False, False, True]


def test_a_later_start_hands_out_what_was_left_unfinished_and_then_what_is_new(config):
    trials, searcher = searcher_of(config, Counting(), num_trials=4)
    for name in "abc":
        searcher.suggest(name)
    trials.end(1, Result("finished", 0.5, 3, 1.0))
    _, later = searcher_of(config, Counting(), num_trials=4)
    assert later.num_due == 3
    handed = [later.suggest(name)["values"]["outer.epochs"] for name in "xyz"]
    assert handed == [1, 3, 4]
    assert later.suggest("w") == Searcher.FINISHED
    assert [trials.number_of(name) for name in "xyz"] == [0, 2, 3]


def test_a_trial_that_said_how_it_ended_is_believed(config):
    proposals = Counting()
    trials, searcher = searcher_of(config, proposals)
    searcher.suggest("a")
    trials.end(0, Result("finished", 0.5, 3, 1.0))
    searcher.on_trial_complete("a", {"validation.metric": 99.0})
    assert proposals.learned == {0: 0.5}
    assert trials.all()[0].result == Result("finished", 0.5, 3, 1.0)


def test_one_that_said_nothing_was_stopped_early_or_broke_down(config):
    proposals = Counting()
    trials, searcher = searcher_of(config, proposals)
    for number, name in enumerate("ab"):
        searcher.suggest(name)
        write_journal(config, number, [0.9, 0.8])
    searcher.on_trial_complete("a")
    searcher.on_trial_complete("b", error=True)
    assert [trial.result for trial in trials.all()] == [
        Result("stopped early", 0.8, 2, 2.0),
        Result("failed", 0.8, 2, 2.0, "its process broke down 3 times"),
    ]
    assert proposals.learned == {0: 0.8, 1: None}


def test_when_the_search_was_asked_to_stop_a_trial_has_not_ended_and_none_follows(config):
    stop = threading.Event()
    trials, searcher = searcher_of(config, Counting(), stop=stop)
    searcher.suggest("a")
    stop.set()
    searcher.on_trial_complete("a")
    assert trials.all()[0].result is None
    assert searcher.suggest("b") == Searcher.FINISHED


def test_after_an_error_that_is_not_the_trial_s_own_nothing_has_ended_and_none_follows(config):
    trials, searcher = searcher_of(config, Counting())
    for name in "ab":
        searcher.suggest(name)
    searcher.on_trial_result("a", {"validation.metric": 0.5})
    assert searcher.fault is None
    for sentence in ("node n3 is lost", "another one"):
        searcher.on_trial_result("a", {"fault": "ClusterError", "sentence": sentence})
    searcher.on_trial_complete("a", {})
    searcher.on_trial_complete("b", error=True)
    assert (type(searcher.fault), str(searcher.fault)) == (ClusterError, "node n3 is lost")
    assert [trial.result for trial in trials.all()] == [None, None]
    assert searcher.suggest("c") == Searcher.FINISHED


def test_tune_may_pickle_it_and_learns_nothing(config):
    _, searcher = searcher_of(config, Counting())
    assert pickle.loads(pickle.dumps(searcher)).__dict__ == {}
