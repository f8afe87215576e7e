"""How good predictions are, for each task of a batch: one definition each, batched and masked.

Every function takes predictions and targets of any leading shape, counts the rows where `mask` is true, and returns NaN
for a task in which the metric is not defined, so that whoever averages over tasks can leave it out and count it.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def mae(
    prediction: Float[Tensor, "*tasks rows"], target: Float[Tensor, "*tasks rows"], mask: Bool[Tensor, "*tasks rows"]
) -> Float[Tensor, "*tasks"]:
    """Mean absolute error of each task.

    With predictions p, targets r and n real rows: (1 / n) Σ |p - r|.

    Args:
        prediction: p, in rating points; clip it to the scale first where results are to be compared.
        target: r, in rating points.
        mask: which rows count; a task without any gets NaN.

    Source: Willmott and Matsuura, Climate Research 30 (2005).

    Example:
        >>> mae(torch.tensor([3.0, 5.0, 1.0]), torch.tensor([4.0, 3.0, 9.0]), torch.tensor([True, True, False]))
        tensor(1.5000)
    """
    return _mean((prediction - target).abs(), mask)


def squared_error(
    prediction: Float[Tensor, "*tasks rows"], target: Float[Tensor, "*tasks rows"], mask: Bool[Tensor, "*tasks rows"]
) -> Float[Tensor, "*tasks"]:
    """Mean squared error of each task, the task's part of an RMSE.

    With predictions p, targets r and n real rows: (1 / n) Σ (p - r)². RMSE is the root of its mean over tasks: a mean
    of the tasks' own roots would be smaller.

    Args:
        prediction: p, in rating points; clip it to the scale first where results are to be compared.
        target: r, in rating points.
        mask: which rows count; a task without any gets NaN.

    Source: Herlocker et al., Evaluating collaborative filtering recommender systems, TOIS 22 (2004), section 4.2.

    Example:
        >>> squared_error(torch.tensor([3.0, 5.0]), torch.tensor([4.0, 3.0]), torch.tensor([True, True]))
        tensor(2.5000)
    """
    return _mean((prediction - target).square(), mask)


def ndcg_at_k(
    score: Float[Tensor, "*tasks rows"],
    target: Float[Tensor, "*tasks rows"],
    mask: Bool[Tensor, "*tasks rows"],
    *,
    k: int,
) -> Float[Tensor, "*tasks"]:
    """Normalised discounted cumulative gain of the k best-scored rows of each task, tied scores in random order.

    A row with target r at rank j (1 is best) adds (2^r - 1) / log2(j + 1) for j ≤ k. Rows with the same score share the
    mean discount of the ranks that they fill together, which is the expectation over their random order: a constant
    scorer gets exactly what chance gives. The sum is divided by that of the best order.

    Args:
        score: what the rows are ranked by, unclipped: clipping would tie the rows that matter most.
        target: r, at least 0.
        mask: which rows count; a task with fewer than k is judged on those it has.
        k: how many ranks count, at least 1.

    Returns:
        A number in [0, 1]; NaN where every target is 0 or no row counts, since then no order is better than another.

    Source: Burges et al., ICML 2005 (gain); McSherry and Najork, ECIR 2008, section 3 (ties).

    Example:
        >>> everything = torch.ones(2, dtype=torch.bool)
        >>> ndcg_at_k(torch.tensor([0.0, 0.0]), torch.tensor([1.0, 0.0]), everything, k=1)
        tensor(0.5000)
    """
    assert k >= 1
    num_rows = score.shape[-1]
    ranks = torch.arange(1, num_rows + 1, dtype=score.dtype, device=score.device)
    discount = torch.where(ranks <= k, 1 / torch.log2(ranks + 1), 0)
    gain = torch.where(mask, torch.exp2(target) - 1, 0)
    best = (gain.sort(dim=-1, descending=True).values * discount).sum(-1)
    reached = (gain * _shared_discount(score.masked_fill(~mask, -torch.inf), discount)).sum(-1)
    return torch.where(best > 0, reached / best, torch.nan)


def _shared_discount(
    score: Float[Tensor, "*tasks rows"], discount: Float[Tensor, " rows"]
) -> Float[Tensor, "*tasks rows"]:
    """The mean discount of the ranks that each row shares with those of the same score."""
    num_above = (score[..., None, :] > score[..., :, None]).sum(-1)
    num_not_below = (score[..., None, :] >= score[..., :, None]).sum(-1)
    cumulative = torch.cat([discount.new_zeros(1), discount.cumsum(0)])
    return (cumulative[num_not_below] - cumulative[num_above]) / (num_not_below - num_above)


def _mean(error: Float[Tensor, "*tasks rows"], mask: Bool[Tensor, "*tasks rows"]) -> Float[Tensor, "*tasks"]:
    return torch.where(mask, error, 0).sum(-1) / mask.sum(-1)
