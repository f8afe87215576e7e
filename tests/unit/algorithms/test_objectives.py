"""Objectives on a few rows, each worked out by hand, and what they must not depend on."""

import math

import pytest
import torch

from metarec.algorithms.objectives import Objective
from metarec.config import LOSSES
from metarec.schema import Head

RATING, CLICK = Head("rating", 1.0, 5.0), Head("click", 0.0, 1.0)


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def loss(name, scores, target, observed=None, damping=0.0, head=RATING):
    observed = torch.ones_like(target, dtype=torch.bool) if observed is None else observed
    return Objective([name], [head], [1.0])(scores, target, observed, damping)


def test_the_squared_error_is_the_mean_over_what_was_observed():
    """Errors 1 and 3 are observed, the 100 is not: (1 + 9) / 2."""
    assert loss("squared", column(1, 0, 100), column(0, 3, 0), column(1, 1, 0).bool()).item() == 5.0


def test_the_absolute_error_is_the_mean_over_what_was_observed():
    """Errors 1 and -3 are observed, the 100 is not: (1 + 3) / 2."""
    assert loss("absolute", column(1, 0, 100), column(0, 3, 0), column(1, 1, 0).bool()).item() == 2.0


def test_the_absolute_and_squared_error_is_the_mean_over_what_was_observed():
    """Errors 1 and -3 are observed, the 100 is not: (1 + 2 + 3 + 18) / 2."""
    assert loss("absolute_squared", column(1, 0, 100), column(0, 3, 0), column(1, 1, 0).bool()).item() == 12.0


def test_what_a_squared_error_counts_beside_an_absolute_one_is_a_setting():
    """Errors 1 and -3 with weight 1/2: (1 + 0.5 + 3 + 4.5) / 2."""
    objective = Objective(["absolute_squared"], [RATING], [1.0], squared_weight=0.5)
    assert objective(column(1, 0), column(0, 3), torch.ones(2, 1, dtype=torch.bool)).item() == 4.5


def test_the_cross_entropy_is_that_of_the_target_within_its_scale():
    """A rating of 4 on 1 to 5 is z = 0.75; at s = log 3 the chance is 0.75: its loss is its entropy."""
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert loss("cross_entropy", column(math.log(3)), column(4.0)).item() == pytest.approx(expected, abs=1e-15)


def test_the_pairwise_loss_is_the_mean_over_the_pairs_that_differ():
    """Scores 0, 2, 5 and targets 1, 3, 3: two pairs, log(1 + e^-2) and log(1 + e^-5)."""
    expected = (math.log1p(math.exp(-2)) + math.log1p(math.exp(-5))) / 2
    assert loss("pairwise", column(0, 2, 5), column(1, 3, 3)).item() == pytest.approx(expected, abs=1e-15)


def test_the_softmax_loss_is_the_cross_entropy_of_the_gains():
    """Targets 0, 1, 1: gains share 0, 1/2, 1/2; scores 0, log 2, 0 have chances 1/4, 1/2, 1/4."""
    expected = -(math.log(1 / 2) + math.log(1 / 4)) / 2
    value = loss("softmax", column(0, math.log(2), 0), column(0, 1, 1), head=CLICK)
    assert value.item() == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("name", ["pairwise", "softmax"])
def test_a_ranking_loss_of_equal_targets_is_zero_with_a_gradient_of_zero(name):
    scores = column(1.0, 2.0).requires_grad_()
    value = loss(name, scores, column(3.0, 3.0))
    assert value.item() == 0.0
    assert not torch.autograd.grad(value, scores)[0].any()


def test_damping_adds_ratings_without_an_error():
    """(1 + 9) / (2 + 3)."""
    assert loss("squared", column(1, 0), column(0, 3), damping=3.0).item() == 2.0


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("damping", [0.0, 2.0])
@pytest.mark.parametrize("values", [(), (7.0,)])
def test_the_loss_of_nothing_is_zero_with_a_gradient_of_zero(name, values, damping):
    scores = column(*values).requires_grad_()
    value = loss(name, scores, torch.zeros_like(scores), torch.zeros_like(scores, dtype=torch.bool), damping)
    assert value.item() == 0.0
    assert not torch.autograd.grad(value, scores)[0].any()


@pytest.mark.parametrize("name", LOSSES)
def test_a_row_that_was_not_observed_counts_for_nothing_even_if_it_is_not_a_number(name):
    scores = column(1.0, 0.5, 2.0).requires_grad_()
    value = loss(name, scores, column(2.0, 1.0, math.nan), column(1, 1, 0).bool())
    alone = loss(name, column(1.0, 0.5), column(2.0, 1.0))
    assert value.item() == pytest.approx(alone.item(), abs=1e-15)
    gradient = torch.autograd.grad(value, scores)[0].flatten().tolist()
    assert gradient[2] == 0.0
    assert all(map(math.isfinite, gradient))


def test_each_head_has_its_loss_its_scale_and_its_weight():
    """Squared error 4 with weight 1, cross-entropy log 2 with weight 3, over two observed targets."""
    objective = Objective(["squared", "cross_entropy"], [RATING, CLICK], [1.0, 3.0])
    value = objective(torch.tensor([[3.0, 0.0]]), torch.tensor([[5.0, 1.0]]), torch.tensor([[True, True]]))
    assert value.item() == pytest.approx((4 + 3 * math.log(2)) / 2, abs=1e-6)


def test_predictions_of_the_cross_entropy_lie_on_the_scale_and_others_are_the_scores():
    objective = Objective(["cross_entropy", "squared"], [RATING, CLICK], [1.0, 1.0])
    predictions = objective.predictions(torch.tensor([[[0.0, 7.0]], [[100.0, -7.0]]]))
    assert predictions.tolist() == [[[3.0, 7.0]], [[5.0, -7.0]]]


@pytest.mark.parametrize("name", LOSSES)
def test_its_gradient_has_a_gradient(name):
    scores = torch.tensor([[0.3], [-0.4], [1.7]], dtype=torch.float64, requires_grad=True)
    target = column(2.0, 5.0, 1.0)
    assert torch.autograd.gradcheck(lambda s: loss(name, s, target), scores)
    assert torch.autograd.gradgradcheck(lambda s: loss(name, s, target), scores)
