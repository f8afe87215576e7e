"""Ridge and alternating least squares against plain loops."""

import pytest
import torch

from metarec.data.least_squares import Ratings, beside_bias, factorise, penalties, solve_ridge


def random_ratings():
    generator = torch.Generator().manual_seed(1)
    user, item = torch.randint(6, (40,), generator=generator), torch.randint(8, (40,), generator=generator)
    return Ratings(user, item, torch.randn(40, generator=generator, dtype=torch.float64))


def test_ridge_in_one_dimension_is_known_by_hand():
    """x = (1, 2), e = (3, 6), λ = 1: 15 / (5 + 1)."""
    solution = solve_ridge(torch.tensor([[5.0]]).double(), torch.tensor([15.0]).double(), 1.0)
    assert solution.tolist() == [2.5]


def test_each_weight_of_a_ridge_can_have_a_penalty_of_its_own():
    """Two features that are never met together: 15 / (5 + 1) and 15 / (5 + 10)."""
    gram, moment = 5.0 * torch.eye(2).double(), torch.tensor([15.0, 15.0]).double()
    assert solve_ridge(gram, moment, penalties(1, 1.0, 10.0)).tolist() == [2.5, 1.0]


@pytest.mark.parametrize("bias_damping", [None, 2.0])
def test_factors_are_a_stationary_point_of_the_objective(bias_damping):
    """Users are solved for one by one, a bias as the weight of a feature that is 1; then no step of the items helps."""
    ratings, penalty, damping = random_ratings(), 0.5, bias_damping or 1e12
    items = factorise(
        ratings, num_users=6, num_items=8, rank=2, penalty=penalty, num_sweeps=200, seed=0, bias_damping=bias_damping
    )
    users = torch.zeros(6, 3, dtype=torch.float64)
    for user in range(6):
        known = beside_bias(items[ratings.item[ratings.user == user]])
        moment = known.T @ ratings.residual[ratings.user == user]
        users[user] = solve_ridge(known.T @ known, moment, penalties(2, penalty, damping))
    items.requires_grad_()
    error = ratings.residual - (users[ratings.user] * beside_bias(items)[ratings.item]).sum(-1)
    (gradient,) = torch.autograd.grad(error.square().sum() + penalty * items.square().sum(), items)
    assert items.norm() > 0.5
    assert users[:, -1].abs().max() > 0.1 or bias_damping is None
    assert gradient.abs().max() < 1e-5


def test_factors_do_not_depend_on_the_order_of_ratings():
    ratings = random_ratings()
    shuffled = Ratings(*(leaf.flip(0) for leaf in ratings))
    arguments = {"num_users": 6, "num_items": 8, "rank": 3, "penalty": 1.0, "num_sweeps": 5, "seed": 0}
    torch.testing.assert_close(factorise(ratings, **arguments), factorise(shuffled, **arguments), rtol=0, atol=1e-12)


def test_an_item_without_a_rating_has_no_factors():
    factors = factorise(random_ratings(), num_users=6, num_items=9, rank=2, penalty=1.0, num_sweeps=3, seed=0)
    assert (factors[8] == 0).all()
