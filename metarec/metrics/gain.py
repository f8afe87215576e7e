"""How much of the best order's gain a ranking reaches."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metarec.metrics.ties import tied_ranks


def ndcg_at_k(
    score: Float[Tensor, "*tasks rows"],
    target: Float[Tensor, "*tasks rows"],
    mask: Bool[Tensor, "*tasks rows"],
    *,
    k: int,
) -> Float[Tensor, "*tasks"]:
    """Normalised discounted cumulative gain of the k best-scored rows of each task, tied scores in random order.

    A row with target r at rank j (1 is best) adds (2^r - 1) / log2(j + 1) for j ≤ k. Rows with the same score share the
    mean gain at each of the ranks that they fill together, which is the expectation over their random order: a constant
    scorer gets exactly what chance gives. The sum is divided by that of the best order. A quotient of gains is that of
    gains in any unit: here it is 2^m, with m a task's highest target, in which no scale overflows.

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
    ranks = torch.arange(1, score.shape[-1] + 1, dtype=score.dtype, device=score.device)
    discount = torch.where(ranks <= k, 1 / torch.log2(ranks + 1), 0)
    counted = torch.where(mask, target, 0)
    ideal = counted.sort(dim=-1, descending=True).values
    highest = ideal[..., :1]
    best = (_gain(ideal, highest) * discount).sum(-1)
    tied, gain = tied_ranks(score, mask), _gain(counted, highest)
    reached = (tied.total(tied.sorted(gain)) / tied.size * discount).sum(-1)
    return torch.where(best > 0, reached / best, torch.nan)


def _gain(target: Float[Tensor, "*tasks rows"], highest: Float[Tensor, "*tasks 1"]) -> Float[Tensor, "*tasks rows"]:
    """2^r - 1 in units of 2^m; exactly 0 where r is."""
    return torch.exp2(target - highest) - torch.exp2(-highest)
