"""A user who goes on rating: the user of all ratings, and predictions that follow a taste that changes."""

import pytest
import torch
from test_learner import ITEMS, tiny_learner

from metarec.build import build_learner
from metarec.config import load_config
from metarec.errors import RequestError
from metarec.learner import Learner
from metarec.schema import FeatureField, Head, Schema
from metarec.task import Catalogue

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


def linear_learner(num_items):
    """Ridge, penalty 1, on one number an item, which goes from -1 to 1, and a constant."""
    config = load_config(
        overrides=["algorithm.name=ridge", "model.name=linear", "model.residual=none", "model.embedding_width=1"]
    )
    names = tuple(f"film {number}" for number in range(num_items))
    schema = Schema((), (FeatureField("gloom", "numeric"),), (Head("rating", 1.0, 5.0),))
    module = build_learner(config, schema)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.fill_(float(name.startswith("model.encoder")))
    gloom = torch.linspace(-1, 1, num_items)[:, None]
    catalogue = Catalogue({}, {"gloom": gloom}, torch.tensor([3.0]), torch.zeros(num_items, 1))
    return Learner(module, config, schema, catalogue, names, names, {}), gloom[:, 0].tolist()


def test_predictions_follow_a_user_whose_taste_turns():
    """She loves gloomy films, 3 + 2 gloom, for eight ratings; then bright ones, 3 - 2 gloom, for 32."""
    learner, gloom = linear_learner(50)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0)).tolist()
    first, later, unseen = order[:8], order[8:40], order[40:]
    user = learner.adapt({f"film {item}": 3 + 2 * gloom[item] for item in first})
    stays, errors = user, []
    for start in range(0, 32, 8):
        errors.append(error_after_the_turn(user, unseen, gloom))
        user = user.adapt({f"film {item}": 3 - 2 * gloom[item] for item in later[start : start + 8]})
    errors.append(error_after_the_turn(user, unseen, gloom))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * error_after_the_turn(stays, unseen, gloom)


def error_after_the_turn(user, items, gloom):
    """The mean absolute error of what she would give now."""
    predicted = user.predict([f"film {item}" for item in items])
    return sum(abs(p - (3 - 2 * gloom[item])) for p, item in zip(predicted, items, strict=True)) / len(items)
