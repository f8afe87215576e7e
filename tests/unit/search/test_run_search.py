"""A search on a real Tune: what ends a trial, what ends the search, and what a later start finds."""

import threading

import pytest
from ray import tune

from metarec.config import load_config
from metarec.data.prepare import prepare
from metarec.errors import StorageError
from metarec.search.search import Search, _in_one_sentence, run_search
from metarec.search.space import Space
from metarec.search.trials import trial_config
from metarec.train.launch import launch
from metarec.train.run import open_run
from tests.jobs.command_line import SMALL

RATES = {"inner.lr": tune.loguniform(0.1, 1.0), "outer.lr": tune.loguniform(0.001, 0.01)}
LIVE = {"outer.lr": tune.loguniform(0.001, 0.01), "outer.clip": tune.loguniform(0.5, 20.0)}
HOPELESS = 1e33


@pytest.fixture(scope="module")
def home(ray_cluster, tmp_path_factory):
    """An output root, and the dataset in it."""
    root = tmp_path_factory.mktemp("home")
    return root, prepare(load_config(None, [*SMALL, f"output.root={root}"]), progress=lambda line: None)


def search_of(home, name, settings, num_trials, *overrides):
    root, dataset = home
    config = load_config(None, [*SMALL, f"output.root={root}", f"run.name={name}", "train.num_workers=0", *overrides])
    return Search(config, Space("mine", settings, "mae", "min", num_trials), dataset, open_run(config), num_trials)


def nobody(*, last=False):
    """A watch that looks at nothing."""


def test_a_trial_that_fails_before_it_reports_leaves_the_others_alone(home, monkeypatch, capsys):
    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "0")  # as jobs have it
    search = search_of(home, "diverging", RATES | {"inner.lr": tune.choice([0.3, HOPELESS])}, 3, "run.seed=1")
    trials = run_search(search, watch=nobody, stop=threading.Event())
    hopeless = [trial.values["inner.lr"] == HOPELESS for trial in trials]
    assert set(hopeless) == {True, False}
    assert [trial.result.ending == "failed" for trial in trials] == hopeless
    assert ["were not finite" in trial.result.reason for trial in trials] == hopeless
    assert capsys.readouterr().out == ""


def test_a_search_that_is_stopped_before_any_report_can_go_on(home):
    search = search_of(home, "stopped", RATES, 2, "outer.epochs=2000", "train.validate_every=2000")
    stop = threading.Event()

    def stop_soon(*, last=False):
        if search.trials.all():
            stop.set()

    trials = run_search(search, watch=stop_soon, stop=stop)
    assert trials
    assert [trial.result for trial in trials] == [None] * len(trials)


def test_what_is_none_of_a_trial_s_settings_ends_the_search_and_a_later_start_goes_on(home):
    search = search_of(home, "faulty", RATES, 2, "search.early_stopping=false")
    in_the_way = home[0] / "runs/faulty.001/checkpoints"
    in_the_way.parent.mkdir()
    in_the_way.write_text("a file where the folder of checkpoints belongs")
    with pytest.raises(StorageError, match=r"cannot .*/faulty\.001/checkpoints"):
        run_search(search, watch=nobody, stop=threading.Event())
    assert search.trials.read(1).result is None
    in_the_way.unlink()
    trials = run_search(search, watch=nobody, stop=threading.Event())
    assert [trial.result.ending for trial in trials] == ["finished"] * 2


def test_a_population_goes_on_although_too_little_is_left_to_tell(home):
    search = search_of(home, "late", LIVE, 2, "search.algorithm=population", "search.grace_epochs=1")
    begun = [search.space.sample(0, number) for number in range(2)]
    for number, values in enumerate(begun):
        config = trial_config(search.config, number, values)
        stopped = threading.Event()
        stopped.set()
        assert launch(config, search.dataset, open_run(config), watch=nobody, stop=stopped)["stopped"]
        search.trials.suggest(number, values, "of an earlier start")
    trials = run_search(search, watch=nobody, stop=threading.Event())
    assert [(trial.result.ending, trial.result.num_epochs) for trial in trials] == [("finished", 2)] * 2


class Listed:
    """Proposes what stands in a list."""

    def __init__(self, *listed):
        self._listed = listed

    def propose(self, number):
        return self._listed[number]

    def learn(self, number, metric):
        """Nothing."""


@pytest.mark.parametrize("valid", [1, 0])
def test_a_trial_that_makes_no_valid_config_fails_and_the_search_goes_on(home, monkeypatch, valid):
    listed = [{"inner.lr": -1.0, "outer.lr": 0.01}, {"inner.lr": 0.3, "outer.lr": 0.01}][: 1 + valid]
    monkeypatch.setattr("metarec.search.search.proposals_of", lambda *given: Listed(*listed))
    search = search_of(home, f"valid-{valid}", RATES, 1 + valid)
    for _ in range(2):  # once more: nothing is left to do
        trials = run_search(search, watch=nobody, stop=threading.Event())
        assert [trial.result.ending for trial in trials] == ["failed", "finished"][: 1 + valid]
        assert trials[0].result.reason == "inner.lr is -1.0; use a number above 0"


def test_what_tune_fails_with_is_said_in_one_line_by_our_own_error_where_there_is_one():
    broken = RuntimeError("Traceback (most recent call last):\n  File somewhere\nValueError: no such thing\n")
    assert str(_in_one_sentence(broken, "s")) == "search 's' failed: RuntimeError: ValueError: no such thing"
    own = StorageError("cannot write there")
    broken.__context__ = own
    assert _in_one_sentence(broken, "s") is own
