"""A user who goes on rating, with all ratings at hand and without those before; a taste that changes."""

import pytest
import torch

from metarec.build import build_learner
from metarec.config import load_config
from metarec.errors import RequestError
from metarec.schema import FeatureField, Head, Schema
from metarec.serving.learner import Learner
from metarec.task import Catalogue
from tests.tiny_learner import ITEMS, tiny_learner

COMBINATIONS = {
    "maml on melu": (),
    "ridge on mf": ("algorithm.name=ridge", "model.name=mf"),
    "transformer": ("algorithm.name=joint", "model.name=transformer"),
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_ratings_one_after_the_other_are_all_of_them_at_once(name):
    learner, features = tiny_learner(*COMBINATIONS[name]), {"age": "25"}
    user = learner.adapt({"7": 5}, user=features).adapt({"13": 2}).adapt({}).adapt([("11", 1), ("17", 4)])
    at_once = learner.adapt([("7", 5), ("13", 2), ("11", 1), ("17", 4)], user=features)
    assert user.predict(ITEMS) == at_once.predict(ITEMS)
    assert [each.item for each in user.recommend(k=1)] == ["19"]


def test_a_new_rating_of_an_item_replaces_the_old_one_and_is_the_last():
    learner = tiny_learner(*COMBINATIONS["transformer"])
    again = learner.adapt([("7", 5), ("13", 2)]).adapt({"7": 1})
    assert again.predict(ITEMS) == learner.adapt([("13", 2), ("7", 1)]).predict(ITEMS)


def test_the_user_before_further_ratings_stays():
    user = tiny_learner().adapt({"7": 5})
    before = user.predict(ITEMS)
    assert user.adapt({"11": 1}).predict(ITEMS) != before
    assert user.predict(ITEMS) == before


def test_a_further_rating_that_cannot_be_used_says_why():
    user = tiny_learner().adapt({"7": 5})
    with pytest.raises(RequestError, match="item '8' is not among the 5 items"):
        user.adapt({"8": 1})
    with pytest.raises(RequestError, match="item '11' has rating 9; use 1 to 5"):
        user.adapt({"11": 9})


@pytest.mark.parametrize("algorithm", ["ridge", "alpaca", "prototypical", "neural_process"])
def test_following_without_the_old_ratings_is_adapting_to_all_where_states_are_sums(algorithm):
    learner, features = tiny_learner(f"algorithm.name={algorithm}", "model.residual=item"), {"age": "25"}
    user = learner.adapt({"7": 5}, user=features).follow({"13": 2}).follow({}).follow([("11", 1), ("17", 4)])
    at_once = learner.adapt([("7", 5), ("13", 2), ("11", 1), ("17", 4)], user=features)
    assert user.predict(ITEMS) == pytest.approx(at_once.predict(ITEMS), abs=1e-5)
    assert [each.item for each in user.recommend(k=1)] == ["19"], "rated items stay known"


def test_the_item_and_user_bias_of_a_follower_are_those_of_all_ratings():
    learner = tiny_learner("inner.lr=1e-9", "model.user_bias_damping=2", trained=False)
    user = learner.adapt({"7": 5}).follow({"13": 2}).follow({"11": 1})
    assert user.predict(ITEMS) == pytest.approx(learner.adapt({"7": 5, "13": 2, "11": 1}).predict(ITEMS), abs=1e-5)


def test_a_follower_without_further_ratings_predicts_as_before():
    user = tiny_learner().adapt({"7": 5, "13": 2})
    assert user.follow({}).predict(ITEMS) == pytest.approx(user.predict(ITEMS), abs=1e-5)


def test_a_follower_holds_no_rating_and_says_so():
    user = tiny_learner().adapt({"7": 5}).follow({"11": 1})
    with pytest.raises(RequestError, match="the ratings of this user are gone, and a score is explained by leaving"):
        user.explain("13")
    with pytest.raises(RequestError, match=r"the ratings of this user are gone, .*; go on with follow"):
        user.adapt({"13": 2})
    with pytest.raises(RequestError, match="item '8' is not among the 5 items"):
        user.follow({"8": 1})


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("algorithm.name=matching",), "matching on melu cannot .*: its state is the ratings themselves; use adapt"),
        (("model.name=transformer",), "maml on transformer cannot .*: the recommender looks at the ratings"),
        (("algorithm.adapt=encoder.items.*",), "maml on melu cannot .*: it adapts rows of embedding tables"),
    ],
)
def test_who_needs_the_old_ratings_refuses_to_follow(overrides, reason):
    with pytest.raises(RequestError, match=reason):
        tiny_learner(*overrides).adapt({"7": 5}).follow({"11": 1})


