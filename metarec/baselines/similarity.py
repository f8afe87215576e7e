"""How alike items are to those who rated them: adjusted cosines, shrunk where two items have few common raters."""

from typing import NamedTuple

import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from metarec.data.least_squares import Ratings

MOST_ITEMS = 8192
"""Items that have neighbours: the most rated ones. All pairs of them are held as float32, 256 MiB."""
_BLOCK = 512
"""Items whose similarities to all others are computed at once."""


class Similarities(NamedTuple):
    """Similarities between the items of a catalogue that have neighbours.

    Attributes:
        place: where each item stands in `value`; items without neighbours share the last place.
        value: similarity by places, 0 with itself and at the last place.
    """

    place: Int64[Tensor, " items"]
    value: Float32[Tensor, "places places"]

    def between(
        self, items: Int64[Tensor, "tasks rows"], others: Int64[Tensor, "tasks support"]
    ) -> Float64[Tensor, "tasks rows support"]:
        """The similarity of each of a task's items to each of its other items."""
        return self.value[self.place[items][:, :, None], self.place[others][:, None, :]].double()


def item_similarities(ratings: Ratings, *, num_users: int, num_items: int, shrinkage: float) -> Similarities:
    """s_ij = n_ij / (n_ij + β) · Σ_u e_ui e_uj / √(Σ_u e_ui² Σ_u e_uj²), with n_ij common raters.

    The sum of products is over the common raters, those of squares over all of an item's. Where e is 1 for every event,
    the cosine is n_ij / √(n_i n_j).

    Args:
        ratings: e, what is left of each rating after the user's and the item's own level, or 1 for an event.
        num_users, num_items: how many there are.
        shrinkage: β; the similarity of items with so many common raters is halved.

    Source: Sarwar et al., WWW 2001, section 3.1.3 (adjusted cosine); Koren, KDD 2008, section 2.2 (shrinkage).
    """
    counts = torch.bincount(ratings.item, minlength=num_items)
    chosen = counts.argsort(descending=True, stable=True)[: min(MOST_ITEMS, int((counts > 0).sum()))]
    place = torch.full((num_items,), len(chosen), dtype=torch.int64)
    place[chosen] = torch.arange(len(chosen))
    kept = place[ratings.item] < len(chosen)
    indices = torch.stack([place[ratings.item[kept]], ratings.user[kept]])
    size = (len(chosen), num_users)
    residual = ratings.residual[kept].float()

    def matrix(values: Float32[Tensor, " ratings"]) -> Tensor:
        return torch.sparse_coo_tensor(indices, values, size, check_invariants=False).coalesce()

    rated, value = matrix(torch.ones_like(residual)), matrix(residual)
    norm = torch.zeros(len(chosen)).index_add_(0, indices[0], residual.square()).sqrt()
    found = torch.zeros(len(chosen) + 1, len(chosen) + 1)
    for start in range(0, len(chosen), _BLOCK):
        block = torch.arange(start, min(start + _BLOCK, len(chosen)))
        common, products = (torch.sparse.mm(m, m.index_select(0, block).to_dense().T) for m in (rated, value))
        norms = norm[:, None] * norm[block]
        cosine = products / norms.clamp(min=torch.finfo(norms.dtype).tiny)
        found[: len(chosen), block] = cosine * common / (common + shrinkage).clamp(min=1)
    found.fill_diagonal_(0)
    return Similarities(place, found)
