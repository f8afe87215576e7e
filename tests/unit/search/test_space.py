"""What a space refuses, and that its draws follow from seed and number alone."""

import pytest
from ray import tune

from metarec.config import load_config
from metarec.errors import ConfigError
from metarec.search import space as space_module
from metarec.search.proposals import known_draws
from metarec.search.space import DrawCheck, Space, check_space

RATES = {"inner.lr": tune.loguniform(0.01, 1.0), "outer.lr": tune.loguniform(0.001, 0.1)}


def space_of(settings=RATES, metric="mae", mode="min"):
    return Space("mine", settings, metric, mode, 4)


@pytest.mark.parametrize(
    ("space", "overrides", "sentence"),
    [
        (
            space_of({"inner.rl": tune.uniform(0.1, 1)}),
            (),
            "tune_spaces/mine.py: unknown setting 'inner.rl'; did you mean 'inner.lr'?",
        ),
        (
            space_of({"protocol.seed": tune.randint(0, 9)}),
            (),
            "tune_spaces/mine.py: protocol.seed cannot be searched, for trials would not be comparable; a search may "
            "change the tables model, algorithm, inner, outer and task.max_query, task.max_support, "
            "task.subsample_support, train.meta_batch",
        ),
        (
            space_of({"inner.lr": tune.uniform(-1.0, 1.0)}),
            (),
            "tune_spaces/mine.py: the draw inner.lr = ",
        ),
        (
            space_of({"inner.lr": tune.grid_search([0.1, 1.0])}),
            (),
            "tune_spaces/mine.py: inner.lr is neither a value nor drawn from a domain; use tune.choice([…])",
        ),
        (
            space_of({"inner.lr": tune.sample_from(lambda spec: 0.1)}),
            (),
            "tune_spaces/mine.py: inner.lr is neither a value nor drawn from a domain; use tune.choice([…])",
        ),
        (
            space_of({"inner.lr": 0.1}),
            (),
            "tune_spaces/mine.py: SPACE draws no setting; give one a domain such as tune.loguniform(0.01, 1)",
        ),
        (
            space_of(metric="auc"),
            (),
            "tune_spaces/mine.py: METRIC is 'auc', which no job reports; use one of mae, rmse, ndcg@5",
        ),
        (space_of(mode="max"), (), "tune_spaces/mine.py: MODE is 'max'; use 'min', for better in mae"),
        (
            space_of(),
            ("evaluate.primary=rmse",),
            "tune_spaces/mine.py: METRIC is 'mae', but the job measures evaluate.primary = 'rmse' on validation users; "
            "change one of them",
        ),
        (
            space_of({"model.name": tune.choice(["melu", "mlp", "mellu"])}),
            (),
            "tune_spaces/mine.py: the draw model.name = mellu makes no valid config: model.name is 'mellu'; use one",
        ),
        (
            space_of({"algorithm.name": tune.choice(["maml", "ridge"]), "outer.loss": "cross_entropy"}),
            (),
            "tune_spaces/mine.py: the draw ",
        ),
        (
            space_of({"inner.lr": tune.choice([])}),
            (),
            "tune_spaces/mine.py: inner.lr is a choice of nothing; give tune.choice one value or more",
        ),
        (
            space_of({"inner.steps": tune.randint(3, 3)}),
            (),
            "tune_spaces/mine.py: inner.steps cannot be drawn from Integer.Uniform(3, 3): ",
        ),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused_with_one_sentence(space, overrides, sentence):
    with pytest.raises(ConfigError) as refused:
        check_space(space, load_config(None, overrides))
    assert str(refused.value).startswith(sentence)


def test_one_bad_end_of_a_domain_is_found_whatever_is_drawn():
    """Of a million whole numbers one is none: a draw would hardly meet it, its end is tried."""
    with pytest.raises(ConfigError, match=r"the draw inner\.steps = 0 makes no valid config: inner\.steps is 0"):
        check_space(space_of({"inner.steps": tune.randint(0, 1_000_000)}), load_config())


CROSSED = {
    "algorithm.name": tune.choice(["maml", "ridge"]),
    "outer.loss": tune.choice(["absolute", "cross_entropy"]),
    "inner.loss": tune.choice(["squared", "cross_entropy"]),
}


def test_of_the_draws_that_are_known_beforehand_none_may_make_an_invalid_config():
    """Whether one does depends on the seed; a search that was let through would have met it after hours."""
    space, refused = space_of(CROSSED), set()
    for seed in range(12):
        config = load_config(None, [f"run.seed={seed}"])
        try:
            check_space(space, config, known_draws(config, space, 3))
        except ConfigError:
            refused.add(seed)
        else:
            check = DrawCheck(space, config)
            assert [check(space.sample(seed, number)) for number in range(3)]
    assert refused


def test_of_hundreds_of_draws_each_combination_is_built_once_and_its_derivatives_are_tried_once(monkeypatch):
    built = []
    monkeypatch.setattr(space_module, "check_combination", lambda config, derivatives: built.append(derivatives))
    space = space_of(RATES | {"inner.steps": tune.choice([1, 2, 3]), "model.name": tune.choice(["melu", "mlp"])})
    check_space(space, load_config(), known_draws(load_config(), space, 300))
    assert (len(built), sum(built)) == (6, 2)


def test_a_draw_is_a_function_of_seed_and_number():
    first, again = space_of(), space_of()
    assert first.sample(3, 5) == again.sample(3, 5)
    assert len({repr(first.sample(seed, number)) for seed in (3, 4) for number in (5, 6)}) == 4


def test_a_constant_stands_in_each_draw_and_choices_may_be_lists():
    space = space_of({"algorithm.name": "reptile", "model.hidden": tune.choice([[8], [8, 8]])})
    draws = [space.sample(0, number) for number in range(20)]
    assert {draw["algorithm.name"] for draw in draws} == {"reptile"}
    assert {tuple(draw["model.hidden"]) for draw in draws} == {(8,), (8, 8)}


def test_two_spaces_that_differ_in_an_end_describe_themselves_differently():
    other = space_of(RATES | {"inner.lr": tune.loguniform(0.01, 2.0)})
    assert space_of().describe() == space_of().describe()
    assert space_of().describe() != other.describe()
