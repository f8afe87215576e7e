"""What content lets expect of an item's bias: by values, by words, and by two values together."""

import numpy as np
import pytest

from metarec.data.content_expectation import content_expectation, expectation_of_unrated
from metarec.data.content_values import Values

NUM_RATED = 400
RNG = np.random.default_rng(0)
HAS = RNG.random((NUM_RATED, 2)) < 0.5
NEW = np.array([[False, False], [True, False], [False, True], [True, True]])
"""Items that nobody has rated, one with each combination of two values."""
KNOWN = np.arange(NUM_RATED + len(NEW)) < NUM_RATED


def values_of(has):
    return Values(*np.nonzero(has), num_values=has.shape[1])


def expected(effect, *, fields=True, words=False):
    """What is expected of the new items where rated ones have an effect of their two values, and some noise."""
    everything, nothing = np.concatenate([HAS, NEW]), np.zeros((len(KNOWN), 1), bool)
    bias = np.zeros((len(KNOWN), 1))
    bias[KNOWN, 0] = effect(*HAS.T) + RNG.normal(scale=0.1, size=NUM_RATED)
    in_fields = [values_of(everything)] if fields else []
    found = content_expectation(in_fields, values_of(everything if words else nothing), KNOWN, bias).field
    assert found[KNOWN].mean() == pytest.approx(0, abs=1e-5)
    assert found[KNOWN].std() == pytest.approx(1, abs=1e-5)
    return found[~KNOWN, 0]


def test_two_values_together_promise_what_neither_does_alone():
    neither, first, second, both = expected(np.logical_xor)
    assert min(first, second) > 0.5
    assert max(neither, both) < -0.2


def test_words_count_one_by_one():
    neither, first, second, both = expected(lambda a, b: a - 0.5 * b, fields=False, words=True)
    assert first > both > neither > second
    neither, first, second, both = expected(np.logical_xor, fields=False, words=True)
    assert neither + both == pytest.approx(first + second, abs=1e-4)


def test_of_an_item_with_very_many_values_no_two_are_taken_together():
    """The two of the effect and twenty-one more, as many as all others have."""
    everything = np.concatenate([np.concatenate([HAS, NEW]), np.ones((len(KNOWN), 21), bool)], axis=1)
    bias = np.zeros((len(KNOWN), 1))
    bias[KNOWN, 0] = np.logical_xor(*HAS.T) + RNG.normal(scale=0.1, size=NUM_RATED)
    empty = values_of(np.zeros((len(KNOWN), 1), bool))
    of_many = content_expectation([values_of(everything)], empty, KNOWN, bias).field
    of_words = content_expectation([], values_of(everything), KNOWN, bias).field
    np.testing.assert_allclose(of_many[~KNOWN][1:], of_words[~KNOWN][1:], atol=1e-3)


def test_without_content_nothing_is_expected_but_the_mean():
    empty = values_of(np.zeros((len(KNOWN), 1), bool))
    bias = RNG.normal(size=(len(KNOWN), 1))
    found = content_expectation([empty], empty, KNOWN, bias)
    assert not found.field.any()


def test_what_unrated_items_have_as_bias_does_not_count():
    bias = RNG.normal(size=(len(KNOWN), 2))
    field = values_of(np.concatenate([HAS, NEW]))
    other = np.where(KNOWN[:, None], bias, 7.0)
    for found, without in zip(
        content_expectation([field], field, KNOWN, bias), content_expectation([field], field, KNOWN, other), strict=True
    ):
        assert found.tolist() == without.tolist()


def test_one_regression_says_the_same_of_unrated_items():
    bias = RNG.normal(size=(len(KNOWN), 2))
    field = values_of(np.concatenate([HAS, NEW]))
    found = content_expectation([field], field, KNOWN, bias)
    again = expectation_of_unrated([field], field, KNOWN, found.unit_bias)
    np.testing.assert_allclose(again, found.field[~KNOWN], atol=1e-6)
