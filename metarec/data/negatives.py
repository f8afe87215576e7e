"""Sampled negatives: beside each event rows of items that the user never met, with target 0.

Plain events say what users took and never what they left, so a loss that tells 1 from 0 needs rows of both. A negative
is drawn uniformly from the items that have a training event (of any other item a model knows nothing but that it has
none, which would make it the easiest of all negatives) and that stand nowhere in the user's history, neither in support
nor in query; for a test task, nowhere else in the data either. Those of one task are all different. Only the first head
of a negative row is observed: whether an item that was never met would have been bought, say, nobody knows.

Rendle et al., "BPR" (UAI 2009), section 4.2, draws them likewise; He et al., "Neural collaborative filtering" (WWW
2017), section 3.2, has several for each event.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int64

from metarec.data.hashing import hash_of, permuted
from metarec.data.histories import Histories
from metarec.schema import ID
from metarec.task import Catalogue, Rows

_NEGATIVES = np.int64(-3)
"""Stands where a row's position stands in the hashes of other draws."""


@dataclass(frozen=True, eq=False)
class Negatives:
    """How many negatives each event gets, and of which items.

    Attributes:
        items: indices into the catalogue, each once.
        num: negatives of each row; 0 = none.
        elsewhere: what users met besides the histories that tasks are drawn from; None = nothing.
    """

    items: Int64[np.ndarray, " pool"]
    num: int
    elsewhere: Histories | None = None

    @classmethod
    def among_known(cls, catalogue: Catalogue, num: int, elsewhere: Histories | None = None) -> "Negatives":
        """Negatives of the items that have a training event: those whose id is in the vocabulary."""
        if num == 0:
            return NO_NEGATIVES
        return cls(np.flatnonzero(catalogue.item_features[ID][:, 0].cpu().numpy() > 0), num, elsewhere)

    def met(self, histories: Histories) -> list[Histories]:
        """What the users of these histories have met: the histories, and what they met elsewhere."""
        return [histories, *([] if self.elsewhere is None else [self.elsewhere.of_users(histories.user)])]


NO_NEGATIVES = Negatives(np.zeros(0, np.int64), 0)


class DrawnNegatives(NamedTuple):
    """The negatives of each place of some histories; a place is a row's number in the drawn order.

    Attributes:
        item: indices into the catalogue.
        mask: whether there is one: who has met nearly every item gets fewer, and none at the last places.
    """

    item: Int64[np.ndarray, "histories places num"]
    mask: Bool[np.ndarray, "histories places num"]

    def beside(self, rows: Rows, start: Int64[np.ndarray, " tasks"]) -> Rows:
        """Rows with their negatives: each row is followed by its own, so that the first n still have theirs.

        Args:
            rows: of the histories, one task each; row r of a task has the place `start` + r.
            start: the place of each task's first row.
        """
        if self.item.shape[2] == 0:
            return rows
        task = np.arange(len(start))[:, None]
        place = np.minimum(start[:, None] + np.arange(rows.mask.shape[1]), self.item.shape[1] - 1)
        mask = torch.from_numpy(self.mask[task, place]) & rows.mask[..., None]
        return _interleaved(rows, torch.from_numpy(self.item[task, place]) * mask, mask)


def draw_negatives(
    negatives: Negatives, histories: Histories, *, seed: int, draw: int, num_places: int
) -> DrawnNegatives:
    """The first items of each user's own permutation of the pool that she has not met, place by place.

    Args:
        negatives: how many, of which items.
        histories: of the users; whole, so that no negative is a positive of the other set.
        seed, draw: as in `draw_tasks`; the same of them and of the user give the same permutation.
        num_places: how many places get negatives.
    """
    if negatives.num == 0:
        none = np.zeros((len(histories), num_places, 0), np.int64)
        return DrawnNegatives(none, none.astype(bool))
    wanted, met = num_places * negatives.num, negatives.met(histories)
    num_met = sum(each.lengths for each in met)
    num_candidates = min(len(negatives.items), wanted + int(np.max(num_met, initial=0)))
    key = hash_of(seed, draw, histories.user, _NEGATIVES)[:, None]
    items = negatives.items[permuted(np.arange(num_candidates)[None], key, size=len(negatives.items))]
    new = ~np.any([_met(each, items) for each in met], axis=0)
    first = np.argsort(~new, axis=1, kind="stable")[:, :wanted]
    chosen = (np.take_along_axis(leaf, first, axis=1) for leaf in (items, new))
    width, shape = ((0, 0), (0, wanted - first.shape[1])), (len(histories), num_places, negatives.num)
    return DrawnNegatives(*(np.pad(leaf, width).reshape(shape) for leaf in chosen))


def _met(histories: Histories, items: Int64[np.ndarray, "histories candidates"]) -> Bool[np.ndarray, "..."]:
    """Which candidates a history holds."""
    width = int(max(items.max(initial=0), histories.item.max(initial=0))) + 1
    own = histories.row_history * width + histories.item
    return np.isin(np.arange(len(histories))[:, None] * width + items, own)


def _interleaved(rows: Rows, item: torch.Tensor, mask: torch.Tensor) -> Rows:
    """Each row followed by its negatives `[tasks rows num]`, which have its user and position and target 0."""
    num = item.shape[2]

    def beside(own: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        return torch.cat([own[:, :, None], others], dim=2).flatten(1, 2)

    def repeated(own: torch.Tensor) -> torch.Tensor:
        return own[:, :, None].expand(-1, -1, num) * mask

    unknown = torch.zeros_like(rows.observed)[:, :, None].expand(-1, -1, num, -1)
    first = torch.arange(unknown.shape[3], device=mask.device) == 0
    return Rows(
        user=beside(rows.user, repeated(rows.user)),
        item=beside(rows.item, item),
        position=beside(rows.position, repeated(rows.position)),
        target=beside(rows.target, torch.zeros_like(rows.target)[:, :, None].expand(-1, -1, num, -1)),
        observed=beside(rows.observed, unknown | (first & mask[..., None])),
        mask=beside(rows.mask, mask),
    )
