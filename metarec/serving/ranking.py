"""The best items of each user by score, ties by their place in the catalogue."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class BestItems(NamedTuple):
    """The best items of each task.

    Attributes:
        item: indices into the catalogue, best first; of equal ones the first.
        score: theirs.
        num_found: how many of them there are; below k where fewer are left.
    """

    item: Int[Tensor, "tasks best"]
    score: Float[Tensor, "tasks best"]
    num_found: Int[Tensor, " tasks"]


def best_items(
    scores: Float[Tensor, "tasks items"], task: Int[Tensor, " hidden"], item: Int[Tensor, " hidden"], k: int
) -> BestItems:
    """The k best items of each task, without the hidden ones.

    Args:
        scores: finite.
        task, item: the pairs that are left out.
        k: how many; at least 1.
    """
    shown = scores.clone()
    shown[task, item] = -torch.inf
    k = min(k, shown.shape[1])
    found, index = torch.topk(shown, k, dim=1)
    # topk picks any of equal scores; where some equal to the last are left over, a stable sort says which come first
    tied = (shown >= found[:, -1:]).sum(1) > k
    order = torch.argsort(index, dim=1)
    index, found = index.gather(1, order), found.gather(1, order)
    order = torch.argsort(found, dim=1, descending=True, stable=True)
    index, found = index.gather(1, order), found.gather(1, order)
    if tied.any():
        index[tied] = torch.sort(shown[tied], dim=1, descending=True, stable=True).indices[:, :k]
    return BestItems(index, found, found.isfinite().sum(1))


def best_candidates(
    scores: Float[Tensor, "tasks candidates"],
    candidates: Int[Tensor, " candidates"],
    task: Int[Tensor, " hidden"],
    item: Int[Tensor, " hidden"],
    k: int,
) -> BestItems:
    """As `best_items`, among some items of the catalogue.

    Args:
        scores: of the candidates; finite.
        candidates: their indices, ascending.
        task, item: the pairs that are left out, candidates or not.
        k: how many; at least 1.
    """
    place = torch.searchsorted(candidates, item).clamp(max=len(candidates) - 1)
    hidden = candidates[place] == item
    best = best_items(scores, task[hidden], place[hidden], k)
    return best._replace(item=candidates[best.item])
