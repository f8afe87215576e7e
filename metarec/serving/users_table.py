"""The users of a table of ratings, each with her ratings together, as a model sees them that knows some items."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from metarec import storage
from metarec.config import TablesConfig
from metarec.data.cleaning import clean_ratings
from metarec.data.histories import TARGET
from metarec.data.identifiers import index_of
from metarec.data.source import ITEM, USER
from metarec.data.tables import Tables
from metarec.errors import RequestError
from metarec.schema import EVENT
from metarec.serving.learner import Learner

ITEMS, RATINGS = "items", "ratings"
"""The columns of a user's lists beside `user`."""


class UsersTable(NamedTuple):
    """Who is to be served, and what of the table cannot be used for that.

    Attributes:
        users: columns `user`, `items` and `ratings` (lists of one length, in the order of the rows); one row a user,
            those included who rated nothing that the model knows.
        num_rows: of the table.
        unknown: item ids that the model does not know, with the number of their rows.
        unusable: reason → number of the rows that were left out for it.
    """

    users: pa.Table
    num_rows: int
    unknown: dict[str, int]
    unusable: dict[str, int]


def read_users(learner: Learner, place: str, tables: TablesConfig) -> UsersTable:
    """Read a Parquet or CSV table with a user, an item and a rating in each row.

    Of several ratings of an item by a user the last counts.

    Args:
        learner: the model that is to serve them.
        place: path or URI of a file, or of a folder of files.
        tables: `user`, `item` and `rating` name the columns; of plain events no rating is read.

    Raises:
        RequestError: there is no such table, no row of it can be used, the model knows none of its items, or it adapts
            to items.
        DataError: a column is missing or of the wrong type, or a file is damaged.
    """
    head = learner.schema.heads[0]
    if learner.config.protocol.name == "item_tasks":
        raise RequestError("a model of item tasks adapts to one new item at a time; give its ratings with --ratings")
    if not storage.exists(place):
        raise RequestError(f"{place} does not exist; name a Parquet or CSV file of users, items and ratings")
    folder, name = storage.folder_and_name(place)
    columns = TablesConfig(
        ratings=name,
        user=tables.user,
        item=tables.item,
        rating="" if head.name == EVENT else tables.rating,
        timestamp="",
        low=head.low,
        high=head.high,
    )
    source = Tables(folder, columns)
    parts = source.parts()
    cleaned = [clean_ratings(source.read(part), (head,), file=part.file, part=part.number) for part in parts]
    unusable = _counts(pa.concat_tables([each.quarantined for each in cleaned])["reason"])
    usable = pa.concat_tables([each.usable for each in cleaned])
    if usable.num_rows == 0:
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in unusable.items()) or "it is empty"
        raise RequestError(f"no row of {place} can be used: {reasons}; give a user, an item and a rating in each row")
    found = _grouped(learner, usable, TARGET + head.name, unusable)
    if sum(found.unknown.values()) == usable.num_rows:
        examples = ", ".join(list(found.unknown)[:3])
        raise RequestError(
            f"the model knows none of the {len(found.unknown):,} items of {place} ({examples}, …); its own are named "
            f"like {', '.join(learner.item_ids[:3])}: give a table of the items that it was trained on"
        )
    return found


def _grouped(learner: Learner, rows: pa.Table, target: str, unusable: dict[str, int]) -> UsersTable:
    encoded = rows[USER].combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    user = encoded.indices.to_numpy().astype(np.int64)
    item = index_of(rows[ITEM], pa.array(learner.item_ids, pa.string()))
    kept = _last_of_each(user, item, len(learner.item_ids))
    lengths = np.bincount(user[kept], minlength=len(encoded.dictionary))
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    taken = rows.take(pa.array(kept))
    users = pa.table(
        {
            USER: encoded.dictionary,
            ITEMS: _lists(offsets, taken[ITEM]),
            RATINGS: _lists(offsets, taken[target]),
        }
    )
    return UsersTable(
        users,
        rows.num_rows + sum(unusable.values()),
        _counts(rows[ITEM].filter(pa.array(item < 0))),
        unusable,
    )


def _last_of_each(
    user: Int64[np.ndarray, " rows"], item: Int64[np.ndarray, " rows"], num_items: int
) -> Int64[np.ndarray, " kept"]:
    """The rows of known items, one a pair of user and item, by user and then as they stood."""
    known = np.flatnonzero(item >= 0)[::-1]
    _, last = np.unique(user[known] * num_items + item[known], return_index=True)
    kept = np.sort(known[last])
    ordered: Int64[np.ndarray, " kept"] = kept[np.argsort(user[kept], kind="stable")]
    return ordered


def _lists(offsets: pa.Array, values: pa.ChunkedArray) -> pa.ListArray:
    flat = values.combine_chunks()
    return pa.ListArray.from_arrays(offsets, flat.chunk(0) if isinstance(flat, pa.ChunkedArray) else flat)


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    """Each value with its number, the most frequent first."""
    counted = [(each["values"], each["counts"]) for each in column.value_counts().to_pylist()]
    return dict(sorted(counted, key=lambda pair: (-pair[1], pair[0])))
