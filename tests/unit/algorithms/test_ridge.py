"""The ridge head against what can be solved by hand and against the normal equations."""

import numpy as np
import pytest
import torch

from metarec.algorithms.ridge import ridge_solution
from metarec.contracts import query_context
from tests.points import plane, points_task, predictions, set_exp
from tests.worlds import examples, make_batch, make_catalogue, make_learner, unbatched

LINE = {(1.0, 0.0): 3.0, (2.0, 0.0): 5.0}


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def test_two_ratings_on_a_line_give_the_weights_worked_out_by_hand():
    """With x = (1, 1), (2, 1) and λ = 1: [[6, 3], [3, 3]] w = (13, 8), so that w = (5/3, 1) and w·(3, 1) = 6."""
    assert predictions(plane("ridge", "algorithm.ridge=1"), LINE, (3.0, 0.0)) == pytest.approx([6.0], abs=1e-14)


@pytest.mark.parametrize("num_ratings", [1, 2, 3, 4, 9])
def test_the_weights_solve_the_normal_equations_around_the_prior_mean(num_ratings):
    """(XᵀX + λ)(w - w_0) = Xᵀ(y - X w_0); fewer ratings than inputs, as many, and more."""
    learner = plane("ridge", "algorithm.ridge=0.7")
    with torch.no_grad():
        learner.algorithm.prior.copy_(normal(1, 3))
    points, ratings = normal(num_ratings, 2).tolist(), normal(num_ratings).tolist()
    catalogue, batch = points_task({tuple(p): r for p, r in zip(points, ratings, strict=True)}, {(0.0, 0.0): 1.0})
    inputs, prior = np.column_stack([points, np.ones(num_ratings)]), learner.algorithm.prior.detach().numpy()[0]
    penalty = learner.algorithm.log_ridge.exp().item() * np.eye(3)
    expected = prior + np.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ (ratings - inputs @ prior))
    found = learner.adapt(catalogue, batch.support, batch.task_seed).weights[0, 0]
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_rows", [2, 5])
def test_each_head_is_fitted_to_the_rows_in_which_it_was_observed(num_rows):
    inputs, targets, penalty = normal(num_rows, 4), normal(num_rows, 2), torch.tensor([0.5, 2.0]).double()
    observed = torch.tensor([[1, 0], [1, 1], [0, 1], [1, 1], [0, 1]]).bool()[:num_rows]
    found = ridge_solution(inputs, targets, observed, penalty)
    for head in range(2):
        rows = observed[:, head]
        alone = ridge_solution(inputs[rows], targets[rows, head, None], rows[rows][:, None], penalty[head, None])
        torch.testing.assert_close(found[head], alone[0], rtol=0, atol=1e-13)


def test_an_endless_penalty_leaves_the_prior():
    learner = plane("ridge")
    set_exp(learner.algorithm.log_ridge, 1e14)
    with torch.no_grad():
        learner.algorithm.prior.copy_(torch.tensor([[2.0, 3.0, 5.0]]))
    assert predictions(learner, LINE, (1.0, 10.0)) == pytest.approx([2 + 30 + 5], abs=1e-10)


def test_a_vanishing_penalty_fits_the_ratings():
    learner = plane("ridge")
    set_exp(learner.algorithm.log_ridge, 1e-9)
    assert predictions(learner, LINE, *LINE) == pytest.approx(list(LINE.values()), abs=1e-6)


@pytest.mark.parametrize("padding", [0, 3])
def test_an_empty_support_leaves_base_and_prior(padding):
    learner, catalogue, batch = make_learner("algorithm.name=ridge"), make_catalogue(), make_batch(0, padding)
    support, query = examples(learner, catalogue, unbatched(batch.support)), unbatched(batch.query)
    encoded, context = learner.model.encode(catalogue, query), query_context(support, len(query.mask))
    prior = learner.algorithm.prior[0]
    expected = learner.model.base(encoded, context)[:, 0] + learner.model.embed({}, encoded, context) @ prior[:-1]
    torch.testing.assert_close(learner.predict(catalogue, batch)[0, :, 0], expected + prior[-1], rtol=0, atol=1e-13)


@pytest.mark.parametrize("num_rows", [2, 5])
def test_a_task_without_a_solution_is_not_a_number_and_its_neighbour_is_untouched(num_rows):
    inputs, targets, penalty = normal(2, num_rows, 3), normal(2, num_rows, 1), torch.ones(1).double()
    inputs[0, 0, 0] = torch.inf
    observed = torch.ones(2, num_rows, 1, dtype=torch.bool)
    found = torch.func.vmap(ridge_solution, in_dims=(0, 0, 0, None))(inputs, targets, observed, penalty)
    assert found[0].isnan().all()
    torch.testing.assert_close(found[1], ridge_solution(inputs[1], targets[1], observed[1], penalty))


def test_the_penalty_starts_at_its_setting_and_the_prior_at_zero():
    algorithm = plane("ridge", "algorithm.ridge=4.0", num_heads=2).algorithm
    torch.testing.assert_close(algorithm.log_ridge.exp(), torch.full((2,), 4.0).double(), rtol=1e-6, atol=0)
    assert algorithm.prior.shape == (2, 3)
    assert not algorithm.prior.any()
