"""What a population refuses, for it would exchange nothing: the reason is in the sentence."""

import pytest
from ray import tune

from metarec.config import load_config
from metarec.errors import ConfigError
from metarec.search.population import check_population, live_settings, within
from metarec.search.space import Space

OUTER = Space("outer", {"outer.lr": tune.loguniform(0.001, 0.1)}, "mae", "min", 4)
INNER = Space("inner", {"inner.lr": tune.loguniform(0.001, 0.1)}, "mae", "min", 4)
ALONE = ("train.num_workers=0", "search.algorithm=population")


def test_under_ray_train_it_is_refused():
    with pytest.raises(
        ConfigError, match=r"train\.num_workers is 2: under Ray Train a trial hands no checkpoint to Tune"
    ):
        check_population(load_config(None, [*ALONE, "train.num_workers=2"]), OUTER, 2)


def test_a_rate_that_is_only_where_learned_rates_start_is_refused_and_one_that_stays_is_not():
    learned, fixed = (load_config(None, [*ALONE, f"inner.learned={value}"]) for value in ("true", "false"))
    with pytest.raises(
        ConfigError, match=r"draws inner\.lr, which acts on new weights alone, .* draw from outer\.lr, "
    ):
        check_population(learned, INNER, 2)
    check_population(fixed, INNER, 2)
    check_population(learned, OUTER, 2)
    check_population(learned, Space("fixed", {**INNER.settings, "inner.learned": False}, "mae", "min", 4), 2)


@pytest.mark.parametrize(
    ("algorithm", "learned", "live"),
    [("maml", True, False), ("maml", False, True), ("meta_sgd", False, False), ("reptile", True, True)],
)
def test_which_algorithms_read_the_inner_rate_at_each_start(algorithm, learned, live):
    config = load_config(None, [f"algorithm.name={algorithm}", f"inner.learned={str(learned).lower()}"])
    assert ("inner.lr" in live_settings(config)) == live


def test_the_inner_rate_is_live_where_one_member_of_a_committee_reads_it():
    settings = ["algorithm.name=alpaca", "model.members=2"]
    mixed, learned = ["meta_sgd", "reptile"], ["meta_sgd", "meta_sgd"]
    assert "inner.lr" in live_settings(load_config(None, [*settings, f"model.member_algorithms={mixed}"]))
    assert "inner.lr" not in live_settings(load_config(None, [*settings, f"model.member_algorithms={learned}"]))


def test_a_population_of_one_is_refused():
    with pytest.raises(ConfigError, match="one trial has none to compare with; use --trials 2"):
        check_population(load_config(None, ALONE), OUTER, 1)


@pytest.mark.parametrize(
    ("settings", "first"),
    [
        (["outer.epochs=3", "search.grace_epochs=3"], 3),
        (["outer.epochs=6", "train.validate_every=2", "train.checkpoint_every=3"], 6),
        (["outer.epochs=4", "train.checkpoint_every=2", "search.grace_epochs=3"], 4),
    ],
)
def test_a_population_that_ends_before_it_compares_is_refused(settings, first):
    with pytest.raises(ConfigError, match=f"would be compared after epoch {first} for the first time"):
        check_population(load_config(None, [*ALONE, *settings]), OUTER, 2)


def test_changed_settings_stay_between_the_ends_of_what_they_are_drawn_from():
    domains = {"outer.lr": tune.loguniform(0.001, 0.1), "outer.clip": tune.choice([1.0, 5.0])}
    keep = within(Space("outer", {**domains, "inner.damping": 40.0}, "mae", "min", 4))
    values = {"outer.clip": 5.0, "inner.damping": 40.0}
    assert keep({"values": {"outer.lr": 0.12, **values}}) == {"values": {"outer.lr": 0.1, **values}}
    assert keep({"values": {"outer.lr": 0.0008, **values}}) == {"values": {"outer.lr": 0.001, **values}}
    assert keep({"values": {"outer.lr": 0.05, **values}}) == {"values": {"outer.lr": 0.05, **values}}
