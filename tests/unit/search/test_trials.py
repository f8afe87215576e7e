"""The records of trials, who wins, and what a person and `jobs.train` get of it."""

import tomllib

import pytest

from metarec.config import load_config, with_values
from metarec.errors import StorageError
from metarec.search.outcome import best_toml, render_trials
from metarec.search.plot import plot_trials
from metarec.search.trials import Result, Takeover, Trial, Trials, ranked, standing, trial_config
from metarec.train.journal import JournalLine


def ended(number, metric, ending="finished", reason=""):
    return Trial(number, {"inner.lr": 0.1 * (number + 1)}, Result(ending, metric, 3, 1.5, reason))


def test_what_was_put_on_record_is_read_back(tmp_path):
    trials = Trials(str(tmp_path / "trials"))
    assert trials.all() == []
    trials.suggest(0, {"inner.lr": 0.1, "model.hidden": [8]}, "a")
    trials.suggest(1, {"inner.lr": 0.2, "model.hidden": [8, 8]}, "b")
    result = Result("finished", 0.75, 3, 1.5)
    trials.end(1, result)
    assert trials.all() == [
        Trial(0, {"inner.lr": 0.1, "model.hidden": [8]}, None),
        Trial(1, {"inner.lr": 0.2, "model.hidden": [8, 8]}, result),
    ]
    assert (trials.has_ended(0), trials.has_ended(1)) == (False, True)
    assert trials.number_of("b") == 1


def test_a_takeover_is_kept_with_the_settings_that_hold_from_then_on_also_by_a_later_start(tmp_path):
    trials, takeover = Trials(str(tmp_path)), Takeover(1, 40, {"outer.lr": 0.012})
    trials.suggest(0, {"outer.lr": 0.1}, "a")
    trials.take_over(0, takeover)
    trials.suggest(0, {"outer.lr": 0.012}, "b")
    assert trials.read(0) == Trial(0, {"outer.lr": 0.012}, None, (takeover,))


def test_a_damaged_record_is_named(tmp_path):
    trials = Trials(str(tmp_path))
    trials.suggest(0, {}, "a")
    (tmp_path / "000.json").write_text("{")
    with pytest.raises(StorageError, match=r"000\.json is damaged: .*choose another run\.name"):
        trials.all()


def test_the_best_is_a_trial_with_a_figure_that_did_not_fail_the_earlier_of_equal_ones():
    trials = [
        ended(0, 0.8),
        ended(1, 0.7),
        ended(2, 0.7),
        ended(3, 0.75, "stopped early"),
        ended(4, None),
        ended(5, 0.9),
        ended(6, 0.1, "failed", "it diverged"),
    ]
    assert [trial.number for trial in ranked(trials, "mae")] == [1, 2, 3, 0, 5]
    assert [trial.number for trial in ranked(trials, "ndcg@5")] == [5, 0, 3, 1, 2]


def test_a_journal_gives_the_best_metric_the_epochs_and_their_seconds():
    lines = [
        JournalLine(0, 0.0, {"train.loss": 9.0}),
        JournalLine(1, 0.0, {"validation.metric": 0.8, "train.seconds": 2.0, "train.epochs": 1.0}),
        JournalLine(2, 0.0, {"train.loss": 8.0}),
        JournalLine(3, 0.0, {"validation.metric": 0.9, "train.seconds": 3.0, "train.epochs": 2.0}),
    ]
    assert standing(lines, "mae", "stopped early") == Result("stopped early", 0.8, 2, 5.0)
    assert standing(lines, "ndcg@5", "failed", "why") == Result("failed", 0.9, 2, 5.0, "why")
    assert standing([], "mae", "failed") == Result("failed", None, 0, 0.0)


def test_a_trial_is_a_run_with_a_name_of_its_own():
    config = trial_config(load_config(None, ["run.name=s"]), 7, {"inner.lr": 0.25})
    assert (config.run.name, config.inner.lr) == ("s.007", 0.25)


def test_an_epoch_with_a_stop_in_its_middle_counts_once_with_the_seconds_of_both_parts():
    parts = [(7, 1.0), (11, 1.5), (15, 2.0)]
    lines = [JournalLine(step, 0.0, {"train.seconds": 2.0, "train.epochs": epochs}) for step, epochs in parts]
    assert standing(lines, "mae", "finished") == Result("finished", None, 2, 6.0)


def test_the_table_has_a_line_for_each_trial_the_best_first():
    trials = [
        ended(0, 0.8),
        ended(1, 0.7),
        ended(2, None, "failed", "inner.lr is too high"),
        ended(3, 0.75, "stopped early"),
    ]
    head, *lines = render_trials(trials, ["inner.lr"], "mae").splitlines()
    assert head.split() == ["trial", "inner.lr", "validation", "mae", "epochs", "seconds"]
    assert lines[0].split() == ["1", "0.2", "0.7000", "3", "1.5"]
    assert lines[1].split() == ["3", "0.4", "0.7500", "3", "1.5", "stopped", "early"]
    assert lines[2].split() == ["0", "0.1", "0.8000", "3", "1.5"]
    assert lines[3].split() == ["2", "0.3", "-", "3", "1.5", "failed:", "inner.lr", "is", "too", "high"]


def test_the_table_says_from_whom_a_trial_of_a_population_took_over():
    takeovers = tuple(Takeover(source, 8, {}) for source in (2, 1))
    trials = [
        Trial(number, {"outer.lr": 0.1}, Result(ending, 0.7, 3, 1.5, reason), takeovers)
        for number, (ending, reason) in enumerate([("finished", ""), ("failed", "too high")])
    ]
    _, finished, failed = render_trials(trials, ["outer.lr"], "mae").splitlines()
    assert finished.endswith("1.5  took over from 2, 1")
    assert failed.endswith("failed: too high; took over from 2, 1")


def test_the_best_config_says_what_differs_and_gives_the_run_back(tmp_path):
    base = load_config(None, ["run.name=s", "run.seed=3", "outer.epochs=5", "search.algorithm=optuna"])
    values = {"inner.lr": 0.123456789, "model.hidden": [8, 8]}
    text = best_toml(base, values, heading="python -m jobs.train --config best.toml", evidence="trial 3")
    assert text.splitlines()[:2] == ["# python -m jobs.train --config best.toml", "# trial 3"]
    assert tomllib.loads(text) == {
        "run": {"seed": 3},
        "model": {"hidden": [8, 8]},
        "inner": {"lr": 0.123456789},
        "outer": {"epochs": 5},
    }
    (tmp_path / "best.toml").write_text(text)
    again = with_values(base, values | {"run.name": "", "search.algorithm": "random"})
    assert load_config(tmp_path / "best.toml") == again


def test_the_plot_is_a_picture_with_numbers_lists_and_trials_without_a_figure():
    trials = [
        Trial(number, {"inner.lr": 10.0**-number, "model.hidden": [number]}, Result("finished", metric, 1, 1.0))
        for number, metric in enumerate([0.8, 0.7, None])
    ]
    assert plot_trials(trials, ["inner.lr", "model.hidden"], "mae").startswith(b"\x89PNG")