def test_the_negatives_of_a_follower_are_none_of_her_items_and_no_earlier_ones():
    learner = event_learner(30)
    rows = learner.rows([[3, 4]], [[1.0, 1.0]], earlier=[0, 1, 2])
    negatives = rows.item[~(rows.target[..., 0] > 0)].tolist()
    assert len(negatives) == 4
    assert not {0, 1, 2, 3, 4} & set(negatives)
    before = learner.rows([[0, 1, 2]], [[1.0] * 3])
    assert not set(negatives) & set(before.item[~(before.target[..., 0] > 0)].tolist())


def event_learner(num_items):
    """Two negatives beside each event."""
    events = ("data.source=tables", "data.path=x", "tables.ratings=x", "tables.rating=''", "task.num_negatives=2")
    config = load_config(overrides=["algorithm.name=joint", "outer.loss=cross_entropy", *events])
    names = tuple(f"film {number}" for number in range(num_items))
    schema = Schema((), (FeatureField("id", "categorical", names),), (Head("event", 0.0, 1.0),))
    catalogue = Catalogue(
        {}, {"id": torch.arange(1, num_items + 1)[:, None]}, torch.zeros(1), torch.zeros(num_items, 1)
    )
    return Learner(build_learner(config, schema), config, schema, catalogue, names, names, {})


def linear_learner(num_items, algorithm="ridge"):
    """Ridge, penalty 1, or gradient steps, on one number an item, which goes from -1 to 1, and a constant."""
    settings = ("model.name=linear", "model.residual=none", "model.embedding_width=1")
    steps = ("inner.steps=10", "inner.lr=0.3", "inner.damping=0")
    config = load_config(overrides=[f"algorithm.name={algorithm}", *settings, *steps])
    names = tuple(f"film {number}" for number in range(num_items))
    schema = Schema((), (FeatureField("gloom", "numeric"),), (Head("rating", 1.0, 5.0),))
    module = build_learner(config, schema)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if algorithm == "ridge" or name.startswith("model"):
                parameter.fill_(float(name.startswith("model.encoder")))
    gloom = torch.linspace(-1, 1, num_items)[:, None]
    catalogue = Catalogue({}, {"gloom": gloom}, torch.tensor([3.0]), torch.zeros(num_items, 1))
    return Learner(module, config, schema, catalogue, names, names, {}), gloom[:, 0].tolist()


@pytest.mark.parametrize(
    ("algorithm", "goes_on"),
    [
        ("ridge", "adapt"),
        ("ridge", "follow"),
        *((name, "follow") for name in ("maml", "fine_tuned", "reptile", "imaml")),
    ],
)
def test_predictions_follow_a_user_whose_taste_turns(algorithm, goes_on):
    """She loves gloomy films, 3 + 2 gloom, for eight ratings; then bright ones, 3 - 2 gloom, for 32."""
    learner, gloom = linear_learner(50, algorithm)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0)).tolist()
    first, later, unseen = order[:8], order[8:40], order[40:]
    user = learner.adapt({f"film {item}": 3 + 2 * gloom[item] for item in first})
    stays, errors = user, []
    for start in range(0, 32, 8):
        errors.append(error_after_the_turn(user, unseen, gloom))
        user = getattr(user, goes_on)({f"film {item}": 3 - 2 * gloom[item] for item in later[start : start + 8]})
    errors.append(error_after_the_turn(user, unseen, gloom))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * error_after_the_turn(stays, unseen, gloom)


def error_after_the_turn(user, items, gloom):
    """The mean absolute error of what she would give now."""
    predicted = user.predict([f"film {item}" for item in items])
    return sum(abs(p - (3 - 2 * gloom[item])) for p, item in zip(predicted, items, strict=True)) / len(items)
