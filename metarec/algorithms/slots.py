"""Tasks side by side in slots: the longest support shares one with the shortest, the next longest with the next.

Supports of very different lengths then need little padding, and few groups. A slot's rows are those of its tasks, one
after the other.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metarec.algorithms.buckets import ends_on


class Slots(NamedTuple):
    """A group of slots.

    Attributes:
        tasks: of each slot.
        single: whether a slot holds one task only, which then stands in `tasks` twice.
        rows: where each row stands among those of all supports, one task after the other.
        filled: false for padding, which points to a row of one of the slot's tasks.
        owner: the task of each row.
        in_second: whether that is the second one of the slot.
    """

    tasks: Int[Tensor, "slots 2"]
    single: Bool[Tensor, " slots"]
    rows: Int[Tensor, "slots rows"]
    filled: Bool[Tensor, "slots rows"]
    owner: Int[Tensor, "slots rows"]
    in_second: Bool[Tensor, "slots rows"]

    def real(self, dtype: torch.dtype) -> Float[Tensor, "slots 2"]:
        """0 for the second task of a slot that holds a single one, else 1."""
        return torch.stack([torch.ones_like(self.single), ~self.single], dim=1).to(dtype)

    def same(self, num_query: int, dtype: torch.dtype) -> Float[Tensor, "slots query rows"]:
        """1 where a query row and a support row are of one task, else 0; each task has `num_query` query rows."""
        of_task = torch.stack([~self.in_second, self.in_second], dim=1).to(dtype)
        return of_task.repeat_interleave(num_query, dim=1)


def fold_tasks(mask: Bool[Tensor, "tasks rows"], *, overhead: int, shared: bool = True) -> list[Slots]:
    """Groups of slots of like length, the shortest first, which hold each task once.

    Args:
        mask: the real rows of each support; padding may stand anywhere.
        overhead: as in `bucket_tasks`.
        shared: whether two tasks share a slot; else each has its own.
    """
    lengths = mask.sum(1).cpu().numpy()
    order = lengths.argsort(kind="stable")
    half = (len(order) + 1) // 2 if shared else len(order)
    first, second = order[:half], order[::-1][:half] if shared else order
    single = first == second  # the one in the middle of an odd number
    totals = lengths[first] + np.where(single, 0, lengths[second])
    if shared:
        by_total = totals.argsort(kind="stable")
        first, second, single, totals = first[by_total], second[by_total], single[by_total], totals[by_total]
    ends = ends_on(mask.device, totals.tolist(), overhead)
    groups = [slice(start, end) for start, end in zip([0, *ends][:-1], ends, strict=True)]
    return [_group(mask, lengths, first[group], second[group], totals[group]) for group in groups]


def _group(
    mask: Bool[Tensor, "tasks rows"], lengths: np.ndarray, first: np.ndarray, second: np.ndarray, totals: np.ndarray
) -> Slots:
    """The slots of these first and second tasks, the same twice for one that stands alone."""
    all_rows, starts = np.flatnonzero(mask.cpu().numpy()), lengths.cumsum() - lengths
    one, other, total = first[:, None], second[:, None], totals[:, None]
    column = np.arange(totals.max(initial=0))
    in_second, filled = column >= lengths[one], column < total
    owner = np.where(in_second, other, one)
    number = column + np.where(in_second, starts[other] - lengths[one], starts[one])
    rows = np.where(filled, all_rows[np.where(filled, number, 0)], owner * mask.shape[1])
    arrays = (np.concatenate([one, other], axis=1), first == second, rows, filled, owner, in_second)
    return Slots(*(torch.from_numpy(array).to(mask.device) for array in arrays))
