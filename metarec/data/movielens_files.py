"""Reading the files of a MovieLens folder: text with `\t`, `|` or `::` between the fields, in latin-1, or Parquet."""

import hashlib

import pyarrow as pa
import pyarrow.parquet as pq

from metarec import storage
from metarec.data.delimited import TextTable, read_delimited
from metarec.data.source import RatingsPart, raw_ratings
from metarec.errors import DataError
from metarec.schema import RATING

_RATING_COLUMNS = ("user", "item", "rating", "timestamp")
_BYTES_PER_ROW = 20

WHERE_TO_SAY = "check data.path (or METAREC_DATA)"


def hash_files(folder: str, names: list[str]) -> str:
    """SHA-256 over the names and contents of files.

    Raises:
        DataError: one is missing or cannot be read.
    """
    digest = hashlib.sha256()
    for name in names:
        content = hashlib.sha256(read_bytes(folder, name)).hexdigest()
        digest.update(f"{name} {content}\n".encode())
    return digest.hexdigest()


def read_bytes(folder: str, name: str) -> bytes:
    """The content of a file; `DataError` where it is missing."""
    place = storage.join(folder, name)
    if not storage.exists(place):
        raise DataError(f"{place} does not exist; {WHERE_TO_SAY}")
    return storage.read_bytes(place)


def read_text(folder: str, name: str, *, delimiter: str, names: tuple[str, ...]) -> TextTable:
    """A text file without a header, its columns named."""
    content, place = read_bytes(folder, name), storage.join(folder, name)
    return read_delimited(content, place, delimiter=delimiter, column_names=names, encoding="latin-1", quoted=False)


def read_parquet(folder: str, name: str, columns: list[str]) -> pa.Table:
    """Some columns of a Parquet file; `DataError` where one is missing or the file is damaged."""
    place = storage.join(folder, name)
    try:
        table = pq.read_table(pa.BufferReader(read_bytes(folder, name)), page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"cannot read {place} as Parquet: {error}; put an intact copy there") from error
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        raise DataError(f"{place} has no column {missing[0]!r}; its columns are {', '.join(table.column_names)}")
    return table.select(columns)


def whole_file(folder: str, name: str) -> RatingsPart:
    """A ratings file in text as one part."""
    return RatingsPart(number=0, file=name, num_rows=len(read_bytes(folder, name)) // _BYTES_PER_ROW)


def text_ratings(folder: str, name: str, *, delimiter: str) -> pa.Table:
    """The ratings of a text file: user, item, rating, unix seconds."""
    text = read_text(folder, name, delimiter=delimiter, names=_RATING_COLUMNS)
    columns = text.columns
    return raw_ratings(
        row=text.row,
        user=columns["user"],
        item=columns["item"],
        timestamp=columns["timestamp"],
        targets={RATING: columns["rating"]},
        fault=text.fault,
    )
