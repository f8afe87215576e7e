"""What training says of an item's content, by hand: three rated films, and new ones of the same directors and years."""

import numpy as np
import pyarrow as pa
import pytest

from metarec.data.content_statistics import content_statistics
from metarec.data.content_values import values_of_fields, values_of_titles

LOG_SEEN, COUNT, MEAN, HIGHEST, LOWEST = range(5)
"""Columns of a field; those of popularity follow."""
FACTOR = 8
WIDTH = 9


def statistics(directors, *, titles=None, years=None, biases=(0.4, -0.2, -0.2), num_ratings=(20, 20, 20)):
    """Of three rated items, each believed by a half, and of new ones behind them."""
    num_new = len(directors) - 3
    features = {"directors": pa.chunked_array([pa.array(directors, pa.list_(pa.string()))])}
    kinds = {"directors": "multi_valued"}
    if years:
        features, kinds = {"year": pa.chunked_array([pa.array(years)])}, {"year": "categorical"}
    received = np.array([*num_ratings, *[0] * num_new])
    words = pa.chunked_array([pa.array(titles or [None] * len(directors), pa.string())])
    return content_statistics(
        [*values_of_fields(features, kinds, received > 0), values_of_titles(words, received > 0)],
        num_ratings=received,
        item_bias=np.array([*biases, *[0.0] * num_new])[:, None],
        factors=-np.array([*biases, *[0.0] * num_new])[:, None],
    )


def place(column, new=3):
    """Where a new item lies between the first and the second, whatever the scale."""
    return (column[new] - column[0]) / (column[1] - column[0])


def test_a_value_is_the_damped_mean_of_the_other_items_that_have_it():
    """X of items 0 and 1: for 0 it is .5 · -.2 / 1.5, for 1 it is .5 · .4 / 1.5, for a new item (.2 - .1) / 2."""
    found = statistics([["X"], ["X"], ["Y"], ["X"]])
    first, second, new = -0.1 / 1.5, 0.2 / 1.5, 0.05
    assert place(found[:, MEAN]) == pytest.approx((new - first) / (second - first), abs=1e-6)


def test_factors_are_averaged_alike():
    """Biases with the sign turned."""
    found = statistics([["X"], ["X"], ["Y"], ["X"]])
    assert found[:, FACTOR].tolist() == pytest.approx((-found[:, MEAN]).tolist(), abs=1e-6)


def test_an_items_own_ratings_do_not_count():
    """Nobody else has Y: item 2 gets 0 for it, as a new item of an unknown director does, whatever its own bias is."""
    for own in (-0.2, 0.8):
        found = statistics([["X"], ["X"], ["Y"], ["Z"]], biases=(0.4, -0.2, own))
        assert found[2, MEAN] == found[3, MEAN]


def test_of_several_values_there_are_the_highest_and_the_lowest():
    """A new film by X and Y: X says .05 as above, Y -.1 / 1.5."""
    found = statistics([["X"], ["X"], ["Y"], ["X", "Y"], ["X"], ["Y"]])
    assert found[3, HIGHEST] == found[4, HIGHEST]
    assert found[3, LOWEST] == found[5, LOWEST]
    assert found[3, MEAN] == pytest.approx((found[4, MEAN] + found[5, MEAN]) / 2, abs=1e-6)


def test_a_number_that_nobody_rated_counts_as_the_nearest_that_somebody_did():
    found = statistics([None] * 6, years=["1994", "1994", "1997", "1999", "1997", "1995"])
    assert found[3].tolist() == found[4].tolist()
    alone = statistics([None] * 4, years=["1994", "1994", "1997", "1994"])
    assert found[5, MEAN] == alone[3, MEAN]


def test_whether_a_field_has_numbers_is_said_by_rated_items_alone():
    """A new item of an unknown year takes nothing from the others; a rated one makes years words, each for itself."""
    years = ["1994", "1994", "1997", "1999", "1997", "soon"]
    found = statistics([None] * 6, years=years)
    assert found[:5].tolist() == statistics([None] * 5, years=years[:5]).tolist()
    assert found[5, MEAN] == statistics([None] * 4, years=["1994", "1994", "1997", None])[3, MEAN]
    words = statistics([None] * 5, years=["1994", "soon", "1997", "1999", "1997"])
    assert words[3].tolist() != words[4].tolist()


def test_words_of_titles_are_values_and_a_year_at_their_end_is_none():
    titles = ["Alien (1979)", "Aliens 2 (1986)", "Jaws 2 (1978)", "Rocky 2 (1979)", "Rocky (1979)"]
    found = statistics([None] * 5, titles=titles)[:, WIDTH:]
    assert found[3, MEAN] != found[4, MEAN]
    assert found[4, MEAN] == found[0, MEAN]


def test_the_training_items_have_mean_0_and_standard_deviation_1():
    found = statistics([["X"], ["X"], ["Y"], ["X"]])
    assert found.shape == (4, 2 * WIDTH)
    assert found[:3, MEAN].mean() == pytest.approx(0, abs=1e-6)
    assert found[:3, MEAN].std() == pytest.approx(1, abs=1e-6)


def test_items_without_ratings_move_nothing():
    few = statistics([["X"], ["X"], ["Y"], ["X"]])
    many = statistics([["X"], ["X"], ["Y"], ["X"], ["Y"], ["Z"]])
    assert few[:4].tolist() == many[:4].tolist()
