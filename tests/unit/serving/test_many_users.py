"""Many users at once are what each of them is alone, by whichever way items are scored."""

import pytest
import torch

from metarec.algorithms.all_items import score_items
from metarec.contracts import FactorisedRecommender, LinearAlgorithm
from metarec.data.negatives import Negatives
from metarec.errors import RequestError
from metarec.schema import Head
from metarec.serving.many_users import recommend_to_all
from metarec.task import TaskBatch
from tests.tiny_learner import ITEMS, tiny_learner

COMBINATIONS = {
    "maml on melu": (),
    "maml on mf": ("model.name=mf",),
    "ridge on mf": ("algorithm.name=ridge", "model.name=mf"),
    "ridge on mf with item bias": ("algorithm.name=ridge", "model.name=mf", "model.residual='none'"),
    "ridge on linear": ("algorithm.name=ridge", "model.name=linear"),
    "ridge on melu": ("algorithm.name=ridge",),
    "transformer": ("algorithm.name=joint", "model.name=transformer"),
}
RATINGS = [{"7": 5.0, "13": 2.0}, {}, [("19", 1.0), ("17", 4.0), ("11", 3.0)], {"13": 5.0}]
USERS = [{"age": "18"}, {}, {"tastes": "jazz|opera", "height": 180}, {"survey": [0.5, -1.0], "age": "25"}]


@pytest.fixture(params=COMBINATIONS)
def learner(request):
    return tiny_learner(*COMBINATIONS[request.param])


def test_many_users_at_once_get_what_each_of_them_gets_alone(learner):
    served = recommend_to_all(learner, RATINGS, users=USERS, k=2)
    for ratings, user, together in zip(RATINGS, USERS, served, strict=True):
        alone = learner.adapt(ratings, user=user).recommend(k=2)
        assert [each.item for each in together.best] == [each.item for each in alone]
        assert [each.score for each in together.best] == pytest.approx([each.score for each in alone], abs=1e-5)
        assert together.unknown == ()


def test_a_user_gets_the_numbers_of_the_evaluation(learner):
    """`module.predict` on a batch of tasks, padded, is what evaluation judges."""
    items = [[ITEMS.index(item) for item in dict(ratings)] for ratings in RATINGS]
    values = [list(dict(ratings).values()) for ratings in RATINGS]
    catalogue, _ = learner.adapt_all(items, values, USERS)
    support = learner.rows(items, values)
    query = learner.rows([range(5)] * 4, [[1.0] * 5] * 4)
    predicted = learner.module.predict(catalogue, TaskBatch(support, query, torch.zeros(4, dtype=torch.int64)))
    for ratings, user, expected in zip(RATINGS, USERS, predicted[..., 0].clamp(1, 5), strict=True):
        assert learner.adapt(ratings, user=user).predict(ITEMS) == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.parametrize("name", ["ridge on mf", "ridge on mf with item bias", "ridge on linear"])
def test_one_product_of_matrices_scores_as_rows_of_pairs_do(name):
    learner = tiny_learner(*COMBINATIONS[name])
    learner.module.double()
    with torch.no_grad():
        learner.module.algorithm.prior.normal_()
    catalogue, state = learner.adapt_all([[0, 2], [1, 3]], [[5.0, 1.0], [2.0, 3.0]], USERS[2:])
    items = torch.tensor([4, 0, 3])
    assert isinstance(learner.module.model, FactorisedRecommender)
    assert isinstance(learner.module.algorithm, LinearAlgorithm)
    assert learner.module.model.item_factors(catalogue, items) is not None
    query = learner.rows([items.tolist()] * 2, [[1.0] * 3] * 2)
    expected = learner.module.score(catalogue, state, query)
    assert torch.allclose(score_items(learner.module, catalogue, state, torch.arange(2), items), expected, atol=1e-10)


def test_events_get_the_same_negatives_at_once_and_alone():
    settings = ("data.source=tables", "data.path=x", "tables.ratings=x", "tables.rating=''", "task.num_negatives=2")
    learner = tiny_learner(*settings, "outer.loss=cross_entropy", head=Head("event", 0.0, 1.0))
    assert Negatives.among_known(learner.catalogue, 2).num == 2
    events = [{"7": 1}, {"11": 1, "13": 1}, {}]
    for own, together in zip(events, recommend_to_all(learner, events, k=2), strict=True):
        alone = learner.adapt(own).recommend(k=2)
        assert [each.score for each in together.best] == pytest.approx([each.score for each in alone], abs=1e-5)


def test_items_that_are_unknown_are_reported_and_left_out(learner):
    with_unknown, without = recommend_to_all(learner, [{"7": 5, "absent": 3, "lost": 9}, {"7": 5}], k=3)
    assert with_unknown.unknown == ("absent", "lost")
    assert [each.item for each in with_unknown.best] == [each.item for each in without.best]
    assert [each.score for each in with_unknown.best] == pytest.approx([each.score for each in without.best], abs=1e-5)


def test_who_has_fewer_items_left_gets_fewer(learner):
    first, second = recommend_to_all(learner, [dict.fromkeys(ITEMS[:4], 3), {}], k=5)
    assert [each.item for each in first.best] == ["19"]
    assert len(second.best) == 5


def test_users_keep_their_places_whatever_the_size_of_batches(learner, monkeypatch):
    together = recommend_to_all(learner, RATINGS, users=USERS, k=3)
    monkeypatch.setattr("metarec.serving.many_users.USERS_AT_ONCE", 2)
    monkeypatch.setattr("metarec.algorithms.all_items.ROWS_AT_ONCE", 6)
    for one, other in zip(together, recommend_to_all(learner, RATINGS, users=USERS, k=3), strict=True):
        assert [each.item for each in one.best] == [each.item for each in other.best]
        assert [each.score for each in one.best] == pytest.approx([each.score for each in other.best], abs=1e-5)


@pytest.mark.parametrize(
    ("ratings", "k", "sentence"),
    [
        ({"7": 6}, 1, "item '7' has rating 6; use 1 to 5"),
        ([("7", 3), ("7", 4)], 1, "item '7' has 2 ratings"),
        ({"7": 3}, 0, "k is 0; use 1 to 5, the items that may be recommended"),
        ({"7": 3}, 6, "k is 6; use 1 to 5"),
    ],
)
def test_what_cannot_be_used_is_refused(learner, ratings, k, sentence):
    with pytest.raises(RequestError, match=sentence):
        recommend_to_all(learner, [{}, ratings], k=k)
