"""The learned prior against what can be solved by hand, against the normal equations and against the ridge head."""

import math

import numpy as np
import pytest
import torch

from metarec.algorithms.alpaca import IMPLICIT_DAMPING
from tests.points import plane, points_task, predictions
from tests.worlds import make_batch, make_catalogue, make_learner

LINE = {(1.0, 0.0): 3.0, (2.0, 0.0): 5.0}
CATALOGUE = make_catalogue()


def test_two_ratings_on_a_line_give_the_weights_worked_out_by_hand():
    """With x = (1, 1), (2, 1) and λ = 1: [[6, 3], [3, 3]] w = (13, 8), so that w = (5/3, 1) and w·(3, 1) = 6."""
    assert predictions(plane("alpaca", "algorithm.ridge=1"), LINE, (3.0, 0.0)) == pytest.approx([6.0], abs=1e-13)


def test_what_was_rated_shifts_the_prior_before_any_rating_is_read():
    """Σ x = (3, 0, 2) over √(2 + 10); A takes the first input to the constant's weight, and λ keeps it there."""
    learner = plane("alpaca", "algorithm.ridge=1e14")
    with torch.no_grad():
        learner.algorithm.implicit[0, 2, 0] = 2.0
    shifted = 2.0 * 3 / math.sqrt(2 + IMPLICIT_DAMPING)
    assert predictions(learner, LINE, (7.0, 1.0)) == pytest.approx([shifted], abs=1e-10)
    assert predictions(learner, dict.fromkeys(LINE, 1.0), (7.0, 1.0)) == pytest.approx([shifted], abs=1e-10)
    assert predictions(learner, {}, (7.0, 1.0)) == [0.0]


def test_without_an_implicit_part_what_was_rated_shifts_nothing_and_no_weight_is_kept_for_it():
    learner = plane("alpaca", "algorithm.ridge=1", "algorithm.implicit=false")
    assert "algorithm.implicit" not in dict(learner.named_parameters())
    assert predictions(learner, dict.fromkeys(LINE, 0.0), (7.0, 1.0)) == [0.0]
    assert predictions(learner, LINE, (3.0, 0.0)) == pytest.approx([6.0], abs=1e-13)


@pytest.mark.parametrize("num_ratings", [1, 2, 3, 9])
def test_the_weights_solve_the_normal_equations_with_a_penalty_for_each_input(num_ratings):
    """(XᵀX + Λ)(w - m) = Xᵀ(y - X m); fewer ratings than inputs, as many, and more."""
    learner = plane("alpaca")
    penalties = np.array([0.3, 2.0, 5.0])
    with torch.no_grad():
        learner.algorithm.prior.copy_(torch.tensor([[1.0, -2.0, 0.5]]))
        learner.algorithm.implicit.copy_(torch.arange(9).double().view(1, 3, 3) / 10)
        learner.algorithm.log_penalty.copy_(torch.tensor(penalties)[None].log())
    generator = np.random.default_rng(num_ratings)
    points, ratings = generator.normal(size=(num_ratings, 2)), generator.normal(size=num_ratings)
    catalogue, batch = points_task({tuple(p): r for p, r in zip(points, ratings, strict=True)}, {(0.0, 0.0): 1.0})
    inputs = np.column_stack([points, np.ones(num_ratings)])
    implicit = np.arange(9.0).reshape(3, 3) / 10
    mean = np.array([1.0, -2.0, 0.5]) + implicit @ inputs.sum(0) / math.sqrt(num_ratings + IMPLICIT_DAMPING)
    expected = mean + np.linalg.solve(inputs.T @ inputs + np.diag(penalties), inputs.T @ (ratings - inputs @ mean))
    found = learner.adapt(catalogue, batch.support, batch.task_seed).weights[0, 0]
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=1e-12)


def test_it_starts_as_the_ridge_head():
    batch = make_batch(6, 0, 2)
    new, known = (make_learner(f"algorithm.name={name}", perturbed=False) for name in ("alpaca", "ridge"))
    torch.testing.assert_close(new.predict(CATALOGUE, batch), known.predict(CATALOGUE, batch), rtol=0, atol=1e-6)


def test_each_head_is_fitted_to_the_rows_in_which_it_was_observed():
    """Of two ratings the second head saw one: λ = 1, x = (2, 1): w = 5 x / 6 and w·(3, 1) = 35 / 6."""
    rated = {(1.0, 0.0): (3.0, None), (2.0, 0.0): (5.0, 5.0)}
    learner = plane("alpaca", "algorithm.ridge=1", num_heads=2)
    assert predictions(learner, rated, (3.0, 0.0), num_heads=2)[0] == pytest.approx([6.0, 35 / 6], abs=1e-13)
