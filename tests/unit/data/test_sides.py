"""Users and items as a dataset keeps them, with what training says of content beside them."""

import numpy as np
import pyarrow as pa
import pytest

from metarec.data.biases import fit_biases
from metarec.data.dataset import FEATURE
from metarec.data.sides import Sides, fit_sides
from metarec.data.source import side_table
from metarec.data.training_side import TrainingSide
from metarec.schema import Head
from tests.worlds import NUM_ITEMS, make_histories

NUM_NEW = 3
ITEMS = pa.array([f"{item:02d}" for item in range(NUM_ITEMS + NUM_NEW)])


def fitted(*, with_statistics):
    """Twelve items that all have been rated and three that have not; every second has the tag `even`."""
    tags = pa.array([["even"] if item % 2 == 0 else ["odd"] for item in range(len(ITEMS))])
    items = side_table("items.csv", ITEMS, {"tags": ("multi_valued", tags)}, title=pa.array(["Thing"] * len(ITEMS)))
    ratings = make_histories(12, 12, 8)
    num_ratings = np.bincount(ratings.item, minlength=len(ITEMS))
    return fit_sides(
        Sides(side_table("", pa.array([], pa.string()), {}), items, {}, {}),
        TrainingSide(np.ones(3, bool), num_ratings, fit_biases(ratings, num_items=len(ITEMS))),
        heads=[Head("rating", 1.0, 5.0)],
        users=pa.array(["a", "b", "c"]),
        items=ITEMS,
        protocol="user_cold",
        ratings=ratings if with_statistics else None,
    )


@pytest.mark.parametrize(
    ("with_statistics", "names"),
    [(False, ["id", "tags"]), (True, ["id", "tags", "content_statistics", "content_vectors", "content_expectation"])],
)
def test_content_fields_are_there_where_they_are_asked_for(with_statistics, names):
    found = fitted(with_statistics=with_statistics)
    assert [field.name for field in found.schema.item_fields] == names
    assert [FEATURE + name in found.tables["items.parquet"].column_names for name in names] == [True] * len(names)


@pytest.mark.parametrize("name", ["content_statistics", "content_vectors", "content_expectation"])
def test_items_that_nobody_has_rated_have_them_by_their_content(name):
    """The first and the last of the new items have the same tag and title, the one between another tag."""
    found = fitted(with_statistics=True)
    table = found.tables["items.parquet"]
    assert table["training_ratings"].to_pylist()[-NUM_NEW:] == [0] * NUM_NEW
    first, second, third = np.array(table[FEATURE + name].to_pylist())[-NUM_NEW:]
    assert first.tolist() == third.tolist() != second.tolist()
    assert np.isfinite(second).all()


def test_their_bias_is_what_content_lets_expect_and_0_without_content_fields():
    table = fitted(with_statistics=True).tables["items.parquet"]
    plain = fitted(with_statistics=False).tables["items.parquet"]
    first, second, third = table["bias.rating"].to_pylist()[-NUM_NEW:]
    assert first == third != second
    assert plain["bias.rating"].to_pylist()[-NUM_NEW:] == [0.0] * NUM_NEW
    assert table["bias.rating"].to_pylist()[:-NUM_NEW] == plain["bias.rating"].to_pylist()[:-NUM_NEW]
