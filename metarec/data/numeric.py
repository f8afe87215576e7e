"""Columns of numbers, or of text that should hold numbers, as float64 with a mark on what is none."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float64

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_NOT_FINITE = r"(?i)^([+-]?(inf|infinity)|nan)$"


def is_text(kind: pa.DataType) -> bool:
    """Whether a type holds text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_number(kind: pa.DataType) -> bool:
    """Whether a type holds numbers (booleans are none)."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def parse_numbers(column: pa.ChunkedArray | pa.Array) -> tuple[Float64[np.ndarray, " rows"], Bool[np.ndarray, " rows"]]:
    """The values of a column of numbers, text or nulls, and which of them could be read.

    A value that cannot be read, and a null, is NaN and marked false; text such as `nan` or `inf` is read as such.
    """
    if pa.types.is_null(column.type):
        column = pa.nulls(len(column), pa.float64())
    if is_text(column.type):
        text = pc.utf8_trim_whitespace(column.cast(pa.string()))
        readable = pc.or_(pc.match_substring_regex(text, _NUMBER), pc.match_substring_regex(text, _NOT_FINITE))
        # Arrow's cast reads neither an inner blank nor a sign before nan, and one bad value stops it.
        column = pc.if_else(readable, text, None).cast(pa.float64())
    values = column.cast(pa.float64(), safe=False)
    numbers = np.asarray(values.fill_null(np.nan), np.float64)
    return numbers, np.asarray(pc.is_valid(values), bool)
