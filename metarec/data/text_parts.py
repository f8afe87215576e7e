"""A large file of delimited text as parts that are read on their own, found in one pass that keeps no row.

A part ends where a line does, and never inside a quoted field, which may hold line breaks.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

from metarec import storage

BYTES_PER_PART = 32 * 2**20
"""About so much text is read at once."""
_NEWLINE, _RETURN, _QUOTE = b'\n\r"'
_LONGEST_MARK = 3
"""Bytes of a byte order mark, after which a quote may open the first field."""


class TextPart(NamedTuple):
    """Bytes of a file.

    Attributes:
        start, stop: where they lie.
        first_row: the number of the first line, from 1, quoted line breaks and empty lines not counted.
        num_rows: how many lines, counted likewise; the header is one.
    """

    start: int
    stop: int
    first_row: int
    num_rows: int


@dataclass
class _Scan:
    """What is known at a place of a file.

    Attributes:
        delimiter: between fields.
        offset: of the place.
        quoted: whether it lies within a quoted field.
        stray: whether a quote was met within a bare field; it has no defined meaning, so nothing is cut from there on.
        line: where the line starts.
        last: the byte before.
    """

    delimiter: int
    offset: int = 0
    quoted: bool = False
    stray: bool = False
    line: int = 0
    last: int = _NEWLINE

    def advance(self, block: UInt8[np.ndarray, " bytes"]) -> tuple[int, int]:
        """Go through a block: where its last line ends (0 = nowhere), and how many lines that are not empty end."""
        before = np.concatenate([np.array([self.last], np.uint8), block[:-1]])
        ends = np.flatnonzero(block == _NEWLINE)
        quotes = np.flatnonzero(block == _QUOTE)
        if len(quotes) or self.quoted:
            self._check_quotes(quotes, before)
            inside = (np.searchsorted(quotes, ends) + self.quoted) % 2 == 1
            self.quoted = bool((len(quotes) + self.quoted) % 2)
            ends = ends if self.stray else ends[~inside]
        num_rows = self._count(ends, before)
        self.offset, self.last = self.offset + len(block), int(block[-1])
        return (self.line if len(ends) and not self.stray else 0), num_rows

    def _check_quotes(self, quotes: Int64[np.ndarray, " quotes"], before: UInt8[np.ndarray, " bytes"]) -> None:
        """An opening quote stands where a field starts, or is the second of two that mean one."""
        opening = quotes[int(self.quoted) :: 2]
        opening = opening[opening + self.offset > _LONGEST_MARK]
        self.stray |= bool((~np.isin(before[opening], [self.delimiter, _NEWLINE, _RETURN, _QUOTE])).any())

    def _count(self, ends: Int64[np.ndarray, " ends"], before: UInt8[np.ndarray, " bytes"]) -> int:
        """The lines that end and are not empty."""
        if not len(ends):
            return 0
        lengths = np.diff(ends + self.offset, prepend=self.line - 1) - 1
        self.line = int(ends[-1]) + self.offset + 1
        return int(np.count_nonzero(lengths - (before[ends] == _RETURN) > 0))


def split_text(uri: str, *, delimiter: str = ",") -> list[TextPart]:
    """The parts of a file in order; none for an empty file.

    Raises:
        StorageError: the file cannot be read.
    """
    parts: list[TextPart] = []
    scan, start, row, num_rows = _Scan(ord(delimiter)), 0, 1, 0
    for block in storage.read_blocks(uri, BYTES_PER_PART):
        stop, ended = scan.advance(np.frombuffer(block, np.uint8))
        num_rows += ended
        if stop:
            parts.append(TextPart(start, stop, row, num_rows))
            start, row, num_rows = stop, row + num_rows, 0
    if scan.offset > start:
        parts.append(TextPart(start, scan.offset, row, num_rows + int(scan.offset > scan.line)))
    return parts
