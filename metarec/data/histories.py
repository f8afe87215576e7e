"""The ratings of many users, one history after the other: how prepared tasks look in memory and in Parquet."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float32, Int64

TARGET = "target."
"""Prefix of the Parquet columns that hold a head's targets: `target.rating`, …"""
QUERY = "query"
"""The Parquet column of fixed roles; a file without it leaves them to be drawn."""
ELSEWHERE = "elsewhere"
"""The Parquet column of test tasks that holds the items which their users rated besides."""


@dataclass(frozen=True, eq=False)
class Histories:
    """Ragged histories: history h holds the rows `offsets[h]` to `offsets[h + 1]`, oldest first.

    Attributes:
        user: each history's user, an index into the catalogue.
        offsets: where each history starts, and the end of the last.
        item: each row's item, an index into the catalogue.
        target: what the user gave, per head; 0 where not observed.
        observed: whether the head was observed.
        query: whether a row is of the query, where a protocol fixes that; None = support and query are drawn.
    """

    user: Int64[np.ndarray, " histories"]
    offsets: Int64[np.ndarray, " histories_and_one"]
    item: Int64[np.ndarray, " rows"]
    target: Float32[np.ndarray, "rows heads"]
    observed: Bool[np.ndarray, "rows heads"]
    query: Bool[np.ndarray, " rows"] | None = None

    def __len__(self) -> int:
        """The number of histories."""
        return len(self.user)

    @property
    def lengths(self) -> Int64[np.ndarray, " histories"]:
        """Rows of each history."""
        return np.diff(self.offsets)

    @property
    def row_history(self) -> Int64[np.ndarray, " rows"]:
        """Which history each row belongs to."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def take(self, indices: Int64[np.ndarray, " taken"]) -> "Histories":
        """Some histories, in the order of `indices`."""
        lengths = self.lengths[indices]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = np.repeat(self.offsets[indices] - offsets[:-1], lengths) + np.arange(offsets[-1])
        query = None if self.query is None else self.query[rows]
        return Histories(self.user[indices], offsets, self.item[rows], self.target[rows], self.observed[rows], query)

    @cached_property
    def _by_user(self) -> Int64[np.ndarray, " histories"]:
        return np.argsort(self.user)

    def of_users(self, users: Int64[np.ndarray, " wanted"]) -> "Histories":
        """The histories of users, in their order: an empty one for who has none here. No user has two."""
        order = self._by_user
        place = np.searchsorted(self.user, users, sorter=order)
        known = place < len(self)
        known[known] = self.user[order[place[known]]] == users[known]
        found = self.take(order[place[known]])
        lengths = np.zeros(len(users), np.int64)
        lengths[known] = found.lengths
        return replace(found, user=users, offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def task_schema(heads: Sequence[str], *, fixed_roles: bool = False, elsewhere: bool = False) -> pa.Schema:
    """The Parquet schema of prepared tasks: one row a user, parallel lists, oldest rating first.

    Columns: `user` (index into users.parquet), `item` (indices into items.parquet), `timestamp` (unix seconds, null
    where unknown), for each head `target.<head>` (null where not observed), with fixed roles `query`, and of tasks that
    are ranked in the whole catalogue `elsewhere` (indices of what the user rated besides; a list of its own length).
    """
    columns = [("user", pa.int64()), ("item", pa.list_(pa.int64())), ("timestamp", pa.list_(pa.int64()))]
    columns += [(TARGET + head, pa.list_(pa.float32())) for head in heads]
    columns += [(QUERY, pa.list_(pa.bool_()))] if fixed_roles else []
    return pa.schema([*columns, (ELSEWHERE, pa.list_(pa.int64()))] if elsewhere else columns)


def from_table(table: pa.Table) -> Histories:
    """Histories of a table of `task_schema`, without what stands elsewhere; lists are parallel, none is null."""
    table = table.combine_chunks()
    heads = [name for name in table.column_names if name.startswith(TARGET)]
    if table.num_rows == 0:
        empty = np.zeros(0, np.int64)
        return Histories(
            empty,
            np.zeros(1, np.int64),
            empty,
            np.zeros((0, len(heads)), np.float32),
            np.zeros((0, len(heads)), bool),
            np.zeros(0, bool) if QUERY in table.column_names else None,
        )
    items = table["item"].chunk(0)
    offsets, item = items.offsets.to_numpy().astype(np.int64), items.flatten().to_numpy().astype(np.int64)
    target = np.zeros((len(item), len(heads)), np.float32)
    observed = np.zeros(target.shape, bool)
    for head, name in enumerate(heads):
        values = table[name].chunk(0).flatten()
        target[:, head] = values.fill_null(0.0).to_numpy(zero_copy_only=False)
        observed[:, head] = values.is_valid().to_numpy(zero_copy_only=False)
    return Histories(
        user=table["user"].to_numpy().astype(np.int64),
        offsets=offsets - offsets[0],
        item=item,
        target=target,
        observed=observed,
        query=_flat_roles(table),
    )


def elsewhere_from_table(table: pa.Table) -> Histories:
    """What the users of a table of `task_schema` rated besides, as histories without a head: items alone."""
    return from_table(table.select(["user", ELSEWHERE]).rename_columns(["user", "item"]))


def concatenate(parts: Sequence[Histories]) -> Histories:
    """Several histories as one, in order; at least one part is needed, and all fix their roles or none does."""
    lengths = np.concatenate([part.lengths for part in parts])
    return Histories(
        user=np.concatenate([part.user for part in parts]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        item=np.concatenate([part.item for part in parts]),
        target=np.concatenate([part.target for part in parts]),
        observed=np.concatenate([part.observed for part in parts]),
        query=_joined([part.query for part in parts]),
    )


def _flat_roles(table: pa.Table) -> Bool[np.ndarray, " rows"] | None:
    return np.asarray(table[QUERY].chunk(0).flatten(), bool) if QUERY in table.column_names else None


def _joined(roles: Sequence[Bool[np.ndarray, "..."] | None]) -> Bool[np.ndarray, " rows"] | None:
    fixed = [each for each in roles if each is not None]
    assert len(fixed) in (0, len(roles)), "roles are fixed in some parts alone"
    return np.concatenate(fixed) if fixed else None
