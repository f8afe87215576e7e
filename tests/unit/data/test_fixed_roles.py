"""Histories whose query is fixed by the protocol: through Parquet, taken, joined and drawn, each row keeps its role."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from metarec.config import TaskConfig
from metarec.data.histories import concatenate, from_table, task_schema
from metarec.data.tasks import draw_tasks, draw_training_tasks, task_sizes
from tests.worlds import make_histories

LENGTHS = (6, 3, 4, 2)
QUERY = np.array([0, 1, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1], bool)


@pytest.fixture
def histories():
    return dataclasses.replace(make_histories(*LENGTHS), query=QUERY)


def roles(histories, index):
    return histories.query[histories.offsets[index] : histories.offsets[index + 1]].tolist()


def test_a_column_of_parquet_fixes_the_roles_and_without_it_they_are_open():
    columns = {"user": [4, 7], "item": [[5, 2], [1]], "timestamp": [[1, 2], [3]], "target.rating": [[3.0, 4.0], [1.0]]}
    assert from_table(pa.table(columns, schema=task_schema(["rating"]))).query is None
    columns["query"] = [[False, True], [True]]
    fixed = pa.table(columns, schema=task_schema(["rating"], fixed_roles=True))
    assert from_table(fixed).query.tolist() == [False, True, True]
    assert from_table(fixed.slice(1)).query.tolist() == [True]
    assert from_table(fixed.slice(0, 0)).query.tolist() == []


def test_rows_keep_their_role_when_histories_are_taken_and_joined(histories):
    taken = histories.take(np.array([2, 0]))
    assert [roles(taken, 0), roles(taken, 1)] == [roles(histories, 2), roles(histories, 0)]
    joined = concatenate([histories.take(np.array([3])), taken])
    assert [roles(joined, i) for i in range(3)] == [roles(histories, i) for i in (3, 2, 0)]


@pytest.mark.parametrize("draw", [0, 1])
def test_every_draw_has_the_fixed_query_whatever_its_size_is_set_to(histories, draw):
    batch = draw_tasks(histories, seed=0, draw=draw, num_query=1)
    for index, (start, stop) in enumerate(zip(histories.offsets[:-1], histories.offsets[1:], strict=True)):
        own = np.arange(stop - start)
        for rows, fixed in ((batch.query, QUERY[start:stop]), (batch.support, ~QUERY[start:stop])):
            assert sorted(rows.position[index][rows.mask[index]].tolist()) == own[fixed].tolist()


def test_the_sizes_of_tasks_are_those_of_their_roles(histories):
    query, support = task_sizes(histories, 1)
    assert query.tolist() == [3, 1, 1, 2]
    assert support.tolist() == [3, 2, 3, 0]


def test_draws_differ_in_the_order_of_the_support():
    long = dataclasses.replace(make_histories(30), query=np.arange(30) >= 20)
    orders = {tuple(draw_tasks(long, seed=0, draw=draw, num_query=1).support.position[0].tolist()) for draw in range(3)}
    assert len(orders) == 3


def test_training_draws_its_roles_itself(histories):
    with pytest.raises(AssertionError, match="training draws its roles itself"):
        draw_training_tasks(histories, seed=0, epoch=0, task=TaskConfig())
