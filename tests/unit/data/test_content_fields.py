"""What content lets expect of items that nobody has rated, beside other such items and without them."""

import numpy as np
import pyarrow as pa
import pytest

from metarec.data.content_fields import NAMES, Content, content_fields, fields_of_unrated
from metarec.data.features import decode_field, encode_field, fit_field
from metarec.data.reception import Reception

NUM_RATED, NUM_UNRATED = 30, 6
BIAS = "the expected bias"
KINDS = {"tags": "multi_valued", "year": "categorical", "price": "numeric"}
RNG = np.random.default_rng(0)
TAGS = [[f"t{tag}" for tag in RNG.choice(8, RNG.integers(1, 4), replace=False)] for _ in range(NUM_RATED)]
YEARS = [str(1990 + year) for year in RNG.integers(0, 9, NUM_RATED)]
WORDS = RNG.choice(["one", "two", "three"], NUM_RATED)
TITLES = [f"Thing {word} ({year})" for word, year in zip(WORDS, YEARS, strict=True)]


def learned(num_unrated):
    """Of 30 items with random ratings, and others without any."""
    rng = np.random.default_rng(1)
    num_ratings, bias = rng.integers(1, 40, NUM_RATED), rng.normal(size=(NUM_RATED, 1))
    factors, vectors = (rng.normal(size=(NUM_RATED, width)) for width in (2, 3))
    rated = Reception(num_ratings, bias, factors, vectors, bias)
    return rated.with_unrated(num_unrated)


def content(tags, years, titles):
    features = {
        "tags": pa.chunked_array([pa.array(tags, pa.list_(pa.string()))]),
        "year": pa.chunked_array([pa.array(years, pa.string())]),
        "price": pa.chunked_array([pa.nulls(len(tags), pa.float64())]),
    }
    return Content(features, KINDS, pa.chunked_array([pa.array(titles)]))


UNRATED = (
    [["t1", "t2"], ["t1", "never"], None, ["t3", "t3", "t0", "t1", "t2", "t4"], ["never"], ["t5", None]],
    ["1991", "1874", "soon", None, "2024", "1994.0"],
    ["Thing two", "Four (2001)", "", "thing THING", "Thing three (1874)", "17"],
)
"""Known values and unknown ones, more than any rated item has, a number as another text, and a year that is none."""
RATED = (TAGS, YEARS, TITLES)


def everything():
    return content(*(rated + unrated for rated, unrated in zip(RATED, UNRATED, strict=True)))


@pytest.fixture(scope="module")
def whole():
    """The fields of all items, of which the last six have no rating, and the reception in their units."""
    return content_fields(learned(NUM_UNRATED), everything())


def of_unrated(reception, content, name):
    """A field, or the bias that is expected."""
    fields, bias = fields_of_unrated(reception, content)
    return (fields | {BIAS: bias})[name]


def of_all(whole, name):
    """The same of all items."""
    fields, reception = whole
    return (fields | {BIAS: reception.item_bias})[name]


@pytest.mark.parametrize("item", range(NUM_UNRATED))
@pytest.mark.parametrize("name", [*NAMES, BIAS])
def test_an_item_that_joins_later_gets_what_it_had_from_the_start(whole, item, name):
    _, reception = whole
    alone = content(*([*rated, unrated[item]] for rated, unrated in zip(RATED, UNRATED, strict=True)))
    rated = Reception(*(own[:NUM_RATED] for own in reception))
    found = of_unrated(rated.with_unrated(1), alone, name)
    np.testing.assert_allclose(found, of_all(whole, name)[[NUM_RATED + item]], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [*NAMES, BIAS])
def test_encoded_features_of_the_others_are_enough(whole, name):
    """Their vocabularies have rated items' values alone, so that of unrated items most is lost, and it does not matter.

    The last of the items is the one that is asked for.
    """
    _, reception = whole
    items, features = everything(), {}
    for feature in ("tags", "year"):
        column = items.features[feature]
        field = fit_field(feature, KINDS[feature], column.slice(0, NUM_RATED))
        others = decode_field(field, encode_field(field, column.slice(0, NUM_RATED + NUM_UNRATED - 1)))
        features[feature] = pa.chunked_array([*others.chunks, *column.slice(NUM_RATED + NUM_UNRATED - 1).chunks])
    rebuilt = Content(features, {"tags": "multi_valued", "year": "categorical"}, items.titles)
    found = of_unrated(reception, rebuilt, name)
    np.testing.assert_allclose(found[-1], of_all(whole, name)[-1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_unrated_items_change_nothing_for_rated_ones(whole, name):
    fields, _ = whole
    alone, _ = content_fields(learned(0), content(*RATED))
    np.testing.assert_allclose(alone[name], fields[name][:NUM_RATED], rtol=0, atol=1e-6)


def test_unrated_items_have_the_bias_that_their_values_let_expect_and_rated_ones_their_own():
    """A tag is worth a point, the last year as much, and a word half a point, on which no bias goes."""
    num = 4000
    rng = np.random.default_rng(2)
    tags, last, word = (rng.random(num) < 0.5 for _ in range(3))
    bias = (1.0 * tags + 1.0 * last + 0.5 * word)[:, None]
    rated = Reception(np.full(num, 9), bias, np.zeros((num, 2)), np.zeros((num, 3)), bias).with_unrated(5)
    items = content(
        [["good"] if tag else [] for tag in tags] + [[], ["good"], ["good"], ["good"], ["never"]],
        [str(1998 + year) for year in last] + ["1998", "1998", "1999", "2000", "1998"],
        [f"{'Again' if one else 'Once'} (1998)" for one in word] + ["Once", "Once", "Once", "Again", "Once"],
    )
    _, kept = content_fields(rated, items)
    assert kept.item_bias[:num].tolist() == bias.tolist()
    plain, good, best, later, unheard = kept.item_bias[num:, 0]
    assert good - plain == pytest.approx(1.0, abs=0.05)
    assert best - good == pytest.approx(1.0, abs=0.05)
    assert later == pytest.approx((good + best) / 2, abs=0.05)  # of a year that no rated item has nothing is known
    assert unheard == plain


def test_unrated_items_have_the_mean_bias_where_rated_ones_have_no_values():
    rated = learned(2)
    _, kept = content_fields(rated, content([None] * 32, [None] * 32, ["Thing"] * 32))
    np.testing.assert_allclose(kept.item_bias[NUM_RATED:], rated.item_bias[:NUM_RATED].mean(), rtol=1e-6)
