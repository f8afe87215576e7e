"""Factor analysis on ratings that were drawn from its own model."""

import pytest
import torch

from metarec.data.factor_analysis import analyse_factors, refit_factors
from metarec.data.least_squares import Ratings, factorise, solve_ridge

NUM_USERS, NUM_ITEMS, RANK, NOISE = 300, 40, 3, 0.5


def planted(num_users, *, seed, share=0.5):
    """Ratings of users whose tastes are N(m, I), by item vectors that are the same for every seed."""
    items = torch.randn(NUM_ITEMS, RANK, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    tastes = torch.tensor([1.0, 0.0, 0.0]) + torch.randn(num_users, RANK, dtype=torch.float64, generator=generator)
    noise = NOISE * torch.randn(num_users, NUM_ITEMS, dtype=torch.float64, generator=generator)
    everything = tastes @ items.T + noise
    user, item = (torch.rand(num_users, NUM_ITEMS, generator=generator) < share).nonzero(as_tuple=True)
    return items, everything, Ratings(user, item, everything[user, item])


def error_on_new_users(vectors, mean, noise):
    """RMSE on the other items, after 10 ratings of 200 users who were not fitted to."""
    _, everything, _ = planted(200, seed=9)
    above = everything / noise - vectors @ mean
    shown, asked = vectors[:10], vectors[10:]
    tastes = solve_ridge((shown.T @ shown).expand(200, -1, -1), above[:, :10] @ shown, 1.0)
    return float(noise * (above[:, 10:] - tastes @ asked.T).square().mean().sqrt())


def test_new_users_are_predicted_almost_as_well_as_with_the_planted_vectors():
    items, _, ratings = planted(NUM_USERS, seed=1)
    fit = analyse_factors(ratings, num_users=NUM_USERS, num_items=NUM_ITEMS, rank=RANK, seed=0, num_sweeps=100)
    assert abs(float(fit.noise_variance.sqrt()) - NOISE) < 0.01
    known = error_on_new_users(items / NOISE, torch.tensor([1.0, 0.0, 0.0]).double(), NOISE)
    found = error_on_new_users(fit.vectors, fit.user_prior.mean, float(fit.noise_variance.sqrt()))
    assert known < found < 1.02 * known


@pytest.mark.parametrize("penalty", [NOISE**2, 1.0, 2.0])
def test_more_dimensions_than_there_are_do_no_harm_unlike_with_least_squares(penalty):
    """Ten dimensions and 30 ratings an item: least squares learn noise by heart, whatever the penalty."""
    _, _, ratings = planted(60, seed=2)
    arguments = {"num_users": 60, "num_items": NUM_ITEMS, "seed": 0}
    fit = analyse_factors(ratings, rank=10, **arguments)
    noise = float(fit.noise_variance.sqrt())
    analysed = error_on_new_users(fit.vectors, fit.user_prior.mean, noise)
    least_squares = factorise(ratings, rank=10, penalty=penalty, num_sweeps=30, **arguments)
    nothing = torch.zeros(10, dtype=torch.float64)
    assert analysed < 0.8 * error_on_new_users(least_squares / NOISE, nothing, NOISE)


def test_a_fit_goes_on_in_the_same_dimensions_without_some_users():
    _, _, ratings = planted(NUM_USERS, seed=1)
    fit = analyse_factors(ratings, num_users=NUM_USERS, num_items=NUM_ITEMS, rank=RANK, seed=0)
    others = Ratings(*(leaf[ratings.user >= 30] for leaf in ratings))
    refit = refit_factors(fit, others, num_users=NUM_USERS, num_sweeps=10)
    change = (refit.items.mean - fit.items.mean).norm() / fit.items.mean.norm()
    assert 0.001 < change < 0.1


def test_an_item_without_a_rating_has_the_vector_of_the_prior():
    _, _, ratings = planted(NUM_USERS, seed=1)
    fit = analyse_factors(ratings, num_users=NUM_USERS, num_items=NUM_ITEMS + 2, rank=RANK, seed=0)
    assert torch.equal(fit.items.mean[-2], fit.items.mean[-1])
    assert (fit.items.mean[-1] - fit.item_prior.mean).abs().max() < 0.05


def test_no_ratings_at_all_leave_the_first_guess():
    nothing = Ratings(*(torch.zeros(0, dtype=kind) for kind in (torch.int64, torch.int64, torch.float64)))
    fit = analyse_factors(nothing, num_users=3, num_items=4, rank=2, seed=0)
    assert fit.vectors.isfinite().all()
