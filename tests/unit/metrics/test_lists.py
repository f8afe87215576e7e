"""Coverage and diversity of lists against all orders of tied rows."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metarec.metrics import catalogue_coverage, diversity_at_k, list_membership

VECTORS = torch.tensor([[1.0, 0, 0], [0.6, 0.8, 0], [0, 0, 1.0], [0, 0, 0], [0.6, 0, 0.8], [0, 1.0, 0]]).double()


def lists_of(score, k):
    """Every list of k that the scores allow, each as likely as any other."""
    rows = range(len(score))
    return [
        order[:k]
        for order in itertools.permutations(rows)
        if all(score[a] >= score[b] for a, b in itertools.pairwise(order))
    ]


def diversity(score, k, mask=None):
    score = torch.tensor(score, dtype=torch.float64)
    mask = torch.ones_like(score, dtype=torch.bool) if mask is None else mask
    vectors = VECTORS[: len(score)]
    feature = torch.arange(3).expand(len(score), 3)
    return diversity_at_k(score, mask, feature, vectors, k=k, num_features=3).item()


@given(st.lists(st.integers(0, 2), min_size=1, max_size=6), st.integers(1, 7))
@settings(max_examples=80, deadline=None)
def test_membership_is_the_share_of_orders_in_which_a_row_is_in_the_list(score, k):
    lists = lists_of(score, k)
    expected = [np.mean([row in chosen for chosen in lists]) for row in range(len(score))]
    score = torch.tensor(score, dtype=torch.float64)
    found = list_membership(score, torch.ones_like(score, dtype=torch.bool), k=k)
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


def test_a_padded_row_is_in_no_list():
    mask = torch.tensor([True, False, True])
    assert list_membership(torch.tensor([1.0, 9.0, 2.0]), mask, k=3).tolist() == [1, 0, 1]


def test_coverage_is_the_expected_share_of_items_that_somebody_is_shown():
    """Two users who each get one of two items at random: both items are shown in half of the cases."""
    assert catalogue_coverage(torch.full((2, 2), 0.5)).item() == 0.75
    assert catalogue_coverage(torch.tensor([[1.0, 0, 0, 0], [1.0, 0, 0, 0]])).item() == 0.25


@given(st.lists(st.integers(0, 2), min_size=2, max_size=6), st.integers(2, 7))
@settings(max_examples=80, deadline=None)
def test_diversity_is_the_mean_distance_of_pairs_over_all_lists(score, k):
    def of_list(chosen):
        return np.mean([1 - float(VECTORS[a] @ VECTORS[b]) for a, b in itertools.combinations(chosen, 2)])

    expected = np.mean([of_list(chosen) for chosen in lists_of(score, k)])
    assert diversity(score, k) == pytest.approx(expected, abs=1e-12)


def test_diversity_counts_real_rows_alone_and_needs_two():
    mask = torch.tensor([True, True, False])
    assert diversity([1, 2, 9], 3, mask) == pytest.approx(0.4)
    assert math.isnan(diversity([1, 2, 9], 1))
    assert math.isnan(diversity([1, 2, 9], 2, torch.tensor([True, False, False])))
