"""Of every metric: no value leaves its bounds, and who cannot tell rows apart gets what chance gives, and no more."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metarec.metrics import (
    auc,
    average_precision_at_k,
    diversity_at_k,
    f1_at_k,
    hit_rate_at_k,
    list_membership,
    log_loss,
    mae,
    ndcg_at_k,
    precision_at_k,
    recall_at_k,
    reciprocal_rank,
    squared_error,
)

OF_RELEVANCE = {
    "precision": precision_at_k,
    "recall": recall_at_k,
    "f1": f1_at_k,
    "hit rate": hit_rate_at_k,
    "average precision": average_precision_at_k,
    "reciprocal rank": lambda score, relevant, mask, k: reciprocal_rank(score, relevant, mask),
    "auc": lambda score, relevant, mask, k: auc(score, relevant, mask),
}
RELEVANT = 3
"""The lowest target of a relevant row."""


@st.composite
def tasks(draw, max_rows=12):
    """Scores and targets with many ties, targets from 0 to 5, and which rows are real, at least one."""
    num_rows = draw(st.integers(1, max_rows))

    def column(values):
        return draw(st.lists(values, min_size=num_rows, max_size=num_rows))

    score, target, mask = column(st.integers(-2, 2)), column(st.integers(0, 5)), column(st.booleans())
    mask[0] = True
    return torch.tensor(score).double(), torch.tensor(target).double(), torch.tensor(mask)


def assert_within(value, low, high, *, defined):
    """Between its ends, but for rounding, or without a value where it has to be."""
    assert defined != math.isnan(value)
    assert math.isnan(value) or low - 1e-12 <= value <= high + 1e-12


@pytest.mark.parametrize("name", OF_RELEVANCE)
@given(tasks(), st.integers(1, 14))
@settings(max_examples=80, deadline=None)
def test_a_metric_of_relevance_lies_between_0_and_1(name, task, k):
    score, target, mask = task
    relevant = target >= RELEVANT
    defined = bool((relevant & mask).any()) and not (name == "auc" and bool((relevant | ~mask).all()))
    assert_within(OF_RELEVANCE[name](score, relevant, mask, k=k).item(), 0, 1, defined=defined)


@given(tasks(), st.integers(1, 14))
@settings(max_examples=80, deadline=None)
def test_ndcg_lies_between_0_and_1_and_is_1_in_the_best_order(task, k):
    score, target, mask = task
    defined = bool((target * mask > 0).any())
    assert_within(ndcg_at_k(score, target, mask, k=k).item(), 0, 1, defined=defined)
    assert_within(ndcg_at_k(target, target, mask, k=k).item(), 1, 1, defined=defined)


@given(tasks(), st.integers(1, 14))
@settings(max_examples=80, deadline=None)
def test_diversity_lies_between_0_and_1_and_a_list_has_k_rows_or_all(task, k):
    score, target, mask = task
    feature, num_rows = target.long()[:, None], int(mask.sum())
    found = diversity_at_k(score, mask, feature, (feature > 0).double(), k=k, num_features=6).item()
    assert_within(found, 0, 1, defined=min(k, num_rows) > 1)
    membership = list_membership(score, mask, k=k)
    assert membership.min() >= 0
    assert membership.max() <= 1
    assert membership.sum().item() == pytest.approx(min(k, num_rows))


@given(tasks())
@settings(max_examples=80, deadline=None)
def test_an_error_lies_between_0_and_the_largest_there_can_be(task):
    score, target, mask = task
    assert_within(mae(score, target, mask).item(), 0, 7, defined=True)
    assert_within(squared_error(score, target, mask).item(), 0, 49, defined=True)
    assert_within(log_loss(score, target / 5, mask).item(), 0, 16.2, defined=True)  # -log(1e-7) = 16.1


def chance(name, num_rows, num_relevant, k):
    """What a random order of n rows with R relevant ones has in expectation."""
    n, r, m = num_rows, num_relevant, min(k, num_rows)
    return {
        "precision": m * r / n / k,
        "recall": m / n,
        "f1": 2 * (m * r / n) / (k + r),
        "hit rate": 1 - math.comb(n - r, m) / math.comb(n, m),
        "average precision": sum(r / n * (1 + (j - 1) * (r - 1) / max(n - 1, 1)) / j for j in range(1, m + 1))
        / min(r, k),
        "reciprocal rank": sum(math.comb(n - j, r - 1) / math.comb(n, r) / j for j in range(1, n - r + 2)),
        "auc": 0.5 if r < n else math.nan,
    }[name]


@pytest.mark.parametrize("name", OF_RELEVANCE)
@given(st.integers(1, 40), st.data())
@settings(max_examples=80, deadline=None)
def test_a_constant_scorer_gets_what_chance_gives_though_relevant_rows_come_first(name, num_rows, data):
    """An order that rows happen to stand in would give it the most there is."""
    num_relevant, k = data.draw(st.integers(1, num_rows)), data.draw(st.integers(1, num_rows + 2))
    relevant = torch.arange(num_rows + 1) < num_relevant
    mask = torch.arange(num_rows + 1) < num_rows
    found = OF_RELEVANCE[name](torch.zeros(num_rows + 1).double(), relevant, mask, k=k).item()
    assert found == pytest.approx(chance(name, num_rows, num_relevant, k), abs=1e-9, nan_ok=True)


@given(tasks(), st.integers(1, 14))
@settings(max_examples=80, deadline=None)
def test_a_constant_scorer_has_the_mean_gain_at_each_rank_though_the_best_rows_come_first(task, k):
    """nDCG of chance: the mean gain times the sum of discounts, over the best order's sum."""
    target = task[1].sort(descending=True).values
    gains = 2 ** target.numpy() - 1
    discounts = 1 / np.log2(np.arange(2, min(k, len(gains)) + 2))
    best = (gains[: len(discounts)] * discounts).sum()
    expected = gains.mean() * discounts.sum() / best if best else math.nan
    found = ndcg_at_k(torch.zeros_like(target), target, torch.ones_like(target).bool(), k=k).item()
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)
