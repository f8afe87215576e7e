"""Sampled negatives: never met, never twice, the same in any company, and each behind its own row."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metarec.config import TaskConfig
from metarec.data.histories import Histories
from metarec.data.negatives import NO_NEGATIVES, Negatives, draw_negatives
from metarec.data.tasks import draw_tasks, draw_training_tasks, truncate_support
from metarec.task import Catalogue
from tests.worlds import make_catalogue, make_histories

TASK = TaskConfig(num_query=2, max_query=5, max_support=6)
MANY = Negatives(np.arange(200), 3)
lengths = st.lists(st.integers(0, 15), min_size=1, max_size=6)


def draw(histories, negatives=MANY, *, seed=0, training=False):
    if training:
        return draw_training_tasks(histories, seed=seed, epoch=4, task=TASK, negatives=negatives)
    return draw_tasks(histories, seed=seed, draw=4, num_query=2, negatives=negatives)


def grouped(rows, task, num=3):
    """Each real row of a task as (item, target, position), followed by those of its negatives."""
    columns = (rows.item[task], rows.target[task, :, 0], rows.position[task])
    found = list(zip(*(column.tolist() for column in columns), strict=True))
    real = rows.mask[task].tolist()
    return [
        [row for row, is_real in zip(found[start : start + 1 + num], real[start:], strict=False) if is_real]
        for start in range(0, len(found), 1 + num)
        if real[start]
    ]


def tasks_of(batch):
    return [(grouped(batch.support, task), grouped(batch.query, task)) for task in range(batch.num_tasks)]


@pytest.mark.parametrize("training", [False, True])
@given(lengths, st.integers(0, 2**31))
def test_no_negative_stands_in_the_history_and_none_stands_twice(training, sizes, seed):
    histories = make_histories(*sizes)
    for index, (support, query) in enumerate(tasks_of(draw(histories, seed=seed, training=training))):
        own = histories.item[histories.offsets[index] : histories.offsets[index + 1]]
        negatives = [item for group in support + query for item, *_ in group[1:]]
        assert len(set(negatives)) == len(negatives) == 3 * len(support + query)
        assert not set(negatives) & set(own.tolist())


@pytest.mark.parametrize("training", [False, True])
@given(lengths, st.integers(0, 2**31))
def test_the_rows_between_the_negatives_are_those_that_stand_there_without(training, sizes, seed):
    histories = make_histories(*sizes)
    pairs = zip(
        tasks_of(draw(histories, seed=seed, training=training)),
        draw(histories, NO_NEGATIVES, seed=seed, training=training).support.item,
        draw(histories, NO_NEGATIVES, seed=seed, training=training).query.item,
        strict=True,
    )
    for (support, query), support_items, query_items in pairs:
        assert [group[0][0] for group in support] == support_items[: len(support)].tolist()
        assert [group[0][0] for group in query] == query_items[: len(query)].tolist()


@given(lengths, st.integers(0, 2**31))
def test_what_a_user_met_elsewhere_is_no_negative_and_the_others_keep_their_order(sizes, seed):
    """Everybody met the first half of the pool elsewhere."""
    histories, half = make_histories(*sizes), np.tile(np.arange(100), len(sizes))
    no_head = np.zeros((len(half), 0), np.float32)
    elsewhere = Histories(histories.user, 100 * np.arange(len(sizes) + 1), half, no_head, no_head.astype(bool))
    places = {"seed": seed, "draw": 4, "num_places": 15}
    drawn = draw_negatives(Negatives(np.arange(200), 3, elsewhere), histories, **places)
    assert drawn.mask.all()
    assert (drawn.item >= 100).all()
    whole = draw_negatives(Negatives(np.arange(200), 13), histories, **places).item.reshape(len(sizes), -1)
    kept = [[item for item in own if item >= 100][:45] for own in whole.tolist()]
    assert drawn.item.reshape(len(sizes), -1).tolist() == kept


def test_a_negative_has_target_0_and_the_position_of_its_row():
    for support, query in tasks_of(draw(make_histories(9, 4))):
        for positive, *negatives in support + query:
            assert [(target, position) for _, target, position in negatives] == [(0.0, positive[2])] * 3


def test_of_a_negative_the_first_head_alone_is_observed():
    batch = draw(make_histories(5, 3, num_heads=3))
    for rows in (batch.support, batch.query):
        negative = rows.mask & (torch.arange(rows.mask.shape[1]) % 4 > 0)
        assert negative.any()
        assert rows.observed[negative].tolist() == [[True, False, False]] * int(negative.sum())
        assert not rows.target[negative].any()


@pytest.mark.parametrize("training", [False, True])
@given(sizes=lengths, data=st.data())
def test_negatives_are_the_same_in_any_company_and_order(training, sizes, data):
    histories = make_histories(*sizes)
    order = data.draw(st.lists(st.integers(0, len(sizes) - 1), min_size=1, max_size=6))
    together = tasks_of(draw(histories, training=training))
    alone = tasks_of(draw(histories.take(np.array(order)), training=training))
    assert alone == [together[index] for index in order]


def test_users_draws_and_seeds_have_other_negatives():
    histories = make_histories(8, 8)
    drawn = [
        draw_negatives(MANY, histories, seed=seed, draw=number, num_places=8).item[user].tolist()
        for seed in (0, 1)
        for number in (0, 1)
        for user in (0, 1)
    ]
    assert len({str(each) for each in drawn}) == 8


def test_every_item_is_drawn_equally_often():
    """4,000 users who met items 0 and 1; each of the other 8 is their one negative 500 times, +- 4.5 deviations."""
    num_users = 4000
    histories = Histories(
        user=np.arange(num_users),
        offsets=2 * np.arange(num_users + 1),
        item=np.tile([0, 1], num_users),
        target=np.ones((2 * num_users, 1), np.float32),
        observed=np.ones((2 * num_users, 1), bool),
    )
    drawn = draw_negatives(Negatives(np.arange(10), 1), histories, seed=2, draw=0, num_places=1)
    counts = np.bincount(drawn.item.reshape(-1), minlength=10)
    assert counts[:2].tolist() == [0, 0]
    assert np.abs(counts[2:] - 500).max() < 4.5 * (4000 / 8 * 7 / 8) ** 0.5


def test_where_negatives_run_out_the_query_has_them_first_and_the_rest_is_padding():
    """A history of 4 of 9 items leaves 5 negatives: 3 and 2 for the query rows, none for the support."""
    histories = make_histories(4)
    pool = Negatives(np.union1d(histories.item, np.arange(20, 25)), 3)
    batch = draw(histories, pool)
    assert batch.query.mask.tolist() == [[True] * 4 + [True] * 3 + [False]]
    assert batch.support.mask.tolist() == [[True, False, False, False] * 2]
    for rows in (batch.query, batch.support):
        for leaf in (rows.user, rows.item, rows.position, rows.target, rows.observed):
            assert not leaf[~rows.mask].any()


def test_a_truncated_support_keeps_the_negatives_of_what_it_keeps():
    batch = draw(make_histories(9, 3, 6))
    for size in (0, 1, 3):
        few = truncate_support(batch, size, num_negatives=3)
        for task in range(3):
            assert grouped(few.support, task) == grouped(batch.support, task)[:size]
        assert torch.equal(few.query.item, batch.query.item)


def test_the_negatives_of_the_query_are_the_same_whatever_the_support():
    one, other = (
        draw_training_tasks(make_histories(20, 20), seed=0, epoch=0, task=task, negatives=MANY)
        for task in (TaskConfig(2, 5, 6, False), TaskConfig(2, 5, 1, False))
    )
    assert torch.equal(one.query.item, other.query.item)


@pytest.mark.parametrize("sizes", [(), (0,), (0, 0)])
def test_empty_histories_have_no_negatives(sizes):
    batch = draw(make_histories(*sizes))
    assert batch.support.mask.shape == batch.query.mask.shape == (len(sizes), 0)


def test_negatives_are_of_the_items_that_training_knows():
    """Items 0 and 2 have index 0 in the vocabulary of ids: no training event."""
    ids = torch.tensor([[0], [1], [0], [2]])
    catalogue = Catalogue({}, {"id": ids}, torch.zeros(1), torch.zeros(4, 1))
    assert Negatives.among_known(catalogue, 2).items.tolist() == [1, 3]
    assert Negatives.among_known(make_catalogue(), 0) is NO_NEGATIVES
