import pyarrow as pa
import pytest

from metarec.data.identifiers import index_of, sort_ids


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["10", "9", "10"], ["9", "10"]),
        (["10", "9", "x"], ["10", "9", "x"]),
        (["7", "-3", "007"], ["-3", "007", "7"]),
        (["9" * 30, "1"], ["1", "9" * 30]),
        ([], []),
    ],
)
def test_ids_sort_as_numbers_when_all_are_numbers_and_as_text_otherwise(ids, expected):
    assert sort_ids(pa.array(ids, pa.string())).to_pylist() == expected


def test_an_unknown_id_has_index_minus_one():
    assert index_of(pa.array(["b", "z", None]), pa.array(["a", "b"])).tolist() == [1, -1, -1]
