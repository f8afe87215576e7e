"""The schema: what it counts, and its way through JSON."""

import json

import pytest

from metarec.schema import FeatureField, Head, Schema
from tests.worlds import make_schema


@pytest.mark.parametrize("num_heads", [1, 2])
def test_a_schema_comes_back_from_json_equal(num_heads):
    schema = make_schema(num_heads)
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


def test_an_empty_schema_comes_back_from_json_equal():
    schema = Schema((), ())
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


def test_cardinality_counts_the_unknown_value():
    assert FeatureField("job", "categorical", ("baker", "nurse")).cardinality == 3
    assert FeatureField("job", "categorical").cardinality == 1


def test_fields_are_those_of_the_side_that_is_asked_for():
    schema = make_schema()
    assert [field.name for field in schema.fields("user")] == ["job", "age"]
    assert [field.name for field in schema.fields("item")] == ["id", "genres", "year", "text"]


def test_the_default_head_is_a_rating_from_1_to_5():
    assert Schema((), ()).heads == (Head("rating", 1.0, 5.0),)
