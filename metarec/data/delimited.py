"""Delimited text (CSV, tab, bar, `::`) as columns of text, with every row accounted for.

Everything is read as text: what a value means is decided where a bad one can be put aside with its row.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv

from metarec.errors import DataError

_UNIT_SEPARATOR = "\x1f"


class TextTable(NamedTuple):
    """Rows of text.

    Attributes:
        columns: text; null where a field is empty.
        row: each row's number in the file, its header counted and empty lines left out.
        fault: why the row could not be read (its fields are null then); null where it could.
    """

    columns: pa.Table
    row: pa.Array
    fault: pa.Array


def read_delimited(
    content: bytes,
    file: str,
    *,
    delimiter: str = ",",
    column_names: Sequence[str] = (),
    first_row: int = 1,
    keep: Sequence[str] = (),
    encoding: str = "utf-8",
    quoted: bool = True,
) -> TextTable:
    """Read delimited text; rows with too few or too many fields stand at the end, with a fault.

    Args:
        content: the bytes of the file, or of some of its lines.
        file: how messages name it.
        delimiter: one character, or `::`.
        column_names: of content without a header; empty = the first line names them.
        first_row: the number in the file of the first line of the content.
        keep: the columns to read; empty = all.
        encoding: of the text.
        quoted: whether a field may stand in double quotes.

    Raises:
        DataError: the text is empty, not in the encoding, or not delimited text at all.
    """
    if len(delimiter) > 1:
        content, delimiter = content.replace(delimiter.encode(), _UNIT_SEPARATOR.encode()), _UNIT_SEPARATOR
    ragged: list[tuple[int, str]] = []

    def put_aside(row: pyarrow.csv.InvalidRow) -> str:
        text = row.text.replace(_UNIT_SEPARATOR, "::")
        number = row.number + first_row - 1
        ragged.append((number, f"{row.actual_columns} fields where {row.expected_columns} are expected: {text}"))
        return "skip"

    names = list(column_names) or read_header(content, file, delimiter=delimiter, encoding=encoding)
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(content),
            read_options=pyarrow.csv.ReadOptions(
                column_names=column_names or None, encoding=encoding, use_threads=False
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=delimiter,
                quote_char='"' if quoted else False,
                newlines_in_values=quoted,
                invalid_row_handler=put_aside,
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                include_columns=list(keep) or None,
                strings_can_be_null=True,
                null_values=[""],
                quoted_strings_can_be_null=True,
            ),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {file} as {encoding} text delimited by {delimiter!r}: {error}") from error
    return _with_ragged_rows(table, ragged, first_row=first_row if column_names else first_row + 1)


def read_header(content: bytes, file: str, *, delimiter: str = ",", encoding: str = "utf-8") -> list[str]:
    """The column names in the first line.

    Raises:
        DataError: there is none, or it is not in the encoding.
    """
    line = content.split(b"\n", 1)[0] + b"\n"
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(line),
            read_options=pyarrow.csv.ReadOptions(encoding=encoding),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the header of {file} as {encoding} text: {error}") from error
    return list(table.column_names)


def _with_ragged_rows(table: pa.Table, ragged: Sequence[tuple[int, str]], *, first_row: int) -> TextTable:
    numbers = np.array([number for number, _ in ragged], np.int64)
    every = np.arange(first_row, first_row + table.num_rows + len(ragged))
    row = np.concatenate([np.setdiff1d(every, numbers), numbers])
    fault = pa.concat_arrays([pa.nulls(table.num_rows, pa.string()), pa.array([why for _, why in ragged], pa.string())])
    empty = pa.table({name: pa.nulls(len(ragged), pa.string()) for name in table.column_names})
    return TextTable(pa.concat_tables([table, empty]), pa.array(row), fault)
