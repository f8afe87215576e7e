"""Feature fields to vectors: each kind by hand, unknown values, and names that mean something to torch."""

import pytest
import torch
from torch import nn

from metarec.models.features import FieldEncoder, PairEncoder
from metarec.schema import FeatureField
from tests.worlds import make_batch, make_catalogue, make_schema

COUNTING = torch.arange(8.0).reshape(4, 2)
"""An embedding table: index 1 → (2, 3), 2 → (4, 5), 3 → (6, 7)."""


def encode(field, values, weight):
    """The vectors of all values of one field, with its weight in place."""
    encoder = FieldEncoder([field], width=2)
    (parameter,) = encoder.parameters()
    with torch.no_grad():
        parameter.copy_(torch.tensor(weight))
    (vectors,) = encoder({field.name: torch.tensor(values)}, torch.arange(len(values))).unbind(-2)
    return vectors.tolist()


def test_a_categorical_value_is_looked_up():
    field = FeatureField("job", "categorical", ("a", "b", "c"))
    assert encode(field, [[3], [1]], COUNTING.tolist()) == [[6, 7], [2, 3]]


def test_a_set_of_values_is_the_mean_of_its_real_ones():
    field = FeatureField("genres", "multi_valued", ("a", "b", "c"), width=3)
    vectors = encode(field, [[1, 3, 0], [2, 0, 0], [1, 2, 3]], COUNTING.tolist())
    assert vectors == [[4, 5], [4, 5], [4, 5]]


def test_an_empty_set_of_values_is_zero():
    field = FeatureField("genres", "multi_valued", ("a", "b", "c"), width=2)
    assert encode(field, [[0, 0]], COUNTING.tolist()) == [[0, 0]]


def test_a_number_scales_its_vector_and_a_dense_vector_is_projected():
    assert encode(FeatureField("year", "numeric"), [[2.0], [0.0]], [[1.0], [-3.0]]) == [[2, -6], [0, 0]]
    dense = FeatureField("text", "dense", width=2)
    assert encode(dense, [[1.0, 10.0]], [[1.0, 2.0], [3.0, 4.0]]) == [[21, 43]]


@pytest.mark.parametrize(("width", "expected"), [(2, [3.0, 5.0]), (3, [3.0, 5.0, 0.0])])
def test_a_dense_vector_that_fits_starts_as_it_is(width, expected):
    encoder = FieldEncoder([FeatureField("text", "dense", width=2)], width)
    assert encoder({"text": torch.tensor([[3.0, 5.0]])}, torch.tensor([0]))[0, 0].tolist() == expected


def test_a_longer_dense_vector_starts_at_a_random_projection():
    encoder = FieldEncoder([FeatureField("text", "dense", width=3)], 2)
    (projection,) = (module.weight for module in encoder.embeddings)
    assert projection.shape == (2, 3)
    assert not torch.equal(projection, torch.eye(2, 3))


def test_an_unknown_categorical_value_starts_at_zero():
    encoder = FieldEncoder([FeatureField("job", "categorical", ("a", "b"))], width=3)
    vectors = encoder({"job": torch.tensor([[0], [1]])}, torch.tensor([0, 1]))
    assert not vectors[0].any()
    assert vectors[1].all()


def test_fields_stand_below_each_other_in_their_order():
    fields = [FeatureField("age", "numeric"), FeatureField("text", "dense", width=1)]
    encoder = FieldEncoder(fields, width=2)
    for parameter, value in zip(encoder.parameters(), (1.0, 10.0), strict=True):
        nn.init.constant_(parameter, value)
    features = {"text": torch.tensor([[3.0]]), "age": torch.tensor([[2.0]])}
    assert encoder(features, torch.tensor([0])).tolist() == [[[2, 2], [30, 30]]]


def test_a_side_without_fields_gives_no_vectors():
    assert FieldEncoder([], width=4)({}, torch.zeros(2, 3, dtype=torch.int64)).shape == (2, 3, 0, 4)


@pytest.mark.parametrize("sides", [("user_fields",), ("item_fields",), ("user_fields", "item_fields")])
def test_a_pair_keeps_double_precision_whichever_side_has_no_fields(sides):
    schema, catalogue, batch = make_schema(), make_catalogue(), make_batch(2)
    fields = {"user_fields": schema.user_fields, "item_fields": schema.item_fields} | dict.fromkeys(sides, ())
    vectors = PairEncoder(**fields, width=2).double()(catalogue, batch.query)
    assert vectors.dtype == torch.float64 or len(sides) == 2
    assert vectors.shape[-2:] == (sum(map(len, fields.values())), 2)


@pytest.mark.parametrize("name", ["type", "values", "items", "keys", "training", "a.b", "forward", "embeddings"])
def test_a_field_may_have_any_name(name):
    encoder = FieldEncoder([FeatureField(name, "numeric")], width=2)
    assert encoder({name: torch.tensor([[1.0]])}, torch.tensor([0])).shape == (1, 1, 2)


def test_the_users_fields_stand_before_the_items():
    schema, catalogue, batch = make_schema(), make_catalogue(), make_batch(2)
    pair = PairEncoder(schema.user_fields, schema.item_fields, width=2).double()
    vectors = pair(catalogue, batch.query)
    torch.testing.assert_close(vectors[..., :2, :], pair.users(catalogue.user_features, batch.query.user))
    torch.testing.assert_close(vectors[..., 2:, :], pair.items(catalogue.item_features, batch.query.item))


def test_the_values_of_rows_are_the_indices_that_tables_are_looked_up_at():
    """A user's job; an item's id and its three genres: numbers and dense vectors have no table."""
    schema, catalogue, batch = make_schema(), make_catalogue(), make_batch(2)
    pair = PairEncoder(schema.user_fields, schema.item_fields, width=2)
    user, item = batch.query.user[0, 0], batch.query.item[0, 0]
    expected = torch.cat(
        [catalogue.user_features["job"][user], *(catalogue.item_features[f][item] for f in ("id", "genres"))]
    )
    assert torch.equal(pair.values(catalogue, batch.query)[0, 0], expected)
    assert [table.columns for table in pair.tables.values()] == [slice(0, 1), slice(1, 2), slice(2, 5)]


def test_a_pair_without_tables_has_no_values():
    pair = PairEncoder([], [FeatureField("year", "numeric")], width=2)
    assert pair.values(make_catalogue(), make_batch(2).query).shape == (1, 3, 0)


def test_two_sides_may_have_fields_of_the_same_name():
    field = FeatureField("age", "numeric")
    pair = PairEncoder([field], [field], width=1)
    assert len(dict(pair.named_parameters())) == 2
