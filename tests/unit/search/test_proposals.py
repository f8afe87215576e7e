"""Where settings come from: Optuna learns from what it is told, in this start and from an earlier one."""

import sys
import warnings

import pytest
from ray import tune

from metarec.config import load_config
from metarec.errors import ConfigError
from metarec.search.proposals import RandomProposals, known_draws, proposals_of
from metarec.search.space import Space
from metarec.search.trials import Result, Trial

OPTUNA = load_config(None, ["search.algorithm=optuna"])
LINE = Space("line", {"inner.lr": tune.uniform(0.0, 1.0), "inner.steps": 2}, "mae", "min", 40)


@pytest.fixture
def optuna():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("optuna")


def mean_of_last(proposals, start=0, count=40):
    """Errors are the distance from 0.2; where the last quarter of the proposals lies."""
    rates = []
    for number in range(start, start + count):
        rates.append(proposals.propose(number)["inner.lr"])
        proposals.learn(number, abs(rates[-1] - 0.2))
    return sum(rates[-count // 4 :]) / (count // 4)


def test_random_proposals_are_the_draws_of_the_space():
    proposals = proposals_of(load_config(), LINE, [])
    assert isinstance(proposals, RandomProposals)
    assert proposals.propose(3) == LINE.sample(0, 3)


def test_optuna_comes_closer_to_the_best_than_chance(optuna):
    assert abs(mean_of_last(proposals_of(OPTUNA, LINE, [])) - 0.2) < 0.1


def test_optuna_goes_on_from_the_trials_of_an_earlier_start(optuna):
    before = [
        Trial(number, {"inner.lr": number / 20, "inner.steps": 2}, Result("finished", abs(number / 20 - 0.2), 1, 1.0))
        for number in range(20)
    ]
    proposals = proposals_of(OPTUNA, LINE, before)
    rates = [proposals.propose(number)["inner.lr"] for number in range(20, 30)]
    assert abs(sum(rates) / 10 - 0.2) < 0.15


def test_optuna_chooses_among_lists_and_keeps_constants(optuna):
    settings = {"model.hidden": tune.choice([[8], [8, 8]]), "inner.steps": 2}
    proposals = proposals_of(OPTUNA, Space("lists", settings, "mae", "min", 4), [])
    drawn = [proposals.propose(number) for number in range(12)]
    assert {tuple(each["model.hidden"]) for each in drawn} == {(8,), (8, 8)}
    assert {each["inner.steps"] for each in drawn} == {2}


def test_the_draws_that_are_known_beforehand_are_those_that_trials_get(optuna):
    """Of Optuna the first ten, however trials end."""
    proposals, known = proposals_of(OPTUNA, LINE, []), list(known_draws(OPTUNA, LINE, 40))
    assert len(known) == 10
    for number, values in enumerate(known):
        assert proposals.propose(number) == values
        proposals.learn(number, 1.0 / (1 + number))
    assert list(known_draws(load_config(), LINE, 40)) == [LINE.sample(0, number) for number in range(40)]


def test_what_optuna_cannot_draw_from_is_named(optuna):
    with pytest.raises(ConfigError) as refused:
        proposals_of(OPTUNA, Space("mine", {"inner.lr": tune.randn(1.0, 0.1)}, "mae", "min", 4), [])
    assert str(refused.value).startswith(
        "tune_spaces/mine.py: inner.lr is drawn from Float.Normal(-inf, inf), from which Optuna cannot draw ("
    )


def test_a_failed_trial_and_one_that_it_never_asked_for_do_not_disturb_optuna(optuna):
    proposals = proposals_of(OPTUNA, LINE, [])
    proposals.propose(0)
    proposals.learn(0, None)
    proposals.learn(17, 0.5)
    assert 0.0 <= proposals.propose(1)["inner.lr"] <= 1.0


def test_without_optuna_the_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError) as refused:
        proposals_of(OPTUNA, LINE, [])
    assert str(refused.value) == (
        "search.algorithm is 'optuna', which is not installed: pip install 'optuna>=4', or use random"
    )
