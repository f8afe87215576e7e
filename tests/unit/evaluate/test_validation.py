"""The validation metric: what an evaluation would say of the same tasks, however they are shared out."""

import math

import numpy as np
import pytest
import torch

from metarec.data.histories import Histories
from metarec.data.negatives import NO_NEGATIVES, Negatives
from metarec.data.tasks import draw_tasks
from metarec.evaluate.protocol import evaluate
from metarec.evaluate.validation import ValidationTasks
from metarec.schema import Head
from tests.worlds import NUM_ITEMS, make_catalogue, make_histories

CATALOGUE = make_catalogue()
HISTORIES = make_histories(5, 7, 4, 12, 6, 9)
RATING, EVENT = Head("rating", 1.0, 5.0), Head("event", 0.0, 1.0)


def by_item(scores):
    """A predictor that says the score of the item."""
    return lambda catalogue, batch: torch.as_tensor(scores)[batch.query.item][..., None]


SCORES = by_item(np.linspace(7.0, 0.5, NUM_ITEMS))


def drawn(histories, *, negatives=NO_NEGATIVES):
    return draw_tasks(histories, seed=0, draw=0, num_query=3, negatives=negatives)


def measure(predict, batches, primary, head=RATING):
    return ValidationTasks(tuple(batches), head, primary).metric(predict, CATALOGUE, lambda total: total)


def events(*lengths):
    histories = make_histories(*lengths)
    return Histories(
        histories.user, histories.offsets, histories.item, np.ones_like(histories.target), histories.observed
    )


@pytest.mark.parametrize(("primary", "name"), [("mae", "mae"), ("rmse", "rmse"), ("ndcg@5", "ndcg_at_5")])
def test_it_is_what_an_evaluation_with_one_draw_says(primary, name):
    result = evaluate(
        {"scores": SCORES},
        CATALOGUE,
        HISTORIES,
        head=RATING,
        num_query=3,
        support_sizes=(),
        num_draws=1,
        seed=0,
    )
    halves = [drawn(HISTORIES.take(np.arange(3))), drawn(HISTORIES.take(np.arange(3, 6)))]
    assert measure(SCORES, halves, primary) == pytest.approx(result.value("scores", "all", name), rel=1e-6)


@pytest.mark.parametrize("primary", ["mae", "rmse", "ndcg@5"])
def test_two_workers_say_together_what_one_says_alone(primary):
    shares = [drawn(HISTORIES.take(np.array([0, 2]))), drawn(HISTORIES.take(np.array([1, 3, 4, 5])))]
    totals = []
    for share in shares:
        ValidationTasks((share,), RATING, primary).metric(
            SCORES, CATALOGUE, lambda total: totals.append(total) or total
        )
    together = ValidationTasks((), RATING, primary).metric(SCORES, CATALOGUE, lambda total: total + sum(totals))
    assert together == pytest.approx(measure(SCORES, shares, primary), rel=1e-12)


def test_a_better_order_of_events_and_negatives_has_a_higher_value():
    """One user who met items 0 to 4; whoever scores those above all others ranks perfectly."""
    histories = Histories(
        np.zeros(1, np.int64), np.array([0, 5]), np.arange(5), np.ones((5, 1), np.float32), np.ones((5, 1), bool)
    )
    batch = drawn(histories, negatives=Negatives(np.arange(NUM_ITEMS), 2))
    falling = np.linspace(1.0, 0.0, NUM_ITEMS)
    assert measure(by_item(falling), [batch], "ndcg@5", EVENT) == pytest.approx(1.0)
    assert measure(by_item(-falling), [batch], "ndcg@5", EVENT) < 0.5


def test_users_without_anything_to_rank_are_left_out_and_without_any_other_there_is_no_value():
    """The targets of the second user are all 0, so that no order of hers is better than another."""
    histories = events(5, 5)
    histories.target[5:] = 0
    one, none = histories.take(np.array([0])), histories.take(np.array([1]))
    both = measure(SCORES, [drawn(histories)], "ndcg@5", EVENT)
    assert both == measure(SCORES, [drawn(one)], "ndcg@5", EVENT)
    assert math.isnan(measure(SCORES, [drawn(none)], "ndcg@5", EVENT))


@pytest.mark.parametrize("primary", ["mae", "ndcg@5"])
def test_a_model_that_diverged_has_no_value(primary):
    assert math.isnan(measure(by_item(np.full(NUM_ITEMS, np.nan)), [drawn(HISTORIES)], primary))
