"""Ranking against the whole catalogue: who is a candidate, and what chance gives."""

import numpy as np
import pytest
import torch

from metarec.data.histories import Histories
from metarec.data.negatives import Negatives
from metarec.data.tasks import draw_tasks
from metarec.evaluate.candidates import WholeCatalogue
from metarec.evaluate.content import item_content
from metarec.evaluate.protocol import evaluate
from metarec.schema import Head
from metarec.task import Catalogue

HEAD, EVENT = Head("rating", 1.0, 5.0), Head("event", 0.0, 1.0)
NUM_ITEMS = 30
CATALOGUE = Catalogue({}, {}, torch.tensor([3.0]), torch.zeros(NUM_ITEMS, 1))


def elsewhere_of(items, users):
    """What users rated besides: items without a head."""
    item = np.array([each for own in items for each in own], np.int64)
    offsets = np.concatenate([[0], np.cumsum([len(own) for own in items], dtype=np.int64)])
    return Histories(
        np.array(users, np.int64), offsets, item, np.zeros((len(item), 0), np.float32), np.zeros((len(item), 0), bool)
    )


NOTHING = elsewhere_of([], [])


def histories_of(items, targets, users=None):
    lengths = [len(each) for each in items]
    return Histories(
        user=np.arange(len(items)) if users is None else np.asarray(users),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        item=np.concatenate(items).astype(np.int64),
        target=np.concatenate(targets).astype(np.float32)[:, None],
        observed=np.ones((sum(lengths), 1), bool),
    )


TWO = histories_of([[3, 5, 7, 9], [0, 1, 2, 3, 4]], [[5.0, 4.0, 1.0, 2.0], [5.0] * 5], users=[7, 2])


def run(predict, histories, *, head=HEAD, **changes):
    settings = {"num_query": 2, "support_sizes": (0,), "num_draws": 4, "seed": 0, "k": 3, **changes}
    whole = WholeCatalogue(NUM_ITEMS, NOTHING)
    return evaluate({"it": predict}, CATALOGUE, histories, head=head, candidates=whole, **settings)


def constant(catalogue, batch):
    return torch.zeros_like(batch.query.target)


def test_candidates_are_the_query_and_all_items_that_the_user_has_not_met():
    tasks = draw_tasks(TWO, seed=0, draw=0, num_query=2)
    query = WholeCatalogue(NUM_ITEMS, NOTHING).beside(tasks, TWO).query
    for task, met in enumerate(([3, 5, 7, 9], [0, 1, 2, 3, 4])):
        items = query.item[task][query.mask[task]].tolist()
        held_out = tasks.query.item[task].tolist()
        assert items[:2] == held_out
        assert sorted(items[2:]) == sorted(set(range(NUM_ITEMS)) - set(met))
    assert query.observed.sum(dim=(1, 2)).tolist() == [2, 2]
    assert query.user[query.mask].unique().tolist() == [2, 7]


def test_what_a_user_rated_elsewhere_is_no_candidate():
    elsewhere = elsewhere_of([[20, 21], [22]], users=[2, 3])
    tasks = draw_tasks(TWO, seed=0, draw=0, num_query=2)
    query = WholeCatalogue(NUM_ITEMS, elsewhere).beside(tasks, TWO).query
    assert not {20, 21} & set(query.item[1][query.mask[1]].tolist())
    assert {20, 21, 22} <= set(query.item[0][query.mask[0]].tolist())


def test_sampled_negatives_stand_once_among_the_candidates():
    events = histories_of([[3, 5, 7, 9], [0, 1, 2, 3, 4]], [[1.0] * 4, [1.0] * 5])
    tasks = draw_tasks(events, seed=0, draw=0, num_query=2, negatives=Negatives(np.arange(NUM_ITEMS), 2))
    query = WholeCatalogue(NUM_ITEMS, NOTHING).beside(tasks, events).query
    for task in (0, 1):
        items = query.item[task][query.mask[task]].tolist()
        assert len(items) == len(set(items)) == (28, 27)[task]


def test_errors_are_those_of_ranking_the_rated_items():
    def predict(catalogue, batch):
        return batch.query.item[..., None] / 10

    settings = {"num_query": 2, "support_sizes": (0,), "num_draws": 4, "seed": 0}
    rated = evaluate({"it": predict}, CATALOGUE, TWO, head=HEAD, **settings)
    assert run(predict, TWO).value("it", "all", "mae") == pytest.approx(rated.value("it", "all", "mae"), abs=1e-12)


