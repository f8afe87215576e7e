"""What a population refuses, for it would exchange nothing: the reason is in the sentence."""

import pytest
from ray import tune

from metarec.config import load_config
from metarec.errors import ClusterError, ConfigError
from metarec.search.population import check_population, check_side_by_side, live_settings
from metarec.search.space import Space

OUTER = Space("outer", {"outer.lr": tune.loguniform(0.001, 0.1)}, "mae", "min", 4)
INNER = Space("inner", {"inner.lr": tune.loguniform(0.001, 0.1)}, "mae", "min", 4)
ALONE = ("train.num_workers=0", "search.algorithm=population")


def test_under_ray_train_it_is_refused():
    with pytest.raises(
        ConfigError, match=r"train\.num_workers is 2: under Ray Train a trial hands no checkpoint to Tune"
    ):
        check_population(load_config(None, [*ALONE, "train.num_workers=2"]), OUTER)


def test_a_rate_that_is_only_where_learned_rates_start_is_refused_and_one_that_stays_is_not():
    learned, fixed = (load_config(None, [*ALONE, f"inner.learned={value}"]) for value in ("true", "false"))
    with pytest.raises(
        ConfigError, match=r"draws inner\.lr, which acts on new weights alone, .* draw from outer\.lr, "
    ):
        check_population(learned, INNER)
    check_population(fixed, INNER)
    check_population(learned, OUTER)


@pytest.mark.parametrize(
    ("algorithm", "learned", "live"),
    [("maml", True, False), ("maml", False, True), ("meta_sgd", False, False), ("reptile", True, True)],
)
def test_which_algorithms_read_the_inner_rate_at_each_start(algorithm, learned, live):
    config = load_config(None, [f"algorithm.name={algorithm}", f"inner.learned={str(learned).lower()}"])
    assert ("inner.lr" in live_settings(config)) == live


def test_a_population_that_does_not_train_side_by_side_is_refused():
    with pytest.raises(
        ClusterError, match="a population of 4 trains side by side, and the cluster has room for 2 such"
    ):
        check_side_by_side(4, 2)
    check_side_by_side(2, 2)
