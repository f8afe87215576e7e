import dataclasses

import numpy as np

from metarec.data.histories import Histories
from metarec.data.item_statistics import item_statistics

HISTORIES = Histories(
    user=np.array([0, 1]),
    offsets=np.array([0, 2, 5]),
    item=np.array([0, 2, 0, 2, 1]),
    target=np.array([[1], [4], [5], [4], [3]], np.float32),
    observed=np.ones((5, 1), bool),
)


def test_each_items_ratings_are_counted_with_their_mean_and_variance():
    """Item 0 has 1 and 5, item 1 has 3, item 2 has 4 twice, item 3 none."""
    found = item_statistics([HISTORIES], num_items=4)
    assert found.num_ratings.tolist() == [2, 1, 2, 0]
    assert found.mean.tolist() == [3, 3, 4, 0]
    assert found.variance.tolist() == [4, 0, 0, 0]


def test_several_files_count_as_one():
    parts = [HISTORIES.take(np.array([user])) for user in (0, 1)]
    for one, other in zip(item_statistics(parts, num_items=4), item_statistics([HISTORIES], num_items=4), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_was_not_observed_does_not_count():
    observed = HISTORIES.observed.copy()
    observed[2] = False
    found = item_statistics([dataclasses.replace(HISTORIES, observed=observed)], num_items=4)
    assert (found.num_ratings[0], found.mean[0], found.variance[0]) == (1, 1, 0)
