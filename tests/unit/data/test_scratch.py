import pyarrow as pa
import pytest

from metarec.data.scratch import read_piece, write_pieces
from metarec.errors import StorageError

FULL = pa.table({"user": ["a", None], "row": [1, 2]})
PIECES = [FULL, FULL.slice(0, 0)]


def test_a_piece_is_read_as_it_was_written_and_may_be_empty(tmp_path):
    uri = str(tmp_path / "deep" / "x.arrow")
    chunked = pa.concat_tables([PIECES[0], PIECES[0]])
    write_pieces(uri, [*PIECES, chunked])
    assert read_piece(uri, 0).equals(PIECES[0])
    assert read_piece(uri, 1).num_rows == 0
    assert read_piece(uri, 2).equals(chunked)


def test_a_file_that_was_cut_short_is_refused_by_name(tmp_path):
    path = tmp_path / "x.arrow"
    write_pieces(str(path), PIECES)
    content = path.read_bytes()
    for size in range(0, len(content), 61):
        path.write_bytes(content[:size])
        with pytest.raises(StorageError, match=r"cannot read .*x\.arrow"):
            read_piece(str(path), 0)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(StorageError, match=r"cannot read .*gone\.arrow"):
        read_piece(str(tmp_path / "gone.arrow"), 0)
