"""Item vectors for which a new user's ridge regression is the exact posterior: factor analysis by variational Bayes.

What the item level leaves of a rating is e_ui = p_u·q_i + ε with

    p_u ~ N(m, I),    q_i ~ N(c, diag(τ)),    ε ~ N(0, σ²),

and m, c, τ and σ² fitted along. Users and items are fitted in turn as in alternating least squares, each with what is
not known of the other side: with S_i the covariance of q_i,

    cov p_u = (I + Σ_i (q_i q_iᵀ + S_i) / σ²)⁻¹,    p_u = cov p_u (m + Σ_i q_i e_ui / σ²),

and likewise for items. Vectors of few ratings shrink by themselves, so that more dimensions help where alternating
least squares begins to learn its training ratings by heart; there is no penalty to choose. Where ratings are too few to
tell tastes from noise, none are found.

Lim and Teh: "Variational Bayesian Approach to Movie Rating Prediction" (KDD Cup and Workshop 2007), here with the
users' variance held at 1 and with means on both sides.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from metarec.data.least_squares import Groups, Ratings, group_ratings, sum_of_products

NUM_SWEEPS = 30
_FIRST_CONSTANT = 0.5
"""The first dimension of every item before the first sweep: the users' own bias."""
_FIRST_SCALE = 0.2
"""Standard deviation of the others."""
_FIRST_VARIANCE = 0.1
"""τ of each."""
_SMALLEST = 1e-12
"""Of variances: what ratings without any noise would bring to zero."""


class Beliefs(NamedTuple):
    """Normal posteriors of the vectors of users or of items."""

    mean: Float64[Tensor, "members rank"]
    covariance: Float64[Tensor, "members rank rank"]

    @property
    def second_moment(self) -> Float64[Tensor, "members rank rank"]:
        """E[v vᵀ] of each."""
        return self.mean[:, :, None] * self.mean[:, None, :] + self.covariance


class Prior(NamedTuple):
    """A normal distribution with independent dimensions."""

    mean: Float64[Tensor, " rank"]
    variance: Float64[Tensor, " rank"]


class FactorAnalysis(NamedTuple):
    """What is known before a new user rates anything.

    Attributes:
        items: q and S; the prior's for an item without a rating.
        item_prior: c and τ.
        user_prior: m, and ones.
        noise_variance: σ², in squared rating points.
    """

    items: Beliefs
    item_prior: Prior
    user_prior: Prior
    noise_variance: Float64[Tensor, ""]

    @property
    def vectors(self) -> Float64[Tensor, "items rank"]:
        """q / σ: a new user's p is the ridge regression with penalty 1 of e / σ on those of her items, towards m."""
        return self.items.mean / self.noise_variance.sqrt()


def analyse_factors(
    ratings: Ratings, *, num_users: int, num_items: int, rank: int, seed: int, num_sweeps: int = NUM_SWEEPS
) -> FactorAnalysis:
    """Fit the model of this file.

    Args:
        ratings: e, each rating's residual over the item level, with its user and item; the user's own bias still in it.
        num_users, num_items: how many there are.
        rank: the length of p and q, 1 or more.
        seed: of the first item vectors.
        num_sweeps: how often both sides are fitted.
    """
    generator = torch.Generator().manual_seed(seed)
    vectors = _FIRST_SCALE * torch.randn(num_items, rank, dtype=torch.float64, generator=generator)
    vectors[:, 0] = _FIRST_CONSTANT
    centre = torch.zeros_like(vectors[0])
    centre[0] = _FIRST_CONSTANT
    guess = FactorAnalysis(
        items=Beliefs(vectors, vectors.new_zeros(num_items, rank, rank)),
        item_prior=Prior(centre, torch.full_like(centre, _FIRST_VARIANCE)),
        user_prior=Prior(torch.zeros_like(centre), torch.ones_like(centre)),
        noise_variance=ratings.residual.square().sum().clamp(min=_SMALLEST) / max(len(ratings.residual), 1),
    )
    return refit_factors(guess, ratings, num_users=num_users, num_sweeps=num_sweeps)


def refit_factors(start: FactorAnalysis, ratings: Ratings, *, num_users: int, num_sweeps: int) -> FactorAnalysis:
    """Go on from a fit, to other ratings of the same items; its dimensions keep their meaning.

    Args:
        start: the fit.
        ratings, num_users, num_sweeps: as in `analyse_factors`.
    """
    items, item_prior, user_prior, noise = start
    by_user = group_ratings(ratings.user, ratings.item, ratings.residual, num_users)
    by_item = group_ratings(ratings.item, ratings.user, ratings.residual, len(items.mean))
    is_rated = torch.bincount(ratings.item, minlength=len(items.mean)) > 0
    has_rated = torch.bincount(ratings.user, minlength=num_users) > 0
    if not bool(is_rated.any()):
        return start
    gram, moment = _sums(by_user, items)
    for _ in range(num_sweeps):
        users = _believe(gram, moment, user_prior, noise)
        items = _believe(*_sums(by_item, users), item_prior, noise)
        gram, moment = _sums(by_user, items)
        noise = _expected_noise(gram, moment, users, ratings)
        item_prior, found = _fit_prior(items, is_rated), _fit_prior(users, has_rated)
        scale = found.variance.sqrt()  # users' variance back to 1, and items' to what leaves every p·q as it is
        items = Beliefs(items.mean * scale, items.covariance * scale[:, None] * scale)
        gram, moment = gram * scale[:, None] * scale, moment * scale
        item_prior = Prior(item_prior.mean * scale, item_prior.variance * scale.square())
        user_prior = Prior(found.mean / scale, torch.ones_like(scale))
    return FactorAnalysis(items, item_prior, user_prior, noise)


def _sums(
    groups: Groups, others: Beliefs
) -> tuple[Float64[Tensor, "groups rank rank"], Float64[Tensor, "groups rank"]]:
    """For each member of one side the expected sums over its ratings of v vᵀ and v e, with v of the other side."""
    return sum_of_products(groups, others.second_moment, others.mean)


def _believe(
    gram: Float64[Tensor, "members rank rank"],
    moment: Float64[Tensor, "members rank"],
    prior: Prior,
    noise: Float64[Tensor, ""],
) -> Beliefs:
    """The posterior of one side's vectors, given the sums over the other side's."""
    covariance = torch.linalg.inv(gram / noise + torch.diag(1 / prior.variance))
    return Beliefs((covariance @ (moment / noise + prior.mean / prior.variance)[..., None]).squeeze(-1), covariance)


def _expected_noise(
    gram: Float64[Tensor, "users rank rank"], moment: Float64[Tensor, "users rank"], users: Beliefs, ratings: Ratings
) -> Float64[Tensor, ""]:
    """The mean over the ratings of the expected (e - p·q)², from the users' sums over their items."""
    explained = 2 * (moment * users.mean).sum() - (gram * users.second_moment).sum()
    return ((ratings.residual.square().sum() - explained) / len(ratings.residual)).clamp(min=_SMALLEST)


def _fit_prior(side: Beliefs, counts: Bool[Tensor, " members"]) -> Prior:
    """Mean and variances that make the beliefs about the members that count most likely."""
    chosen = Beliefs(side.mean[counts], side.covariance[counts])
    mean = chosen.mean.mean(dim=0)
    spread = (chosen.mean - mean).square() + chosen.covariance.diagonal(dim1=1, dim2=2)
    return Prior(mean, spread.mean(dim=0).clamp(min=_SMALLEST))
