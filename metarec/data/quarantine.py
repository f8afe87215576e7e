"""Rows that are put aside: what the quarantine files hold, how they are counted, and when there are too many.

No row is dropped in silence: each stands in a file with its place, its raw values as text and the reason.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from metarec.data.histories import TARGET
from metarec.errors import DataError
from metarec.schema import ITEM_TASKS, SCENARIO_TRANSFER

FOLDER = "quarantine"
"""Under the dataset's URI."""
TOO_FEW = "the user has too few usable ratings"
DUPLICATE = "duplicate: the user has a later rating of the same item"
TOO_FEW_RATERS = "the item has too few usable ratings"
TOO_FEW_IN_SCENARIO = "the user has too few usable ratings in the scenario"
TOO_FEW_OF = {ITEM_TASKS: TOO_FEW_RATERS, SCENARIO_TRANSFER: TOO_FEW_IN_SCENARIO}
"""By protocol, where it is not `TOO_FEW`."""
TOLERATED = (TOO_FEW, TOO_FEW_RATERS, TOO_FEW_IN_SCENARIO, DUPLICATE)
"""Reasons that say nothing against the row itself and do not count against `data.max_quarantined`."""

SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),
        ("user", pa.string()),
        ("item", pa.string()),
        ("rating", pa.string()),
        ("heads", pa.string()),
        ("timestamp", pa.string()),
        ("text", pa.string()),
        ("reason", pa.string()),
    ]
)
"""`rating` is the first head's value and `heads` says those of the others, where there are any.

`text` is what is wrong with a row that could not be split into its columns, and the row itself."""


def put_aside(
    *,
    file: str | pa.Array,
    row: pa.Array | pa.ChunkedArray,
    reason: pa.Array | pa.ChunkedArray,
    user: pa.Array | pa.ChunkedArray | None = None,
    item: pa.Array | pa.ChunkedArray | None = None,
    rating: pa.Array | pa.ChunkedArray | None = None,
    heads: pa.Array | pa.ChunkedArray | None = None,
    timestamp: pa.Array | pa.ChunkedArray | None = None,
    text: pa.Array | pa.ChunkedArray | None = None,
) -> pa.Table:
    """Rows for a quarantine file; what is not given is null, and one text stands for every row."""
    num_rows = len(row)
    given = {"file": file, "row": row, "user": user, "item": item, "rating": rating}
    given |= {"heads": heads, "timestamp": timestamp, "text": text, "reason": reason}
    columns = {}
    for name, column in given.items():
        if column is None:
            columns[name] = pa.nulls(num_rows, pa.string())
        elif isinstance(column, str):
            columns[name] = pa.repeat(pa.scalar(column), num_rows)
        else:
            columns[name] = column
    return pa.table({field.name: columns[field.name].cast(field.type) for field in SCHEMA})


def describe_targets(rows: pa.Table) -> dict[str, pa.ChunkedArray]:
    """The columns `rating` and `heads` of rows that have a column `target.<head>` for each head."""
    first, *others = (name for name in rows.column_names if name.startswith(TARGET))
    described = {"rating": rows[first].cast(pa.string())}
    if others:
        values = [pc.fill_null(rows[name].cast(pa.string()), "unknown") for name in others]
        named = [
            pc.binary_join_element_wise(name.removeprefix(TARGET), value, " ")
            for name, value in zip(others, values, strict=True)
        ]
        described["heads"] = pc.binary_join_element_wise(*named, ", ")
    return described


def summarise(rows: pa.Table) -> dict[str, dict[str, Any]]:
    """For each reason, `count` and the first row as an `example`, a readable text."""
    reasons = pc.value_counts(rows["reason"]).to_pylist()
    counts = {entry["values"]: entry["counts"] for entry in reasons}
    first = {reason: pc.index(rows["reason"], reason).as_py() for reason in counts}
    return {
        reason: {"count": count, "example": _describe(rows.slice(first[reason], 1).to_pylist()[0])}
        for reason, count in counts.items()
    }


def merge(summaries: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Several summaries as one: counts added, the first example kept."""
    merged: dict[str, dict[str, Any]] = {}
    for summary in summaries:
        for reason, entry in summary.items():
            seen = merged.setdefault(reason, {"count": 0, "example": entry["example"]})
            seen["count"] += entry["count"]
    return merged


def check_share(
    summary: Mapping[str, Mapping[str, Any]], *, num_rows: int, limit: float, what: str, place: str
) -> None:
    """Stop above the limit.

    Args:
        summary: from `summarise` or `merge`; tolerated reasons do not count.
        num_rows: all rows that were read.
        limit: the share of them that may be unusable, 0 to 1.
        what: what the rows are, for the message.
        place: where the quarantine files are.

    Raises:
        DataError: more of the rows are unusable; the message has the commonest reason and an example.
    """
    faults = {reason: entry for reason, entry in summary.items() if reason not in TOLERATED}
    count = sum(int(entry["count"]) for entry in faults.values())
    if count <= limit * num_rows:
        return
    commonest = max(faults, key=lambda reason: int(faults[reason]["count"]))
    entry = faults[commonest]
    raise DataError(
        f"{count:,} of {num_rows:,} {what} ({count / num_rows:.1%}) cannot be used, above data.max_quarantined "
        f"({limit:.1%}); {int(entry['count']):,} times: {commonest}, first in {entry['example']}. All are in {place} "
        "with their reasons: correct them or the column names in the config, or raise data.max_quarantined"
    )


def _describe(row: Mapping[str, Any]) -> str:
    shown = ("user", "item", "rating", "heads", "timestamp") if row["text"] is None else ("text",)
    values = [f"{name} {json.dumps(row[name], ensure_ascii=False)}" for name in shown if name != "heads" or row[name]]
    return f"row {row['row']} of {row['file']} ({', '.join(values)})"
