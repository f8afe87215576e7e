"""Regression from sums over rows, by hand."""

import pytest
import torch

from metarec.algorithms.moments import moments_of, posterior_mean


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_the_mean_follows_from_the_sums_of_squares_and_products():
    """x = 1, 2 with r = 3, 5 and a third row that is not observed: G = 5, b = 13."""
    moments = moments_of(column(1, 2, 7), column(3, 5, 9), torch.tensor([[True], [True], [False]]))
    assert (moments.gram.tolist(), moments.product.tolist()) == ([[[5.0]]], [[13.0]])
    assert posterior_mean(moments, column(0), column(1)).item() == pytest.approx(13 / 6)
    assert posterior_mean(moments, column(1), column(3)).item() == pytest.approx(1 + 8 / 8)


def test_the_posterior_of_some_rows_is_the_prior_of_the_next():
    """After x = 1, r = 3 with λ = 1 the precision is 2 and the mean 3 / 2, from which x = 2, r = 5 goes on."""
    whole, first, second = (
        moments_of(column(*x), column(*r), torch.ones(len(x), 1, dtype=torch.bool))
        for x, r in (((1, 2), (3, 5)), ((1,), (3,)), ((2,), (5,)))
    )
    prior = posterior_mean(first, column(0), column(1))
    assert prior.item() == pytest.approx(3 / 2)
    posterior = posterior_mean(second, prior, column(2))
    assert posterior.item() == pytest.approx(posterior_mean(whole, column(0), column(1)).item())


def test_a_system_without_a_factor_is_not_a_number():
    moments = moments_of(column(1), column(3), torch.tensor([[True]]))
    assert posterior_mean(moments._replace(gram=-4 * moments.gram), column(0), column(1)).isnan().all()
