"""Ranking metrics against answers known by hand, the mean over all orders of tied rows, and scikit-learn."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score

from metarec.metrics import (
    auc,
    average_precision_at_k,
    f1_at_k,
    hit_rate_at_k,
    precision_at_k,
    recall_at_k,
    reciprocal_rank,
)

AT_K = {
    "precision": precision_at_k,
    "recall": recall_at_k,
    "f1": f1_at_k,
    "hit rate": hit_rate_at_k,
    "average precision": average_precision_at_k,
}
METRICS = {
    **AT_K,
    "reciprocal rank": lambda score, relevant, mask, k: reciprocal_rank(score, relevant, mask),
    "auc": lambda score, relevant, mask, k: auc(score, relevant, mask),
}


def by_definition(name, wanted, k):
    """A metric of one order without ties: `wanted` says of each rank whether the row there is relevant."""
    top, num_relevant = wanted[:k], sum(wanted)
    precision, recall = sum(top) / k, sum(top) / num_relevant
    places = [rank for rank, hit in enumerate(wanted, start=1) if hit]
    others = [rank for rank, hit in enumerate(wanted, start=1) if not hit]
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if precision else 0.0,
        "hit rate": float(any(top)),
        "average precision": sum(sum(wanted[:rank]) / rank for rank in places if rank <= k) / min(num_relevant, k),
        "reciprocal rank": 1 / places[0],
        "auc": np.mean([p < o for p in places for o in others]) if others else math.nan,
    }[name]


@st.composite
def rankings(draw, min_rows=1, max_rows=6, ties=True):
    """Scores (with many ties, or none) and which rows are relevant, at least one."""
    num_rows = draw(st.integers(min_rows, max_rows))
    score = draw(
        st.lists(st.integers(-1, 1), min_size=num_rows, max_size=num_rows) if ties else st.permutations(range(num_rows))
    )
    wanted = draw(st.lists(st.booleans(), min_size=num_rows, max_size=num_rows).filter(any))
    return torch.tensor(score, dtype=torch.float64), torch.tensor(wanted)


def value(name, score, wanted, k, mask=None):
    mask = torch.ones_like(wanted) if mask is None else mask
    return METRICS[name](score, wanted, mask, k=k).item()


@pytest.mark.parametrize("name", METRICS)
@given(rankings(), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_of_ties_it_is_the_mean_over_all_orders_of_tied_rows(name, ranking, k):
    score, wanted = ranking
    orders = [
        order
        for order in itertools.permutations(range(len(score)))
        if all(score[a] >= score[b] for a, b in itertools.pairwise(order))
    ]
    expected = np.mean([by_definition(name, wanted[list(order)].tolist(), k) for order in orders])
    assert value(name, score, wanted, k) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", METRICS)
@given(rankings(max_rows=12), st.integers(1, 14), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_it_lies_between_0_and_1_and_depends_neither_on_the_order_of_rows_nor_on_padding(name, ranking, k, random):
    score, wanted = ranking
    order = list(range(len(score)))
    random.shuffle(order)
    padded = torch.cat([score[order], torch.tensor([99.0])]), torch.cat([wanted[order], torch.tensor([True])])
    mask = torch.tensor([True] * len(score) + [False])
    found = value(name, *padded, k, mask)
    assert found == pytest.approx(value(name, score, wanted, k), abs=1e-12, nan_ok=True)
    assert math.isnan(found) or -1e-12 <= found <= 1 + 1e-12


@given(rankings(min_rows=2, max_rows=8), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_precision_recall_and_f1_equal_scikit_learns_mean_over_the_lists_that_ties_allow(ranking, k):
    score, wanted = ranking
    k = min(k, len(score))
    last = score.sort(descending=True).values[k - 1]
    sure, tied = np.flatnonzero(score > last), np.flatnonzero(score == last)
    lists = [[*sure, *some] for some in itertools.combinations(tied, k - len(sure))]
    chosen = [np.isin(np.arange(len(score)), rows) for rows in lists]
    for name, reference in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        expected = np.mean([reference(wanted.numpy(), each, zero_division=0) for each in chosen])
        assert value(name, score, wanted, k) == pytest.approx(expected, abs=1e-12)


@given(rankings(min_rows=2, max_rows=15))
@settings(max_examples=80, deadline=None)
def test_auc_equals_scikit_learns_with_ties(ranking):
    score, wanted = ranking
    if wanted.all():
        assert math.isnan(value("auc", score, wanted, 1))
    else:
        assert value("auc", score, wanted, 1) == pytest.approx(roc_auc_score(wanted, score), abs=1e-12)


@given(rankings(min_rows=2, max_rows=15, ties=False), st.integers(1, 15))
@settings(max_examples=80, deadline=None)
def test_average_precision_equals_scikit_learns_of_the_list_of_k(ranking, k):
    """Which divides by the relevant rows of the list, and not by those that a list of k could have."""
    score, wanted = ranking
    listed = score.argsort(descending=True)[:k]
    hits, possible = wanted[listed].sum().item(), min(k, wanted.sum().item())
    of_list = average_precision_score(wanted[listed], score[listed]) if hits else 0.0
    assert value("average precision", score, wanted, k) == pytest.approx(of_list * hits / possible, abs=1e-12)


def test_a_constant_scorer_gets_the_expectation_of_chance():
    """10 rows, 3 relevant, lists of 4: hits 1.2; none among 4 of 10 with C(7, 4) / C(10, 4) = 35 / 210.

    The first of 3 relevant rows stands at rank j with C(10 - j, 2) / C(10, 3), j from 1 to 8.
    """
    score, wanted = torch.zeros(10).double(), torch.tensor([True] * 3 + [False] * 7)
    found = {name: value(name, score, wanted, 4) for name in METRICS}
    first = sum(math.comb(10 - j, 2) / math.comb(10, 3) / j for j in range(1, 9))
    mean_precision = sum(0.3 * (1 + (j - 1) * 2 / 9) / j for j in range(1, 5)) / 3
    assert found == pytest.approx(
        {
            "precision": 0.3,
            "recall": 0.4,
            "f1": 2 * 1.2 / 7,
            "hit rate": 1 - 35 / 210,
            "average precision": mean_precision,
            "reciprocal rank": first,
            "auc": 0.5,
        }
    )


def test_a_long_list_of_ties_stays_exact():
    """One relevant among 4,000 equal rows: P(in the first 10) = 1 / 400, and the mean of 1 / rank is H(4000) / 4000."""
    score, wanted = torch.zeros(4000).double(), torch.arange(4000) == 17
    assert value("hit rate", score, wanted, 10) == pytest.approx(1 / 400, rel=1e-9)
    harmonic = sum(1 / rank for rank in range(1, 4001)) / 4000
    assert value("reciprocal rank", score, wanted, 10) == pytest.approx(harmonic, rel=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_a_task_without_a_relevant_row_has_no_value(name):
    assert math.isnan(value(name, torch.arange(3).double(), torch.tensor([False] * 3), 2))
    hidden = torch.tensor([True, False, False])
    assert math.isnan(value(name, torch.arange(3).double(), hidden, 2, ~hidden))


@pytest.mark.parametrize("name", METRICS)
def test_a_batch_gives_what_each_task_gives_alone(name):
    generator = torch.Generator().manual_seed(0)
    score = torch.randint(0, 4, (5, 7), generator=generator).double()
    wanted, mask = (torch.rand(2, 5, 7, generator=generator) < 0.6).unbind()
    alone = torch.stack([METRICS[name](*task, k=3) for task in zip(score, wanted, mask, strict=True)])
    together = METRICS[name](score, wanted, mask, k=3)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-14, equal_nan=True)


@pytest.mark.parametrize("name", METRICS)
def test_a_score_that_is_not_a_number_has_no_rank_and_a_padded_one_does_not_matter(name):
    score, wanted = torch.tensor([1.0, math.nan, 0.0]), torch.tensor([True, False, False])
    assert math.isnan(value(name, score, wanted, 2))
    assert value(name, score, wanted, 2, torch.tensor([True, False, True])) > 0
