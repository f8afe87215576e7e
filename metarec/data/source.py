"""The contract of a source of ratings: what every reader gives, whatever its files look like.

A reader hands over what stands in its files, as raw values: judging them is `cleaning.py`'s. It is picklable, for parts
are read where there is room.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from metarec.data.histories import TARGET
from metarec.schema import FeatureKind, Head, Side

ID = "id"
"""The name of the item field that tells items apart; a source has no feature of this name on the item side."""
ROW, USER, ITEM, SCENARIO, TIMESTAMP, FAULT = "row", "user", "item", "scenario", "timestamp", "fault"


class RatingsPart(NamedTuple):
    """A piece of the ratings that is read at once.

    Attributes:
        number: counts the parts from 0; ratings have the order (part, row).
        file: the file, as messages and the quarantine name it.
        num_rows: how many rows it holds, roughly.
        start, stop: what of the file, in units of the reader's own; 0, 0 = all of it.
        first_row: the number of its first row in the file.
    """

    number: int
    file: str
    num_rows: int
    start: int = 0
    stop: int = 0
    first_row: int = 1


class SideTable(NamedTuple):
    """The users or the items of a source, one row each.

    Attributes:
        file: the file, as messages and the quarantine name it.
        row: each row's number in the file.
        id: raw ids as text; null where missing.
        title: what a person calls it, as text; null where missing.
        features: by name: text (categorical), lists of text (multi_valued), float64 (numeric), lists of float (dense).
        kinds: what each feature is.
        fault: why a row could not be read; null where it could.
    """

    file: str
    row: pa.ChunkedArray
    id: pa.ChunkedArray
    title: pa.ChunkedArray
    features: Mapping[str, pa.ChunkedArray]
    kinds: Mapping[str, FeatureKind]
    fault: pa.ChunkedArray


@runtime_checkable
class Source(Protocol):
    """Where ratings come from."""

    def heads(self) -> tuple[Head, ...]:
        """What users gave, and on which scale."""
        ...

    def parts(self) -> list[RatingsPart]:
        """The pieces of the ratings in order.

        Raises:
            DataError: a file or a column is missing or of a type that cannot be used.
        """
        ...

    def read(self, part: RatingsPart) -> pa.Table:
        """The raw ratings of a part, as `raw_ratings` makes them.

        Raises:
            DataError: the file cannot be read.
        """
        ...

    def side(self, side: Side) -> SideTable | None:
        """The users or the items with their features, where the source has a table of them.

        Raises:
            DataError: a file or a column is missing, unreadable or of a type that cannot be used.
        """
        ...

    def content_hash(self) -> str:
        """SHA-256 of everything that is read; equal content has an equal hash wherever it lies.

        Raises:
            DataError: a file is missing.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Where the ratings come from, for the manifest."""
        ...


def raw_ratings(
    *,
    row: pa.ChunkedArray | pa.Array,
    user: pa.ChunkedArray | pa.Array,
    item: pa.ChunkedArray | pa.Array,
    timestamp: pa.ChunkedArray | pa.Array | None,
    targets: Mapping[str, pa.ChunkedArray | pa.Array],
    scenario: pa.ChunkedArray | pa.Array | None = None,
    fault: pa.ChunkedArray | pa.Array | None = None,
) -> pa.Table:
    """Raw ratings as a table.

    Args:
        row: the number of each row in its file.
        user: ids as text; null where missing.
        item: ids as text; null where missing.
        timestamp: unix seconds as numbers or text, or Arrow times; None = the source has none.
        targets: by head, numbers or text.
        scenario: in which the rating was given, as text; None = the source has none.
        fault: why a row could not be read; null where it could; None = every row could.
    """
    num_rows = len(row)
    columns = {
        ROW: row,
        USER: user,
        ITEM: item,
        TIMESTAMP: pa.nulls(num_rows, pa.int64()) if timestamp is None else timestamp,
        SCENARIO: pa.nulls(num_rows, pa.string()) if scenario is None else scenario,
        FAULT: pa.nulls(num_rows, pa.string()) if fault is None else fault,
    }
    return pa.table(columns | {TARGET + head: values for head, values in targets.items()})


def side_table(
    file: str,
    ids: pa.ChunkedArray | pa.Array,
    features: Mapping[str, tuple[FeatureKind, pa.ChunkedArray | pa.Array]],
    *,
    title: pa.ChunkedArray | pa.Array | None = None,
    row: pa.ChunkedArray | pa.Array | None = None,
    fault: pa.ChunkedArray | pa.Array | None = None,
) -> SideTable:
    """A `SideTable`; without `row` rows count from 1, without `title` and `fault` there are none."""
    columns = pa.table(
        {
            "row": pa.array(np.arange(1, len(ids) + 1)) if row is None else row,
            "id": ids,
            "title": pa.nulls(len(ids), pa.string()) if title is None else title,
            "fault": pa.nulls(len(ids), pa.string()) if fault is None else fault,
        }
    )
    return SideTable(
        file=file,
        features={name: as_chunked(column) for name, (_, column) in features.items()},
        kinds={name: kind for name, (kind, _) in features.items()},
        **{name: columns[name] for name in columns.column_names},
    )


def as_chunked(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray:
    """A column as a chunked array."""
    return column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
