"""What the lists are like that users get: how much of the catalogue they show, and how unlike their items are."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metarec.metrics.ties import tied_ranks


def list_membership(
    score: Float[Tensor, "*tasks rows"], mask: Bool[Tensor, "*tasks rows"], *, k: int
) -> Float[Tensor, "*tasks rows"]:
    """The probability of each row to be in its task's list of k, tied scores in random order; 0 for padded rows."""
    assert k >= 1
    tied = tied_ranks(score, mask)
    share = tied.share_in_top(k)
    return torch.where(mask, torch.zeros_like(score).scatter(-1, tied.row, share.to(score.dtype)), 0)


def catalogue_coverage(membership: Float[Tensor, "lists items"]) -> Float[Tensor, ""]:
    """The share of the catalogue that stands in at least one list.

    With the probability p_li of item i to be in list l, and lists whose ties fall independently:
    (1 / items) Σ_i (1 - Π_l (1 - p_li)).

    Args:
        membership: p, from `list_membership`; 0 where an item was no candidate.

    Source: Ge, Delgado-Battenfeld and Jannach, RecSys 2010, section 3.

    Example:
        >>> catalogue_coverage(torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 0.5, 0.5, 0.0]]))
        tensor(0.5000)
    """
    return (1 - (1 - membership).prod(dim=0)).mean()


def diversity_at_k(
    score: Float[Tensor, "*tasks rows"],
    mask: Bool[Tensor, "*tasks rows"],
    feature: Int[Tensor, "*tasks rows values"],
    weight: Float[Tensor, "*tasks rows values"],
    *,
    k: int,
    num_features: int,
) -> Float[Tensor, "*tasks"]:
    """Intra-list diversity: the mean of 1 - cosine over all pairs of items of each task's list of k.

    Items are sparse vectors v of length 1. The sum of cosines over pairs follows from sums of vectors: with the rows
    that are certainly in the list summing to S, and g tied rows, summing to B, for its last m places, it is
    (|S|² - n) + 2 (m / g) S·B + m (m - 1) / (g (g - 1)) (|B|² - g) in expectation over the order of the tied rows.

    Args:
        score: what rows are ranked by.
        mask: which rows count; a task with fewer than k has as long a list as it has rows.
        feature: which elements of an item's vector are not 0, each once.
        weight: those elements; all 0 for an item of which nothing is known, which is like no other.
        k: the length of the list.
        num_features: the length of the vectors.

    Returns:
        A number in [0, 1] where no element is negative; NaN for a list of fewer than two items.

    Source: Ziegler et al., WWW 2005, section 3.3, as a distance.
    """
    tied = tied_ranks(score, mask)
    length = mask.sum(-1).clamp(max=k)
    share = torch.where(tied.position < mask.sum(-1, keepdim=True), tied.share_in_top(k), 0).to(score.dtype)
    certain, open_ = share * (share == 1), (share > 0) & (share < 1)
    used = max(int((share > 0).sum(-1).max()), 1) if share.numel() else 1
    row = tied.row[..., :used, None].expand(*tied.row.shape[:-1], used, feature.shape[-1])
    values, weights = feature.gather(-2, row).flatten(-2), weight.gather(-2, row)
    lengths = weights.square().sum(-1)

    def total(chosen: Float[Tensor, "*tasks rows"]) -> tuple[Tensor, Tensor]:
        kept = chosen[..., :used]
        empty = weights.new_zeros(*kept.shape[:-1], num_features)
        return empty.scatter_add(-1, values, (weights * kept[..., None]).flatten(-2)), (lengths * kept).sum(-1)

    (fixed, fixed_own), (tie, tie_own) = total(certain), total(open_.to(score.dtype))
    size = open_.sum(-1).to(score.dtype)
    places = length - certain.sum(-1)
    one = places / size.clamp(min=1)
    both = one * (places - 1).clamp(min=0) / (size - 1).clamp(min=1)
    cosines = (fixed * fixed).sum(-1) - fixed_own
    cosines = cosines + 2 * one * (fixed * tie).sum(-1) + both * ((tie * tie).sum(-1) - tie_own)
    return torch.where(length > 1, 1 - cosines / (length * (length - 1)), torch.nan)
