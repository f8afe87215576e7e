"""Errors and nDCG against answers known by hand, a brute-force expectation and scikit-learn."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import mean_absolute_error, mean_squared_error, ndcg_score

from metarec.metrics import log_loss, mae, ndcg_at_k, squared_error


def row(*values):
    return torch.tensor(values, dtype=torch.float64)


def all_of(values):
    return torch.ones(values.shape, dtype=torch.bool)


@st.composite
def rankings(draw, max_rows=6):
    """Scores with many ties, targets from 0 to 5, of which at least one is above 0."""
    num_rows = draw(st.integers(2, max_rows))
    score = draw(st.lists(st.integers(-2, 2), min_size=num_rows, max_size=num_rows))
    target = draw(st.lists(st.integers(0, 5), min_size=num_rows, max_size=num_rows).filter(any))
    return row(*map(float, score)), row(*map(float, target))


def ndcg_of_order(order, target, k):
    """nDCG of one order without ties, by its definition, with gains that are too large for floating point."""

    def dcg(values):
        gains = (Fraction(2**value - 1, 2 ** max(target)) for value in values[:k])
        return sum(float(gain) / math.log2(rank + 2) for rank, gain in enumerate(gains))

    values = target = list(map(int, target.tolist()))
    return dcg([values[i] for i in order]) / dcg(sorted(values, reverse=True))


def test_mae_is_the_mean_distance_of_real_rows():
    prediction, target = row(3.0, 5.0, 1.0), row(4.0, 3.0, 9.0)
    assert mae(prediction, target, torch.tensor([True, True, False])).item() == 1.5


def test_squared_error_is_the_mean_square_of_real_rows():
    prediction, target = row(3.0, 5.0, 1.0), row(4.0, 3.0, 9.0)
    assert squared_error(prediction, target, torch.tensor([True, True, False])).item() == 2.5


def test_errors_ignore_a_padded_row_that_is_not_finite():
    prediction, target, mask = row(3.0, math.nan), row(4.0, 0.0), torch.tensor([True, False])
    assert mae(prediction, target, mask).item() == 1.0
    assert squared_error(prediction, target, mask).item() == 1.0


@pytest.mark.parametrize("metric", [mae, squared_error, lambda *rows: ndcg_at_k(*rows, k=3)])
def test_a_task_without_rows_has_no_value(metric):
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    assert metric(torch.zeros(2, 3), torch.ones(2, 3), nothing).isnan().all()


def test_ndcg_of_a_reversed_pair_is_known_by_hand():
    """Gains 1 and 7: the wrong order gives 1 + 7 / log2(3), the right one 7 + 1 / log2(3)."""
    value = ndcg_at_k(row(2.0, 1.0), row(1.0, 3.0), all_of(row(0, 0)), k=2).item()
    assert value == pytest.approx((1 + 7 / math.log2(3)) / (7 + 1 / math.log2(3)), abs=1e-15)


def test_ndcg_at_1_of_a_constant_scorer_is_the_mean_gain_over_the_best():
    """Gains 1, 3, 7, 31: on average 10.5 of 31."""
    target = row(1.0, 2.0, 3.0, 5.0)
    assert ndcg_at_k(torch.zeros(4).double(), target, all_of(target), k=1).item() == pytest.approx(10.5 / 31)


def test_ndcg_of_a_query_shorter_than_k_judges_the_rows_that_are_there():
    score, target = row(1.0, 2.0), row(3.0, 1.0)
    assert torch.equal(
        ndcg_at_k(score, target, all_of(score), k=5),
        ndcg_at_k(score, target, all_of(score), k=2),
    )


def test_ndcg_has_no_value_where_every_target_is_zero():
    batch = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    value = ndcg_at_k(torch.tensor([[1.0, 2.0], [1.0, 2.0]]), batch, all_of(batch), k=1)
    assert value[0].isnan()
    assert value[1] == 1


@given(rankings(max_rows=5), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_ndcg_with_ties_is_the_mean_over_all_orders_of_tied_rows(ranking, k):
    score, target = ranking
    orders = [
        order
        for order in itertools.permutations(range(len(score)))
        if all(score[a] >= score[b] for a, b in itertools.pairwise(order))
    ]
    expected = np.mean([ndcg_of_order(order, target, k) for order in orders])
    assert ndcg_at_k(score, target, all_of(score), k=k).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(st.lists(st.integers(0, 5000), min_size=2, max_size=6).filter(any), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_ndcg_overflows_on_no_scale(dtype, targets, k):
    """2^5000 is no number in floating point; in float32 2^128 is none."""
    target = torch.tensor(targets, dtype=dtype)
    score = torch.arange(len(targets), dtype=dtype)
    expected = ndcg_of_order(range(len(targets))[::-1], target, k)
    assert ndcg_at_k(score, target, all_of(score), k=k).item() == pytest.approx(expected, rel=1e-5, abs=1e-12)


@given(rankings(max_rows=12), st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_ndcg_equals_scikit_learns_on_exponential_gains(ranking, k):
    score, target = ranking
    gains = (2**target - 1).numpy()
    expected = ndcg_score(gains[None], score.numpy()[None], k=k)
    assert ndcg_at_k(score, target, all_of(score), k=k).item() == pytest.approx(expected, abs=1e-12)


@given(rankings(), st.integers(1, 6), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_ndcg_depends_neither_on_the_order_of_rows_nor_on_padding(ranking, k, random):
    score, target = ranking
    order = list(range(len(score)))
    random.shuffle(order)
    padded = torch.cat([score[order], row(99.0)]), torch.cat([target[order], row(5.0)])
    mask = torch.tensor([True] * len(score) + [False])
    value = ndcg_at_k(*padded, mask, k=k)
    assert value.item() == pytest.approx(ndcg_at_k(score, target, all_of(score), k=k).item(), abs=1e-14)
    assert 0 <= value <= 1 + 1e-12


def test_a_batch_gives_what_each_task_gives_alone():
    generator = torch.Generator().manual_seed(0)
    score, target = torch.randn(2, 4, 7, generator=generator).double().unbind()
    target, mask = target.abs(), torch.rand(4, 7, generator=generator) < 0.7
    for metric in (mae, squared_error, lambda *rows: ndcg_at_k(*rows, k=3)):
        alone = torch.stack([metric(*task) for task in zip(score, target, mask, strict=True)])
        torch.testing.assert_close(metric(score, target, mask), alone, rtol=0, atol=1e-14, equal_nan=True)


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_errors_equal_scikit_learns(rows):
    prediction, target = (row(*column) for column in zip(*rows, strict=True))
    for metric, reference in ((mae, mean_absolute_error), (squared_error, mean_squared_error)):
        expected = reference(target, prediction)
        assert metric(prediction, target, all_of(target)).item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.integers(0, 1)), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_log_loss_equals_scikit_learns(rows):
    probability, event = (row(*map(float, column)) for column in zip(*rows, strict=True))
    expected = sklearn_log_loss(event, probability, labels=[0, 1])
    assert log_loss(probability, event, all_of(event)).item() == pytest.approx(expected, rel=1e-10)


def test_log_loss_of_a_certain_mistake_is_finite():
    assert log_loss(row(0.0), row(1.0), all_of(row(0.0))).item() == pytest.approx(-math.log(1e-7))
