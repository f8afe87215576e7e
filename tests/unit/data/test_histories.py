"""Ragged histories: taking and joining them, and their way through Parquet."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarec.data.histories import concatenate, from_table, task_schema
from tests.worlds import make_histories

TABLE = pa.table(
    {
        "user": [4, 7],
        "item": [[5, 2, 9], [1]],
        "timestamp": [[10, 20, None], [None]],
        "target.rating": [[3.0, None, 5.0], [1.0]],
        "target.click": [[None, 1.0, 0.0], [None]],
    },
    schema=task_schema(["rating", "click"]),
)


def rows_of(histories, index):
    span = slice(histories.offsets[index], histories.offsets[index + 1])
    return [leaf[span].tolist() for leaf in (histories.item, histories.target, histories.observed)]


def assert_same(first, second):
    for name in ("user", "offsets", "item", "target", "observed"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name


def test_a_table_becomes_the_histories_that_it_spells():
    histories = from_table(TABLE)
    assert histories.user.tolist() == [4, 7]
    assert rows_of(histories, 0) == [[5, 2, 9], [[3, 0], [0, 1], [5, 0]], [[True, False], [False, True], [True, True]]]
    assert rows_of(histories, 1) == [[1], [[1, 0]], [[True, False]]]


def test_parquet_and_chunks_change_nothing(tmp_path):
    pq.write_table(TABLE, tmp_path / "tasks.parquet", row_group_size=1)
    assert_same(from_table(pq.read_table(tmp_path / "tasks.parquet")), from_table(TABLE))
    chunked = pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)])
    assert_same(from_table(chunked), from_table(TABLE))


def test_a_slice_of_a_table_has_the_histories_of_its_rows_alone():
    histories = from_table(TABLE.slice(1))
    assert histories.offsets.tolist() == [0, 1]
    assert rows_of(histories, 0) == rows_of(from_table(TABLE), 1)


def test_an_empty_table_has_no_history_and_keeps_its_heads():
    histories = from_table(TABLE.slice(0, 0))
    assert len(histories) == 0
    assert histories.target.shape == (0, 2)


@given(st.lists(st.integers(0, 8), min_size=1, max_size=8), st.data())
def test_take_gives_each_history_whole_and_in_the_order_asked(lengths, data):
    histories = make_histories(*lengths)
    indices = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=10))
    taken = histories.take(np.array(indices, np.int64))
    assert taken.user.tolist() == histories.user[indices].tolist() if indices else len(taken) == 0
    assert [rows_of(taken, slot) for slot in range(len(indices))] == [rows_of(histories, index) for index in indices]


@given(st.lists(st.integers(0, 8), min_size=2, max_size=8), st.data())
def test_joining_the_parts_gives_the_whole(lengths, data):
    histories = make_histories(*lengths)
    cut = data.draw(st.integers(0, len(lengths)))
    parts = [histories.take(np.arange(0, cut)), histories.take(np.arange(cut, len(lengths)))]
    assert_same(concatenate(parts), histories)


@pytest.mark.parametrize("lengths", [(), (0,), (3, 0, 2)])
def test_lengths_and_owners_agree(lengths):
    histories = make_histories(*lengths)
    assert histories.lengths.tolist() == list(lengths)
    assert histories.row_history.tolist() == [owner for owner, n in enumerate(lengths) for _ in range(n)]
