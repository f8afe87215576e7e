import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metarec.data import text_parts
from metarec.data.delimited import read_delimited, read_header
from metarec.data.text_parts import split_text

FIELDS = st.text(alphabet='a,\n"', max_size=4)


def parts_of(folder, monkeypatch, content, num_bytes):
    monkeypatch.setattr(text_parts, "BYTES_PER_PART", num_bytes)
    (folder / "t.csv").write_bytes(content)
    return split_text(str(folder / "t.csv"))


def quoted(value):
    return '"' + value.replace('"', '""') + '"'


def test_a_part_ends_with_the_last_line_of_a_block_and_knows_its_rows(tmp_path, monkeypatch):
    parts = parts_of(tmp_path, monkeypatch, b"a,b\n1,x\n22,y\n3,z\n", 9)
    assert [tuple(part) for part in parts] == [(0, 8, 1, 2), (8, 17, 3, 2)]


def test_a_last_line_without_a_line_break_counts(tmp_path, monkeypatch):
    assert [tuple(part) for part in parts_of(tmp_path, monkeypatch, b"a\n1\n2", 4)] == [(0, 4, 1, 2), (4, 5, 3, 1)]


def test_empty_lines_count_nothing_with_either_line_break(tmp_path, monkeypatch):
    for content in (b"a\n\n\n1\n\n2\n", b"a\r\n\r\n\r\n1\r\n\r\n2\r\n"):
        parts = parts_of(tmp_path, monkeypatch, content, 5)
        assert sum(part.num_rows for part in parts) == 3


def test_a_line_longer_than_a_part_stays_whole(tmp_path, monkeypatch):
    parts = parts_of(tmp_path, monkeypatch, b"a\n" + b"x" * 50 + b"\ny\n", 8)
    assert [(part.start, part.stop) for part in parts] == [(0, 2), (2, 55)]


def test_from_a_stray_quote_on_the_file_stays_in_one_part(tmp_path, monkeypatch):
    parts = parts_of(tmp_path, monkeypatch, b'a,b\n1,x\n2,5" disk\n3,y\n4,z\n5,6" disk\n', 8)
    assert [(part.start, part.stop) for part in parts] == [(0, 8), (8, 36)]


def test_an_empty_file_has_no_part(tmp_path, monkeypatch):
    assert parts_of(tmp_path, monkeypatch, b"", 8) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(st.tuples(FIELDS, FIELDS), min_size=1, max_size=12), num_bytes=st.integers(1, 40))
def test_the_parts_together_say_what_the_file_says(tmp_path, rows, num_bytes):
    """Quoted fields with delimiters, line breaks and quotes of their own, cut at any size."""
    content = ("a,b\n" + "".join(f"{quoted(x)},{quoted(y)}\n" for x, y in rows)).encode()
    with pytest.MonkeyPatch.context() as patch:
        parts = parts_of(tmp_path, patch, content, num_bytes)
    assert b"".join(content[part.start : part.stop] for part in parts) == content
    columns, numbers = [], []
    for part in parts:
        names = read_header(content, "t") if part.start else ()
        piece = content[part.start : part.stop]
        text = read_delimited(piece, "t", column_names=names, first_row=part.first_row)
        columns += text.columns.to_pylist()
        numbers += text.row.to_pylist()
    whole = read_delimited(content, "t")
    assert columns == whole.columns.to_pylist()
    assert numbers == whole.row.to_pylist()
