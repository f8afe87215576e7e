"""Columns of any Arrow type as what they stand for: ids as text, events as 0 and 1, features by their kind.

Roles of a column: `id`, `number`, `event`, `time`, and the four kinds of features.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool

from metarec.data.numeric import is_number, is_text, parse_numbers
from metarec.errors import DataError
from metarec.schema import FeatureKind

_EXPECTED = {
    "id": "text or numbers",
    "number": "numbers",
    "event": "numbers or true and false",
    "time": "unix seconds as numbers, or times",
    "categorical": "text or numbers",
    "multi_valued": "lists of text or numbers, or text with a separator",
    "numeric": "numbers",
    "dense": "lists of numbers",
}


def check_column(field: pa.Field, role: str, *, setting: str, place: str) -> None:
    """Refuse a column whose type cannot play its role.

    Args:
        field: the column.
        role: what it is for.
        setting: the setting that names it.
        place: the file.

    Raises:
        DataError: the type is an Arrow extension type, or none that the role can be read from.
    """
    where = f"column {field.name!r} of {place} ({setting})"
    extension = isinstance(field.type, pa.BaseExtensionType) or b"ARROW:extension:name" in (field.metadata or {})
    if extension:
        raise DataError(f"{where} has the Arrow extension type {field.type}; write it as a plain type")
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if not _fits(kind, role):
        raise DataError(
            f"{where} has type {field.type}, expected {_EXPECTED[role]}; convert it or set {setting} to another column"
        )


def _fits(kind: pa.DataType, role: str) -> bool:
    plain = is_text(kind) or pa.types.is_null(kind)
    if role in ("id", "categorical"):
        return plain or is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_temporal(kind)
    if role in ("number", "numeric"):
        return plain or is_number(kind)
    if role == "event":
        return plain or is_number(kind) or pa.types.is_boolean(kind)
    if role == "time":
        return plain or is_number(kind) or pa.types.is_timestamp(kind) or pa.types.is_date(kind)
    if not _is_list(kind):
        return plain
    value = kind.value_type
    return is_number(value) or pa.types.is_null(value) or (role == "multi_valued" and is_text(value))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def to_ids(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Ids as text; whole numbers read as `7` whether they came as integers or floats; empty text is null."""
    column = _decoded(column)
    if pa.types.is_floating(column.type):
        whole = pc.and_(pc.equal(pc.round(column), column), pc.less(pc.abs(column), 2.0**53))
        integers = pc.if_else(whole, column, None).cast(pa.int64()).cast(pa.string())
        column = pc.if_else(pc.is_nan(column), None, pc.coalesce(integers, column.cast(pa.string())))
    text = column.cast(pa.string())
    return pc.if_else(pc.equal(text, ""), None, text)


def to_events(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Events as numbers, or as text that should hold numbers: true is 1 and false is 0, as words too; null is null."""
    column = _decoded(column)
    if pa.types.is_boolean(column.type):
        return column.cast(pa.int8())
    if not is_text(column.type):
        return column
    word = pc.utf8_lower(pc.utf8_trim_whitespace(column.cast(pa.string())))
    number = pc.if_else(pc.equal(word, "true"), "1", pc.if_else(pc.equal(word, "false"), "0", column.cast(pa.string())))
    return pc.if_else(pc.equal(word, ""), None, number)


def to_feature(
    column: pa.ChunkedArray, kind: FeatureKind, separator: str, *, row: pa.Array, place: str
) -> pa.ChunkedArray:
    """A feature column as text, lists of text, float64 or lists of float, by its kind; missing values are null.

    Args:
        column: of a type that fits the kind.
        kind: of the feature.
        separator: stands between the values of a list that is written as text.
        row: each row's number in the file, for messages.
        place: the file and column, for messages.

    Raises:
        DataError: a number is none or is not finite, or vectors have different lengths.
    """
    column = _decoded(column)
    if kind == "categorical":
        return to_ids(column)
    if kind == "numeric":
        return pa.chunked_array([_finite(column, row, place)])
    lists = pc.split_pattern(column.cast(pa.string()), separator) if not _is_list(column.type) else column
    lists = lists.cast(pa.list_(lists.type.value_type)).combine_chunks()
    lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) and lists.num_chunks else lists
    if kind == "multi_valued":
        values = to_ids(pa.chunked_array([lists.flatten()])).combine_chunks()
        return pa.chunked_array([_rebuild(lists, values)])
    lengths = pc.list_value_length(lists)
    if pc.count_distinct(lengths).as_py() > 1:
        found = ", ".join(map(str, sorted(pc.unique(lengths.drop_null()).to_pylist())[:5]))
        raise DataError(f"{place} has vectors of different lengths ({found}); give every row as many numbers")
    owner = pc.take(row, pc.list_parent_indices(lists))
    return pa.chunked_array([_rebuild(lists, _finite(pa.chunked_array([lists.flatten()]), owner, place))])


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _rebuild(lists: pa.ListArray, values: pa.Array) -> pa.ListArray:
    """The same lists with other values in place of theirs."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pc.is_null(lists))


def _finite(column: pa.ChunkedArray, row: pa.Array, place: str) -> pa.Array:
    """Numbers as float64, null and NaN as null; anything else is refused with its row."""
    values, readable = parse_numbers(column)
    missing = np.asarray(pc.is_null(column), bool) | (readable & np.isnan(values))
    bad: Bool[np.ndarray, " rows"] = ~missing & ~(readable & np.isfinite(values))
    if bad.any():
        first = int(np.argmax(bad))
        raise DataError(
            f"{place}, row {row[first].as_py()} is {column[first].as_py()!r}, expected a finite number; correct it, "
            "leave it empty if it is unknown, or declare another kind of feature"
        )
    return pa.array(values, mask=missing)
