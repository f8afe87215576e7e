"""Every search space: its four names are right, every key is a setting, and every draw builds a valid config."""

import pytest

from jobs.tune import load_space, space_names
from metarec.build import build_learner
from metarec.config import flatten, load_config
from metarec.search.space import METRICS, DrawCheck, check_space
from tests.worlds import make_schema


def test_there_are_spaces_for_the_algorithms_and_the_families_of_recommenders():
    algorithms = {"maml", "meta_sgd", "reptile", "ridge", "neural_process"}
    families = {"hidden_layers", "factors", "crosses", "transformer", "towers"}
    assert {"rates", "while_training", *algorithms, *families} == set(space_names())


@pytest.mark.parametrize("name", space_names())
def test_a_space_can_be_searched(name):
    space = load_space(name)
    assert space.settings.keys() <= flatten(load_config()).keys()
    assert space.metric in METRICS
    assert space.num_trials >= 1
    check_space(space, load_config())


@pytest.mark.parametrize("name", space_names())
def test_draws_build_learners_and_differ(name):
    space = load_space(name)
    draws = [space.sample(7, number) for number in range(100, 104)]
    assert len({repr(draw) for draw in draws}) == len(draws)
    for draw in draws:
        config = DrawCheck(space, load_config())(draw)
        assert list(build_learner(config, make_schema()).parameters())
        assert {name: value for name, value in flatten(config).items() if name in draw} == draw


@pytest.mark.parametrize("name", ["maml", "meta_sgd", "reptile", "ridge", "neural_process"])
def test_the_space_of_an_algorithm_searches_that_algorithm(name):
    assert load_space(name).constants["algorithm.name"] == name
