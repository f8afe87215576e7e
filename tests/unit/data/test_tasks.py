"""Draws of tasks: pure functions of seed, draw and user, that lose no rating and double none."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metarec.config import TaskConfig
from metarec.data.tasks import draw_tasks, draw_training_tasks, truncate_support
from metarec.task import select_tasks
from tests.worlds import make_histories

sizes = st.lists(st.integers(0, 15), min_size=1, max_size=8)
seeds = st.integers(0, 2**31)
TASK = TaskConfig(num_query=2, max_query=5, max_support=6)


def rows_of(rows, task):
    """The real rows of a task as (position, item, target), in order; padding must be what `Rows` says."""
    mask = rows.mask[task]
    for leaf in (rows.user, rows.item, rows.position, rows.target, rows.observed):
        assert not leaf[task][~mask].any()
    columns = (rows.position[task][mask], rows.item[task][mask], rows.target[task][mask, 0])
    return list(zip(*(column.tolist() for column in columns), strict=True))


def history_rows(histories, index):
    span = slice(histories.offsets[index], histories.offsets[index + 1])
    return list(
        zip(range(histories.lengths[index]), histories.item[span], histories.target[span, 0].tolist(), strict=True)
    )


def tasks_of(batch):
    """Each task by its user: support rows, query rows and seed."""
    return [
        (rows_of(batch.support, task), rows_of(batch.query, task), int(batch.task_seed[task]))
        for task in range(batch.num_tasks)
    ]


@given(sizes, seeds, st.integers(0, 50), st.integers(1, 12))
def test_support_and_query_are_disjoint_and_together_the_whole_history(lengths, seed, draw, num_query):
    histories = make_histories(*lengths)
    for index, (support, query, _) in enumerate(
        tasks_of(draw_tasks(histories, seed=seed, draw=draw, num_query=num_query))
    ):
        assert len(query) == min(lengths[index], num_query)
        assert sorted(support + query) == history_rows(histories, index)


@given(sizes, seeds, st.integers(0, 50))
def test_a_training_task_has_every_row_at_most_once_and_keeps_its_bounds(lengths, seed, epoch):
    histories = make_histories(*lengths)
    for index, (support, query, _) in enumerate(
        tasks_of(draw_training_tasks(histories, seed=seed, epoch=epoch, task=TASK))
    ):
        rows, length = support + query, lengths[index]
        assert len(set(rows)) == len(rows)
        assert set(rows) <= set(history_rows(histories, index))
        assert len(support) <= min(TASK.max_support, max(length - TASK.num_query, 0))
        assert len(query) == min(length - len(support), TASK.max_query)


@pytest.mark.parametrize("training", [False, True])
@given(lengths=sizes, seed=seeds, data=st.data())
def test_a_draw_is_the_same_in_any_company_and_order(training, lengths, seed, data):
    histories = make_histories(*lengths)
    order = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=6))

    def draw(some):
        if training:
            return tasks_of(draw_training_tasks(some, seed=seed, epoch=3, task=TASK))
        return tasks_of(draw_tasks(some, seed=seed, draw=3, num_query=2))

    together = draw(histories)
    assert draw(histories.take(np.array(order))) == [together[index] for index in order]


def test_users_draws_and_seeds_draw_differently():
    """Three histories of the same 12 items; then other draws and seeds of the first."""
    histories = make_histories(12, 12, 12)
    users = [task[0] for task in tasks_of(draw_tasks(histories, seed=0, draw=0, num_query=2))]
    orders = [[position for position, *_ in support] for support in users]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    pairs = [(seed, draw) for seed in range(4) for draw in range(4)]
    seen = {str(tasks_of(draw_tasks(histories, seed=seed, draw=draw, num_query=2))[0]) for seed, draw in pairs}
    assert len(seen) == len(pairs)


def test_a_draw_takes_every_row_into_the_query_equally_often():
    """3,000 draws of 2 query rows out of 10: each row 600 times, give or take 4 standard deviations (88)."""
    histories = make_histories(10)
    counts = np.zeros(10)
    for draw in range(3000):
        counts[draw_tasks(histories, seed=1, draw=draw, num_query=2).query.position[0].numpy()] += 1
    assert np.abs(counts - 600).max() < 88


def test_a_smaller_support_is_nested_in_every_larger_one_with_the_same_query():
    batch = draw_tasks(make_histories(9, 3, 6), seed=0, draw=0, num_query=2)
    for smaller, larger in ((0, 1), (1, 3), (3, 7)):
        few, many = truncate_support(batch, smaller), truncate_support(batch, larger)
        for task in range(3):
            assert rows_of(few.support, task) == rows_of(many.support, task)[:smaller]
            assert rows_of(few.query, task) == rows_of(batch.query, task)


def test_who_has_fewer_ratings_than_asked_keeps_all():
    batch = draw_tasks(make_histories(9, 3), seed=0, draw=0, num_query=2)
    assert truncate_support(batch, 3).support.mask.sum(1).tolist() == [3, 1]


def test_slices_of_a_batch_are_its_tasks():
    batch = draw_tasks(make_histories(9, 3, 6, 4), seed=0, draw=0, num_query=2)
    assert tasks_of(select_tasks(batch, torch.arange(1, 3))) == tasks_of(batch)[1:3]


@pytest.mark.parametrize(("subsample", "reached"), [(True, set(range(7))), (False, {6})])
def test_training_supports_reach_every_size_exactly_where_they_are_subsampled(subsample, reached):
    """Histories of 20 rows leave 18 for the support, which takes at most 6."""
    task = TaskConfig(num_query=2, max_query=5, max_support=6, subsample_support=subsample)
    batch = draw_training_tasks(make_histories(*[20] * 300), seed=0, epoch=0, task=task)
    assert set(batch.support.mask.sum(1).tolist()) == reached
    assert batch.query.mask.sum(1).unique().tolist() == [5]


def test_half_of_the_training_supports_keep_their_full_size():
    """Half are cut to 0 … 6 log-uniformly, so 6 comes from the other half alone: 1,000 of 2,000, +- 4 deviations."""
    batch = draw_training_tasks(make_histories(*[20] * 2000), seed=5, epoch=1, task=TASK)
    assert abs(int((batch.support.mask.sum(1) == 6).sum()) - 1000) < 90


@pytest.mark.parametrize("lengths", [(), (0,), (0, 0)])
def test_empty_histories_give_tasks_without_rows(lengths):
    for batch in (
        draw_tasks(make_histories(*lengths), seed=0, draw=0, num_query=2),
        draw_training_tasks(make_histories(*lengths), seed=0, epoch=0, task=TASK),
    ):
        assert batch.num_tasks == len(lengths)
        assert batch.support.mask.shape == batch.query.mask.shape == (len(lengths), 0)


def test_a_history_as_long_as_the_query_has_an_empty_support():
    batch = draw_tasks(make_histories(2, 5), seed=0, draw=0, num_query=2)
    assert batch.support.mask.sum(1).tolist() == [0, 3]
    assert batch.query.mask.sum(1).tolist() == [2, 2]


def test_every_head_keeps_its_own_observations():
    histories = make_histories(8, 5, num_heads=2, observed=0.5)
    batch = draw_tasks(histories, seed=0, draw=0, num_query=3)
    for rows in (batch.support, batch.query):
        for task in range(2):
            positions = rows.position[task][rows.mask[task]].numpy() + histories.offsets[task]
            assert np.array_equal(rows.observed[task][rows.mask[task]].numpy(), histories.observed[positions])
            assert np.array_equal(rows.target[task][rows.mask[task]].numpy(), histories.target[positions])


def test_task_seeds_are_not_negative_and_differ():
    seeds = draw_tasks(make_histories(*[3] * 500), seed=0, draw=0, num_query=2).task_seed
    assert (seeds >= 0).all()
    assert len(seeds.unique()) == 500


def test_in_time_the_first_rows_are_the_support_in_order_and_the_last_are_the_query():
    for draw in range(3):
        batch = draw_tasks(make_histories(7, 3), seed=draw, draw=draw, num_query=2, in_time=True)
        assert batch.support.position[0].tolist() == [0, 1, 2, 3, 4]
        assert batch.support.position[1][batch.support.mask[1]].tolist() == [0]
        assert sorted(batch.query.position[0].tolist()) == [5, 6]
        assert truncate_support(batch, 2).support.position[0].tolist() == [0, 1]


@given(sizes, seeds, st.integers(0, 50))
def test_in_time_a_training_support_is_what_came_first_and_every_query_row_is_later(lengths, seed, epoch):
    histories = make_histories(*lengths)
    drawn = draw_training_tasks(histories, seed=seed, epoch=epoch, task=TASK, in_time=True)
    for index, (support, query, _) in enumerate(tasks_of(drawn)):
        assert support == history_rows(histories, index)[: len(support)]
        assert all(position >= len(support) for position, *_ in query)
        assert len(set(query)) == len(query) == min(lengths[index] - len(support), TASK.max_query)


def test_in_time_training_supports_still_meet_every_size():
    batch = draw_training_tasks(make_histories(*[20] * 300), seed=0, epoch=0, task=TASK, in_time=True)
    assert set(batch.support.mask.sum(1).tolist()) == set(range(7))


@pytest.mark.parametrize("redraw", [True, False])
def test_each_epoch_draws_anew_exactly_where_it_is_told_to(redraw):
    """Five epochs of a history of 20 rows: five tasks, or one."""
    task = TaskConfig(num_query=2, max_query=5, max_support=6, redraw=redraw)
    drawn = [str(tasks_of(draw_training_tasks(make_histories(20), seed=1, epoch=e, task=task))) for e in range(5)]
    assert len(set(drawn)) == (5 if redraw else 1)
    anew = draw_training_tasks(make_histories(20), seed=1, epoch=0, task=TASK)
    assert drawn[0] == str(tasks_of(anew))
