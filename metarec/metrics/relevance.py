"""Rankings judged by which rows are relevant: each metric is its expectation over the random order of tied rows.

Everywhere `score` is what the rows are ranked by, `relevant` says which rows a user would want, `mask` which rows
count, and a task without a relevant row gets NaN. With R relevant rows, of which H are among the k best:

========================= =============================================
precision@k               H / k, also where there are fewer than k rows
recall@k                  H / R
F1@k                      2 H / (k + R), the harmonic mean of the two
hit rate@k                1 if H > 0, else 0
reciprocal rank           1 / the rank of the first relevant row
average precision@k       Σ_{j ≤ k, row j relevant} (relevant rows among the first j) / j, divided by min(R, k)
AUC                       share of pairs of a relevant and another row in the right order, equal scores counting half
========================= =============================================
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metarec.metrics.ties import TiedRanks, tied_ranks


def precision_at_k(
    score: Float[Tensor, "*tasks rows"],
    relevant: Bool[Tensor, "*tasks rows"],
    mask: Bool[Tensor, "*tasks rows"],
    *,
    k: int,
) -> Float[Tensor, "*tasks"]:
    """H / k: the share of a list of k that is relevant.

    Source: Herlocker et al., TOIS 22 (2004), section 4.2.2.

    Example:
        >>> everything = torch.ones(4, dtype=torch.bool)
        >>> wanted = torch.tensor([True, False, False, True])
        >>> precision_at_k(torch.tensor([4.0, 3.0, 2.0, 1.0]), wanted, everything, k=2)
        tensor(0.5000)
    """
    hits, num_relevant = _hits(score, relevant, mask, k)
    return _where_relevant(num_relevant, hits / k)


def recall_at_k(
    score: Float[Tensor, "*tasks rows"],
    relevant: Bool[Tensor, "*tasks rows"],
    mask: Bool[Tensor, "*tasks rows"],
    *,
    k: int,
) -> Float[Tensor, "*tasks"]:
    """H / R: the share of the relevant rows that a list of k holds.

    Source: Herlocker et al., TOIS 22 (2004), section 4.2.2.
    """
    hits, num_relevant = _hits(score, relevant, mask, k)
    return _where_relevant(num_relevant, hits / num_relevant)


def f1_at_k(
    score: Float[Tensor, "*tasks rows"],
    relevant: Bool[Tensor, "*tasks rows"],
    mask: Bool[Tensor, "*tasks rows"],
    *,
    k: int,
) -> Float[Tensor, "*tasks"]:
    """2 H / (k + R): the harmonic mean of precision and recall of one and the same list; 0 without a hit.

    Source: van Rijsbergen, Information Retrieval (1979), chapter 7.
    """
    hits, num_relevant = _hits(score, relevant, mask, k)
    return _where_relevant(num_relevant, 2 * hits / (k + num_relevant))


def hit_rate_at_k(
    score: Float[Tensor, "*tasks rows"],
    relevant: Bool[Tensor, "*tasks rows"],
    mask: Bool[Tensor, "*tasks rows"],
    *,
    k: int,
) -> Float[Tensor, "*tasks"]:
    """Whether a list of k holds a relevant row; of ties, the probability that it does.

    Only the g tied rows at rank k leave anything open. With r relevant ones, of which m places of the list are filled,
    none is chosen with probability C(g - r, m) / C(g, m).

    Source: Deshpande and Karypis, TOIS 22 (2004), section 6.1.
    """
    tied, ordered = _ranked(score, relevant, mask)
    last = min(k, score.shape[-1]) - 1
    size = tied.size[..., last].to(score.dtype)
    inside, before = tied.total(ordered)[..., last], tied.total_above(ordered)[..., last]
    places = last + 1 - tied.above[..., last]
    missed = _ratio_of_choices(size - inside, size, places)
    return _where_relevant(ordered.sum(-1), torch.where(before > 0, 1.0, 1 - missed))


def reciprocal_rank(
    score: Float[Tensor, "*tasks rows"], relevant: Bool[Tensor, "*tasks rows"], mask: Bool[Tensor, "*tasks rows"]
) -> Float[Tensor, "*tasks"]:
    """1 / the rank of the first relevant row; its mean over tasks is the MRR.

    In a group of g tied rows with r relevant ones the first of those is the j-th with probability
    C(g - j, r - 1) / C(g, r).

    Source: Voorhees, TREC-8 question answering track report (1999).

    Example:
        >>> everything = torch.ones(2, dtype=torch.bool)
        >>> reciprocal_rank(torch.tensor([0.0, 0.0]), torch.tensor([True, False]), everything)
        tensor(0.7500)
    """
    tied, ordered = _ranked(score, relevant, mask)
    inside = tied.total(ordered)
    first = (tied.total_above(ordered) == 0) & (inside > 0)
    place = tied.position - tied.above + 1
    size, rest = tied.size.to(score.dtype), inside.clamp(min=1)
    # C(g - j, r - 1) / C(g, r) = C(g - j, r - 1) / C(g - 1, r - 1) · r / g
    chance = _ratio_of_choices(size - place, size - 1, rest - 1) * rest / size
    value = torch.where(first, chance / (tied.position + 1), 0).sum(-1)
    return _where_relevant(ordered.sum(-1), value)


def average_precision_at_k(
    score: Float[Tensor, "*tasks rows"],
    relevant: Bool[Tensor, "*tasks rows"],
    mask: Bool[Tensor, "*tasks rows"],
    *,
    k: int,
) -> Float[Tensor, "*tasks"]:
    """The mean precision at the ranks of the relevant rows among the best k; its mean over tasks is the MAP@k.

    At the s-th place of a group of g tied rows with r relevant ones, below A relevant rows, a relevant row stands with
    probability r / g, and has A + (s - 1)(r - 1) / (g - 1) relevant rows before it in expectation.

    Source: Buckley and Voorhees, SIGIR 2000 (average precision); McSherry and Najork, ECIR 2008, section 3.3 (ties);
    the divisor min(R, k) is that of the Million Song Dataset challenge (McFee et al., WWW 2012).
    """
    tied, ordered = _ranked(score, relevant, mask)
    inside, before = tied.total(ordered), tied.total_above(ordered)
    earlier = (tied.position - tied.above) * (inside - 1) / (tied.size - 1).clamp(min=1)
    precision = inside / tied.size * (1 + before + earlier) / (tied.position + 1)
    num_relevant = ordered.sum(-1)
    reached = torch.where(tied.position < k, precision, 0).sum(-1)
    return _where_relevant(num_relevant, reached / num_relevant.clamp(max=k))


def auc(
    score: Float[Tensor, "*tasks rows"], relevant: Bool[Tensor, "*tasks rows"], mask: Bool[Tensor, "*tasks rows"]
) -> Float[Tensor, "*tasks"]:
    """The area under the ROC curve: how often a relevant row stands above another; NaN as well where all are relevant.

    Source: Hanley and McNeil, Radiology 143 (1982).
    """
    tied, ordered = _ranked(score, relevant, mask)
    others = tied.sorted((mask & ~relevant).to(score.dtype))
    num_others, num_relevant = others.sum(-1, keepdim=True), ordered.sum(-1)
    below = num_others - tied.total_above(others) - tied.total(others) / 2
    value = (ordered * below).sum(-1) / (num_relevant * num_others[..., 0])
    return _where_relevant(num_relevant * num_others[..., 0], value)


def _ranked(
    score: Float[Tensor, "*tasks rows"], relevant: Bool[Tensor, "*tasks rows"], mask: Bool[Tensor, "*tasks rows"]
) -> tuple[TiedRanks, Float[Tensor, "*tasks rows"]]:
    """The ranks, and for each rank 1 where the row there is relevant."""
    tied = tied_ranks(score, mask)
    return tied, tied.sorted((relevant & mask).to(score.dtype))


def _hits(
    score: Float[Tensor, "*tasks rows"],
    relevant: Bool[Tensor, "*tasks rows"],
    mask: Bool[Tensor, "*tasks rows"],
    k: int,
) -> tuple[Float[Tensor, "*tasks"], Float[Tensor, "*tasks"]]:
    """How many of the best k are relevant, in expectation, and how many rows are."""
    assert k >= 1
    tied, ordered = _ranked(score, relevant, mask)
    return (tied.share_in_top(k).to(score.dtype) * ordered).sum(-1), ordered.sum(-1)


def _where_relevant(num: Float[Tensor, "*tasks"], value: Float[Tensor, "*tasks"]) -> Float[Tensor, "*tasks"]:
    return torch.where(num > 0, value, torch.nan)


def _ratio_of_choices(
    few: Float[Tensor, "*axes"], many: Float[Tensor, "*axes"], chosen: Tensor
) -> Float[Tensor, "*axes"]:
    """C(few, chosen) / C(many, chosen) for few ≤ many; 0 where fewer are there than are chosen."""
    chosen = chosen.to(few.dtype)
    possible = few >= chosen
    n, m, c = (torch.where(possible, each, 1.0) for each in (few, many, chosen))
    ratio = n.add(1).lgamma() - (n - c).add(1).lgamma() - m.add(1).lgamma() + (m - c).add(1).lgamma()
    return torch.where(possible, ratio.exp(), 0.0)
