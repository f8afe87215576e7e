import pytest

from metarec.data.delimited import read_delimited, read_header
from metarec.errors import DataError


def test_fields_are_text_and_an_empty_one_is_null():
    text = read_delimited(b"a,b\n1,x\n02,\n", "f.csv")
    assert text.columns.to_pylist() == [{"a": "1", "b": "x"}, {"a": "02", "b": None}]


def test_rows_are_numbered_from_the_header_on():
    assert read_delimited(b"a\n1\n2\n", "f.csv").row.to_pylist() == [2, 3]
    assert read_delimited(b"1\n2\n", "f.csv", column_names=["a"]).row.to_pylist() == [1, 2]


def test_a_row_with_too_many_or_too_few_fields_keeps_its_number_and_text():
    text = read_delimited(b"a,b\n1,x\n2\n3,y\n4,z,!\n", "f.csv")
    assert text.row.to_pylist() == [2, 4, 3, 5]
    assert text.columns["a"].to_pylist() == ["1", "3", None, None]
    assert text.fault.to_pylist() == [
        None,
        None,
        "1 fields where 2 are expected: 2",
        "3 fields where 2 are expected: 4,z,!",
    ]


def test_fields_may_be_separated_by_two_colons():
    text = read_delimited(b"1::Star: A::x\n2::B\n", "m.dat", delimiter="::", column_names=["id", "title", "g"])
    assert text.columns.to_pylist()[0] == {"id": "1", "title": "Star: A", "g": "x"}
    assert text.fault.to_pylist()[1] == "2 fields where 3 are expected: 2::B"


def test_latin_1_is_read_as_such():
    text = read_delimited("1|Léon\n".encode("latin-1"), "u", delimiter="|", column_names=["a", "b"], encoding="latin-1")
    assert text.columns["b"].to_pylist() == ["Léon"]


def test_a_quoted_field_may_hold_the_delimiter_and_a_quote_may_be_plain_text():
    assert read_delimited(b'a,b\n1,"x,y"\n', "f").columns["b"].to_pylist() == ["x,y"]
    assert read_delimited(b'1,"x\n', "f", column_names=["a", "b"], quoted=False).columns["b"].to_pylist() == ['"x']


def test_the_header_of_a_file_with_quoted_names_is_read():
    assert read_header(b'"user id",item\n1,2\n', "f.csv") == ["user id", "item"]


@pytest.mark.parametrize("content", [b"", b"a,b\n\xff\xfe,1\n"])
def test_what_is_no_text_is_refused_with_the_name_of_the_file(content):
    with pytest.raises(DataError, match=r"f\.csv"):
        read_delimited(content, "f.csv")
