"""From raw rows to usable ones: whatever cannot be used is put aside with its reason.

Everything is vectorised over a part; the first reason that holds is the one that is named.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float64, Int64

from metarec.data import quarantine
from metarec.data.histories import TARGET
from metarec.data.numeric import parse_numbers
from metarec.data.source import FAULT, ITEM, ROW, SCENARIO, TIMESTAMP, USER, SideTable
from metarec.data.task_keys import BETWEEN
from metarec.schema import Head, Side

PART = "part"
"""The column of clean rows that says which part a row was read from."""
_LAST_SECOND = 2.0**53
"""Seconds beyond this are not exact in float64."""

RowMask = Bool[np.ndarray, " rows"]


class Cleaned(NamedTuple):
    """Rows that can be used and rows that cannot.

    Attributes:
        usable: columns `part`, `row`, `user`, `item`, `scenario` (where tasks go by it), `timestamp` (int64, null where
            unknown) and `target.<head>` (float64; of every head but the first null where it was not observed).
        quarantined: of `quarantine.SCHEMA`.
    """

    usable: pa.Table
    quarantined: pa.Table


def clean_ratings(raw: pa.Table, heads: Sequence[Head], *, file: str, part: int, by_scenario: bool = False) -> Cleaned:
    """Split raw ratings into usable rows and quarantined ones.

    Args:
        raw: from `source.raw_ratings`.
        heads: what is predicted, and on which scale; the first must be there, the others may be missing.
        file: the file that the rows come from.
        part: the number of the part.
        by_scenario: whether each row needs a scenario.
    """
    seconds, known, readable = parse_times(raw[TIMESTAMP])
    numbers = {head.name: parse_numbers(raw[TARGET + head.name]) for head in heads}
    faults: list[tuple[RowMask, str]] = [
        (_is_null(raw[USER]), "the user id is missing"),
        (_is_null(raw[ITEM]), "the item id is missing"),
    ]
    faults += _scenario_faults(raw[SCENARIO]) if by_scenario else []
    for head in heads:
        missing = _is_null(raw[TARGET + head.name])
        faults += [(missing, f"the {head.name} is missing")] if head is heads[0] else []
        faults += _target_faults(missing, head, *numbers[head.name])
    faults.append((~readable, "the timestamp is not a number of unix seconds"))
    reason = _first_reason(raw[FAULT], faults)
    bad = np.asarray(pc.is_valid(reason), bool)
    columns = {
        PART: pa.array(np.full(raw.num_rows, part, np.int32)),
        ROW: raw[ROW],
        USER: raw[USER],
        ITEM: raw[ITEM],
        TIMESTAMP: pa.array(seconds, mask=~known),
    }
    columns |= {SCENARIO: raw[SCENARIO]} if by_scenario else {}
    targets = {TARGET + name: pa.array(values, mask=~readable) for name, (values, readable) in numbers.items()}
    usable = pa.table(columns | targets).filter(pa.array(~bad))
    return Cleaned(usable, _quarantine(raw.append_column("reason", reason), bad, file))


def clean_side(table: SideTable, side: Side) -> tuple[SideTable, pa.Table]:
    """Put aside rows of a users or items table without an id, and all but the last of those with the same id.

    Returns:
        The usable rows, and the others in `quarantine.SCHEMA`.
    """
    ids = pc.fill_null(table.id, "").combine_chunks()
    _, last = np.unique(ids.dictionary_encode().indices.to_numpy()[::-1], return_index=True)
    repeated = np.ones(len(ids), bool)
    repeated[len(ids) - 1 - last] = False
    faults = [(_is_null(table.id), "the id is missing"), (repeated, "duplicate: the same id stands in a later row")]
    reason = _first_reason(table.fault, faults)
    bad = np.asarray(pc.is_valid(reason), bool)
    keep, drop = pa.array(~bad), pa.array(bad)
    aside = quarantine.put_aside(
        file=table.file,
        row=table.row.filter(drop),
        reason=reason.filter(drop),
        text=table.fault.filter(drop),
        **{side: table.id.filter(drop)},
    )
    kept = {name: getattr(table, name).filter(keep) for name in ("row", "id", "title", "fault")}
    features = {name: column.filter(keep) for name, column in table.features.items()}
    return table._replace(features=features, **kept), aside


def parse_times(
    column: pa.ChunkedArray,
) -> tuple[Int64[np.ndarray, " rows"], RowMask, RowMask]:
    """Unix seconds, which rows have any, and which rows could be read (a missing time can).

    Args:
        column: numbers, text that holds numbers, Arrow timestamps or dates.
    """
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("s"))
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("s", column.type.tz), safe=False).cast(pa.int64())
    missing = _is_null(column)
    values, is_number = parse_numbers(column)
    usable = is_number & np.isfinite(values) & (np.nan_to_num(values) >= 0) & (np.nan_to_num(values) < _LAST_SECOND)
    return np.where(usable, np.nan_to_num(values), 0).astype(np.int64), usable, usable | missing


def _scenario_faults(scenario: pa.ChunkedArray) -> list[tuple[RowMask, str]]:
    """A scenario must be there and must not hold what stands between a user and a scenario in the id of a task."""
    taken = np.asarray(pc.match_substring(pc.fill_null(scenario, ""), BETWEEN), bool)
    return [(_is_null(scenario), "the scenario is missing"), (taken, f"the scenario holds {BETWEEN!r}")]


def _target_faults(
    missing: RowMask, head: Head, values: Float64[np.ndarray, " rows"], readable: RowMask
) -> list[tuple[RowMask, str]]:
    """What is wrong with the targets of a head that are there."""
    finite = np.isfinite(values)
    outside = (np.nan_to_num(values, nan=head.low) < head.low) | (np.nan_to_num(values, nan=head.low) > head.high)
    return [
        (~readable & ~missing, f"the {head.name} is not a number"),
        (~finite & ~missing, f"the {head.name} is not finite"),
        (outside, f"the {head.name} is outside {head.low:g} to {head.high:g}"),
    ]


def _first_reason(fault: pa.ChunkedArray, faults: Sequence[tuple[RowMask, str]]) -> pa.ChunkedArray:
    """The reader's fault, or the first reason whose mask is true, or null."""
    code = np.full(len(fault), -1)
    for number, (mask, _) in reversed(list(enumerate(faults))):
        code[mask] = number
    reasons = pa.array([text for _, text in faults], pa.string())
    unreadable = pc.if_else(pc.is_valid(fault), "the row cannot be read", pa.scalar(None, pa.string()))
    return pc.coalesce(unreadable, reasons.take(pa.array(code, mask=code < 0)))


def _quarantine(raw: pa.Table, bad: RowMask, file: str) -> pa.Table:
    """The bad rows with their values as text."""
    rows = raw.filter(pa.array(bad))
    return quarantine.put_aside(
        file=file,
        row=rows[ROW],
        user=rows[USER],
        item=rows[ITEM],
        **quarantine.describe_targets(rows),
        timestamp=rows[TIMESTAMP].cast(pa.string()),
        text=rows[FAULT],
        reason=rows["reason"],
    )


def _is_null(column: pa.ChunkedArray) -> RowMask:
    return np.asarray(pc.is_null(column), bool)
