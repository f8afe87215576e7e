import numpy as np
import pyarrow as pa
import pytest
import torch

from metarec.data.features import decode_field, encode_field, fit_field


def column(values, kind):
    return pa.chunked_array([pa.array(values, kind)])


TEXTS, LISTS = pa.string(), pa.list_(pa.string())


def test_a_value_has_the_index_of_its_place_in_the_vocabulary_and_others_are_zero():
    field = fit_field("g", "categorical", column(["b", "a", None, "b"], TEXTS))
    assert field.vocabulary == ("a", "b")
    assert encode_field(field, column(["b", "z", None, "a"], TEXTS)).tolist() == [[2], [0], [0], [1]]


def test_sets_are_padded_and_unknown_values_leave_no_gap():
    field = fit_field("g", "multi_valued", column([["x", "y"], ["x"], None, []], LISTS))
    assert (field.vocabulary, field.width) == (("x", "y"), 2)
    encoded = encode_field(field, column([["z", "y"], None, ["y", "x", "y"], []], LISTS))
    assert encoded.tolist() == [[2, 0], [0, 0], [2, 1], [0, 0]]


def test_sets_are_encoded_alike_in_one_chunk_and_in_several():
    field = fit_field("g", "multi_valued", column([["x", "y"]], LISTS))
    chunks = pa.chunked_array([pa.array([["x"]], LISTS), pa.array([None, ["y", "x"]], LISTS)])
    assert encode_field(field, chunks).tolist() == [[1, 0], [0, 0], [2, 1]]


@pytest.mark.parametrize(
    ("kind", "arrow", "values", "expected"),
    [
        ("categorical", TEXTS, ["b", "z", None, "a"], ["b", None, None, "a"]),
        ("multi_valued", LISTS, [["z", "y"], None, ["y", "x"], []], [["y"], [], ["y", "x"], []]),
    ],
)
def test_known_values_come_back_from_what_is_encoded(kind, arrow, values, expected):
    field = fit_field("g", kind, column([["x", "y"]] if kind == "multi_valued" else ["a", "b"], arrow))
    assert decode_field(field, encode_field(field, column(values, arrow))).to_pylist() == expected


def test_a_number_is_normalised_and_a_missing_one_is_the_mean():
    field = fit_field("n", "numeric", column([1.0, 3.0, None], pa.float64()))
    assert (field.mean, field.scale) == (2.0, 1.0)
    assert encode_field(field, column([4.0, None], pa.float64())).tolist() == [[2.0], [0.0]]


def test_numbers_that_are_all_equal_are_divided_by_one():
    assert fit_field("n", "numeric", column([5.0, 5.0], pa.float64())).scale == 1.0


def test_vectors_are_taken_as_they_are_and_a_missing_one_is_zero():
    kind = pa.list_(pa.float64())
    field = fit_field("v", "dense", column([[1.0, 2.0], None], kind))
    assert field.width == 2
    assert encode_field(field, column([[3.0, -1.0], None], kind)).tolist() == [[3.0, -1.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("kind", "arrow", "dtype"),
    [
        ("categorical", TEXTS, np.int64),
        ("multi_valued", LISTS, np.int64),
        ("numeric", pa.float64(), np.float32),
        ("dense", pa.list_(pa.float64()), np.float32),
    ],
)
def test_a_column_without_any_value_still_gives_a_writable_tensor_of_the_right_type(kind, arrow, dtype):
    nothing = column([None, None], arrow)
    encoded = encode_field(fit_field("f", kind, nothing), nothing)
    assert (encoded.shape, encoded.dtype) == ((2, 1), dtype)
    torch.from_numpy(encoded).add_(1)
