"""Ridge regression for many users or items at once, and the factorisation that alternates between the two."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor
from torch.nn.functional import embedding_bag, pad

from metarec.data.histories import Histories

_FIRST_SCALE = 0.1
"""Standard deviation of the item factors before the first sweep."""
_TRAINING_DAMPING = 5.0
"""Ratings at the mean added to a training user's bias, as to an item's."""


class Ratings(NamedTuple):
    """Ratings as triples: who, what, and what the biases leave of the target."""

    user: Int64[Tensor, " ratings"]
    item: Int64[Tensor, " ratings"]
    residual: Float64[Tensor, " ratings"]


class Groups(NamedTuple):
    """Ratings sorted by one side: the other side's index and the residual, and where each group starts."""

    other: Int64[Tensor, " ratings"]
    residual: Float64[Tensor, " ratings"]
    start: Int64[Tensor, " groups"]


def group_ratings(
    side: Int64[Tensor, " ratings"],
    other: Int64[Tensor, " ratings"],
    residual: Float64[Tensor, " ratings"],
    num_groups: int,
) -> Groups:
    """The ratings of each user, or of each item, side by side."""
    order = side.argsort(stable=True)
    sizes = torch.bincount(side, minlength=num_groups)
    return Groups(other[order], residual[order], sizes.cumsum(0) - sizes)


def ratings_above(histories: Histories, level: Float64[Tensor, "items heads"], head: int) -> Ratings:
    """What the item level leaves of each observed training target of one head."""
    rows = np.flatnonzero(histories.observed[:, head])
    item = torch.from_numpy(histories.item[rows])
    above = torch.from_numpy(histories.target[rows, head]).double() - level[item, head]
    return Ratings(torch.from_numpy(histories.row_history[rows]), item, above)


def training_residuals(histories: Histories, level: Float64[Tensor, "items heads"], head: int) -> Ratings:
    """What the item level and the user's damped bias leave of each observed training target of one head."""
    user, item, above = ratings_above(histories, level, head)
    bias = torch.bincount(user, above, minlength=len(histories)) / (
        torch.bincount(user, minlength=len(histories)) + _TRAINING_DAMPING
    )
    return Ratings(user, item, above - bias[user])


def factorise(
    ratings: Ratings,
    *,
    num_users: int,
    num_items: int,
    rank: int,
    penalty: float,
    num_sweeps: int,
    seed: int,
    unobserved: float = 0.0,
    bias_damping: float | None = None,
) -> Float64[Tensor, "items rank"]:
    """The item factors q that with user factors p minimise Σ (e - p·q)² + w Σ' (p·q)² + λ (Σ |p|² + Σ |q|²).

    The first sum is over the ratings, the second over all other pairs of a user and an item. With a `bias_damping` d
    each user has a bias b beside p: Σ (e - b - p·q)² + λ (Σ |p|² + Σ |q|²) + d Σ b².

    Users and items are fitted in turn, each a ridge regression on the other side's factors.

    Args:
        ratings: e, each rating's residual, with its user and item.
        num_users, num_items: how many there are; an item without a rating gets 0.
        rank: the length of p and q.
        penalty: λ, above 0.
        num_sweeps: how often both sides are fitted.
        seed: of the first item factors.
        unobserved: w, what a pair without a rating counts as one of 0; below 1, and 0 where users have a bias.
        bias_damping: d, in ratings; None where e has the users' biases out already, or there are none.

    Source: Zhou et al., Large-scale parallel collaborative filtering for the Netflix prize, AAIM 2008, section 3, with
    λ in place of their λ·n; the second sum is that of Hu, Koren and Volinsky, ICDM 2008, whose weights are 1 / w times
    these.
    """
    assert bias_damping is None or not unobserved
    by_user = group_ratings(ratings.user, ratings.item, ratings.residual, num_users)
    by_item = group_ratings(ratings.item, ratings.user, ratings.residual, num_items)
    generator = torch.Generator().manual_seed(seed)
    item_factors = _FIRST_SCALE * torch.randn(num_items, rank, dtype=torch.float64, generator=generator)
    above_bias = by_item
    for _ in range(num_sweeps):
        if bias_damping is None:
            user_factors = _fit_side(by_user, item_factors, penalty, unobserved)
        else:
            fitted = _fit_side(by_user, beside_bias(item_factors), penalties(rank, penalty, bias_damping), unobserved)
            user_factors, bias = fitted[:, :-1], fitted[:, -1]
            above_bias = by_item._replace(residual=by_item.residual - bias[by_item.other])
        item_factors = _fit_side(above_bias, user_factors, penalty, unobserved)
    return item_factors


def beside_bias(factors: Float64[Tensor, "*batch rank"]) -> Float64[Tensor, "*batch width"]:
    """Factors with a last column of ones, whose weight is a bias."""
    return pad(factors, (0, 1), value=1.0)


def penalties(rank: int, penalty: float, bias_damping: float) -> Float64[Tensor, " width"]:
    """What ridge regression on `beside_bias` adds for each weight."""
    return torch.tensor([penalty] * rank + [bias_damping], dtype=torch.float64)


def solve_ridge(
    gram: Float64[Tensor, "*batch rank rank"],
    moment: Float64[Tensor, "*batch rank"],
    penalty: float | Float64[Tensor, " rank"],
) -> Float64[Tensor, "*batch rank"]:
    """The w that minimises |e - X w|² + Σ λ w², from gram = XᵀX and moment = Xᵀe: (XᵀX + diag λ)⁻¹ Xᵀe."""
    ridge = penalty * torch.eye(gram.shape[-1], dtype=gram.dtype)
    return torch.linalg.solve(gram + ridge, moment)


def sum_of_products(
    groups: Groups, products: Float64[Tensor, "others rank rank"], factors: Float64[Tensor, "others rank"]
) -> tuple[Float64[Tensor, "groups rank rank"], Float64[Tensor, "groups rank"]]:
    """For each group the sums over its ratings of q qᵀ, given as `products`, and of q e.

    `embedding_bag` sums a group's rows without ever holding all of them.
    """
    gram = embedding_bag(groups.other, products.flatten(1), groups.start, mode="sum")
    moment = embedding_bag(groups.other, factors, groups.start, mode="sum", per_sample_weights=groups.residual)
    return gram.view(-1, *products.shape[1:]), moment


def _fit_side(
    groups: Groups,
    factors: Float64[Tensor, "others rank"],
    penalty: float | Float64[Tensor, " rank"],
    unobserved: float,
) -> Float64[Tensor, "groups rank"]:
    """One ridge regression a group."""
    gram, moment = sum_of_products(groups, factors[:, :, None] * factors[:, None, :], factors)
    everywhere = unobserved * (factors.T @ factors)
    return solve_ridge(everywhere + (1 - unobserved) * gram, moment, penalty)