def test_a_constant_scorer_finds_what_chance_finds():
    """A user with 5 ratings of 5: lists of 3 of 27 candidates, 2 of them relevant, hold 2 · 3 / 27 of them."""
    result = run(constant, histories_of([[0, 1, 2, 3, 4]], [[5.0] * 5]))
    assert result.num_candidates == 27
    assert result.value("it", "all", "precision_at_3") == pytest.approx(2 / 27)
    assert result.value("it", "all", "recall_at_3") == pytest.approx(3 / 27)
    assert result.value("it", "all", "auc") == pytest.approx(0.5)
    assert result.coverage_of("it", "all") == pytest.approx(3 / NUM_ITEMS)


def test_whoever_puts_the_held_out_ratings_first_is_perfect_and_disliked_ones_count_for_nothing():
    result = run(lambda catalogue, batch: batch.query.target, TWO)
    for metric in ("ndcg_at_5", "recall_at_3", "mrr", "auc"):
        assert result.value("it", "all", metric) == pytest.approx(1.0)
    wrong = run(lambda catalogue, batch: (batch.query.target == 1.0).float(), histories_of([[1, 2]], [[1.0, 5.0]]))
    assert wrong.value("it", "all", "precision_at_3") < 1 / 3


def test_users_without_a_relevant_query_item_are_left_out_and_counted():
    result = run(constant, histories_of([[0, 1, 2], [3, 4, 5]], [[1.0] * 3, [5.0] * 3]))
    assert result.num_undefined("precision_at_3") == 1
    assert result.num_undefined("mae") == 0
    assert result.value("it", "all", "hit_rate_at_3") > 0


def test_every_event_is_relevant_whatever_the_threshold_of_ratings():
    result = run(constant, histories_of([[0, 1, 2, 3]], [[1.0] * 4]), head=EVENT, relevant=4.0)
    assert result.value("it", "all", "precision_at_3") == pytest.approx(2 / 28)


def test_results_do_not_depend_on_the_batch():
    def predict(catalogue, batch):
        return torch.sin(batch.query.item[..., None] * 7.0)

    whole, single = (run(predict, TWO, tasks_per_batch=size) for size in (2, 1))
    np.testing.assert_allclose(single.user_values, whole.user_values, rtol=0, atol=1e-12)
    np.testing.assert_allclose(single.coverage, whole.coverage, rtol=0, atol=1e-12)


def test_content_is_the_known_values_of_an_items_features_as_a_vector_of_length_1():
    features = {
        "id": torch.arange(1, 4)[:, None],
        "genres": torch.tensor([[1, 2], [2, 0], [0, 0]]),
        "decade": torch.tensor([[1], [1], [0]]),
        "year": torch.tensor([[0.5], [0.5], [0.5]]),
    }
    content = item_content(Catalogue({}, features, torch.zeros(1), torch.zeros(3, 1)))
    dense = torch.zeros(3, content.num_features, dtype=torch.float64).scatter_add(1, content.feature, content.weight)
    cosines = dense @ dense.T
    assert cosines[0, 1].item() == pytest.approx(2 / 6**0.5)
    assert torch.diagonal(cosines).tolist() == pytest.approx([1, 1, 0])


def test_lists_of_like_items_are_less_diverse_than_lists_of_unlike_ones():
    features = {"genres": torch.tensor([[1], [1], [1], [2], [3], [4]])}
    catalogue = Catalogue({}, features, torch.tensor([3.0]), torch.zeros(6, 1))
    histories = histories_of([[0, 1, 2, 3, 4, 5]], [[5.0] * 6])
    settings = {"head": HEAD, "num_query": 6, "support_sizes": (), "num_draws": 1, "seed": 0, "k": 3}
    rising = {
        "same": lambda c, b: -b.query.item[..., None].float(),
        "different": lambda c, b: b.query.item[..., None].float(),
    }
    result = evaluate(rising, catalogue, histories, **settings)
    assert result.value("same", "all", "diversity_at_3") == pytest.approx(0.0)
    assert result.value("different", "all", "diversity_at_3") == pytest.approx(1.0)
