"""From clean rows of whole users to their histories: duplicates resolved, short users left out, oldest rating first."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int64

from metarec.data import quarantine
from metarec.data.cleaning import PART, Cleaned
from metarec.data.histories import TARGET, task_schema
from metarec.data.source import ITEM, ROW, TIMESTAMP, USER

_NO_TIME = np.int64(-1)
"""Stands for an unknown time, so that it sorts first."""


def group_ratings(
    rows: pa.Table, *, min_ratings: int, files: Sequence[str], too_few: str = quarantine.TOO_FEW
) -> Cleaned:
    """Keep the latest rating of each (user, item) pair and the users who have enough of them.

    Args:
        rows: `Cleaned.usable` of several parts, in order of part and row; all rows of a user are here.
        min_ratings: users with fewer pairs are put aside.
        files: the file of each part.
        too_few: the reason of those who are put aside.

    Returns:
        The kept rows sorted by user, time (unknown first) and place, and the others for the quarantine.
    """
    user, item = _codes(rows[USER]), _codes(rows[ITEM])
    time = pc.fill_null(rows[TIMESTAMP], _NO_TIME).to_numpy()
    in_time = np.argsort(time, kind="stable")
    by_time = _sort_again(in_time, user)
    by_pair = _sort_again(_sort_again(in_time, item), user)
    same_as_next = (np.diff(user[by_pair]) == 0) & (np.diff(item[by_pair]) == 0)
    duplicate = np.zeros(len(user), bool)
    duplicate[by_pair[:-1][same_as_next]] = True
    ratings = np.bincount(user[~duplicate], minlength=int(user.max(initial=-1)) + 1)
    short = ~duplicate & (ratings[user] < min_ratings)
    kept = by_time[~(duplicate | short)[by_time]]
    reason = np.where(duplicate, quarantine.DUPLICATE, too_few)
    aside = np.flatnonzero(duplicate | short)
    return Cleaned(rows.take(pa.array(kept)), _quarantine(rows.take(pa.array(aside)), reason[aside], files))


def to_tasks(
    rows: pa.Table,
    heads: Sequence[str],
    *,
    user: Int64[np.ndarray, " rows"],
    item: Int64[np.ndarray, " rows"],
    query: Bool[np.ndarray, " rows"] | None = None,
    elsewhere: pa.ListArray | None = None,
) -> pa.Table:
    """One row a user, in the schema of prepared tasks.

    Args:
        rows: kept rows; those of a user stand together, oldest first.
        heads: the names of the heads.
        user: each row's user index.
        item: each row's item index.
        query: whether each row is of the query, where roles are fixed.
        elsewhere: the items that each user rated besides, where tasks are to tell.
    """
    start = np.flatnonzero(np.diff(user, prepend=-1))
    offsets = pa.array(np.append(start, len(user)).astype(np.int32))

    def as_lists(values: pa.Array | pa.ChunkedArray) -> pa.ListArray:
        values = pa.chunked_array([values]) if isinstance(values, pa.Array) else values
        return pa.ListArray.from_arrays(offsets, pa.concat_arrays([pa.array([], values.type), *values.chunks]))

    columns = [pa.array(user[start]), as_lists(pa.array(item)), as_lists(rows[TIMESTAMP])]
    columns += [as_lists(rows[TARGET + head].cast(pa.float32())) for head in heads]
    columns += [] if query is None else [as_lists(pa.array(query))]
    columns += [] if elsewhere is None else [elsewhere]
    return pa.table(columns, schema=task_schema(heads, fixed_roles=query is not None, elsewhere=elsewhere is not None))


def rated_elsewhere(
    chosen: Bool[np.ndarray, " rows"], *, user: Int64[np.ndarray, " rows"], item: Int64[np.ndarray, " rows"]
) -> pa.ListArray:
    """The items of the other rows of each user who has a chosen one.

    Args:
        chosen: which rows make the users' tasks.
        user: each row's user index, ascending.
        item: each row's item index; none stands twice for a user.

    Returns:
        A list for each of these users, ascending.
    """
    owners = np.unique(user[chosen])
    other = ~chosen & np.isin(user, owners)
    offsets = np.append(np.searchsorted(user[other], owners), other.sum()).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(item[other]))


def _codes(column: pa.ChunkedArray) -> Int64[np.ndarray, " rows"]:
    """Texts as whole numbers, equal where the texts are equal."""
    encoded = pc.dictionary_encode(column).unify_dictionaries()
    indices = [chunk.indices.to_numpy() for chunk in encoded.chunks]
    return np.concatenate([np.zeros(0, np.int64), *indices]).astype(np.int64)


def _sort_again(order: Int64[np.ndarray, " rows"], key: Int64[np.ndarray, " rows"]) -> Int64[np.ndarray, " rows"]:
    """Rows in another order, by a key of whole numbers from 0; of equal keys the first stays first."""
    # numpy sorts numbers of at most 16 bits by counting, ten times faster than wider ones
    narrow = key.astype(np.min_scalar_type(key.max(initial=0)))
    return order[np.argsort(narrow[order], kind="stable")]


def _quarantine(rows: pa.Table, reason: np.ndarray, files: Sequence[str]) -> pa.Table:
    return quarantine.put_aside(
        file=pa.array(files, pa.string()).take(rows[PART].combine_chunks()),
        row=rows[ROW],
        user=rows[USER],
        item=rows[ITEM],
        **quarantine.describe_targets(rows),
        timestamp=rows[TIMESTAMP],
        reason=pa.array(reason, pa.string()),
    )
