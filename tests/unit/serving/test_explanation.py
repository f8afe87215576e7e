"""Why this item: what each rating contributes is what the score loses when the rating is left out."""

import pytest
import torch

from metarec.errors import RequestError
from metarec.schema import Head
from tests.tiny_learner import ITEMS, tiny_learner

COMBINATIONS = {
    "maml on melu": (),
    "ridge on mf": ("algorithm.name=ridge", "model.name=mf"),
    "alpaca on mf": ("algorithm.name=alpaca", "model.name=mf"),
    "transformer": ("algorithm.name=joint", "model.name=transformer"),
    "neural process": ("algorithm.name=neural_process",),
}
RATINGS = [("7", 5.0), ("13", 2.0), ("17", 3.0), ("11", 1.0)]


@pytest.fixture(scope="module")
def floor():
    return tiny_learner("inner.lr=1e-9", "model.user_bias_damping=2", trained=False)


def test_with_item_and_user_bias_contributions_are_what_the_users_bias_loses(floor):
    """Bases 4.0 and 3.7 leave 1 and -1.7; the bias is their sum over their number and 2.

    With both (1 - 1.7) / 4, without the first -1.7 / 3, without the second 1 / 3.
    """
    explained = floor.adapt({"7": 5, "11": 2}).explain("13")
    assert [(each.item, each.title, each.rating) for each in explained] == [("11", "Beta", 2.0), ("7", "Alpha", 5.0)]
    assert [each.change for each in explained] == pytest.approx([-0.175 - 1 / 3, -0.175 + 1.7 / 3], abs=1e-5)


@pytest.mark.parametrize("name", COMBINATIONS)
def test_a_contribution_is_the_score_less_that_of_a_user_who_never_gave_the_rating(name):
    learner = tiny_learner(*COMBINATIONS[name])
    user = {"age": "25"}
    full = learner.adapt(RATINGS, user=user)
    items = torch.arange(len(ITEMS))
    found = {each.item: each.change for each in full.explain("19")}
    for index, (item, _) in enumerate(RATINGS):
        without = learner.adapt(RATINGS[:index] + RATINGS[index + 1 :], user=user)
        expected = (full._scores(items) - without._scores(items))[0, ITEMS.index("19")]
        assert found[item] == pytest.approx(expected.item(), abs=1e-5)


def test_the_largest_contribution_up_or_down_comes_first():
    changes = [abs(each.change) for each in tiny_learner().adapt(RATINGS).explain("19")]
    assert len(changes) == len(RATINGS)
    assert changes == sorted(changes, reverse=True)
    assert changes[0] > changes[-1]


def test_batches_of_supports_change_no_contribution(monkeypatch):
    user = tiny_learner("model.name=mf", "algorithm.name=ridge").adapt(RATINGS)
    together = user.explain_all(["19", "13"])
    monkeypatch.setattr("metarec.serving.explanation.ROWS_AT_ONCE", 1)
    for one, other in zip(together, user.explain_all(["19", "13"]), strict=True):
        assert [each.item for each in one] == [each.item for each in other]
        assert [each.change for each in one] == pytest.approx([each.change for each in other], abs=1e-5)


def test_an_event_is_left_out_with_its_own_negatives_and_the_others_keep_theirs(monkeypatch):
    events = ("data.source=tables", "tables.rating=", "task.num_negatives=1", "outer.loss=cross_entropy")
    learner, supports = tiny_learner(*events, head=Head("event", 0.0, 1.0)), []
    user, adapt = learner.adapt({"7": 1, "13": 1}), learner.module.adapt
    monkeypatch.setattr(learner.module, "adapt", lambda c, rows, seed: supports.append(rows) or adapt(c, rows, seed))
    user.explain("19")
    without, full = supports
    assert without.item.tolist() == [full.item[0, 2:].tolist(), full.item[0, :2].tolist()]
    assert without.position.tolist() == [[0, 0], [0, 0]]


def test_without_ratings_there_is_nothing_to_explain(floor):
    assert floor.adapt({}).explain("7") == []


def test_an_item_to_explain_must_be_known(floor):
    with pytest.raises(RequestError, match="item '8' is not among the 5 items"):
        floor.adapt({"7": 5}).explain("8")
