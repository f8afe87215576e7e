"""Groups of tasks with supports of like length, each padded to its own longest instead of the batch's.

Padding costs as much as real rows, a group costs an overhead of its own. The groups are those with the least

    Σ_groups (number of tasks · longest support + overhead),

found by dynamic programming over the lengths in order: groups are intervals of them, as any exchange that makes one so
shortens nothing less than it lengthens.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

_ELSEWHERE = 100
"""How many times the rows a device other than a CPU does in the time that it takes to start an operation."""


class Bucket(NamedTuple):
    """A group of tasks.

    Attributes:
        tasks: their places in the batch.
        length: rows of each support that hold all real ones.
    """

    tasks: Int[Tensor, " group"]
    length: int


def bucket_tasks(mask: Bool[Tensor, "tasks rows"], *, overhead: int) -> list[Bucket]:
    """Groups of the tasks of a batch by the lengths of their supports, the shortest first; none without a task.

    Args:
        mask: the real rows of each support; padding may stand anywhere.
        overhead: what a group costs beside its rows on a CPU, in rows; elsewhere rows cost next to nothing.
    """
    places = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    lengths = (mask * places).amax(1) if mask.shape[1] else torch.zeros_like(mask[:, :0].sum(1))
    order = lengths.argsort(stable=True)
    ordered = lengths[order].tolist()
    ends = group_ends(ordered, overhead if mask.device.type == "cpu" else _ELSEWHERE * overhead)
    starts = [0, *ends][:-1]
    return [Bucket(order[start:end], ordered[end - 1]) for start, end in zip(starts, ends, strict=True)]


def group_ends(lengths: Sequence[int], overhead: int) -> list[int]:
    """Where the best groups of lengths in rising order end.

    Args:
        lengths: of the tasks, the shortest first.
        overhead: what a group costs beside its rows, in rows.
    """
    if not lengths or len(lengths) * lengths[-1] - sum(lengths) <= overhead:
        return [len(lengths)] * bool(lengths)  # another group costs more than all the padding of one
    values, counts = np.unique(np.asarray(lengths, np.int64), return_counts=True)
    upto = np.concatenate([[0], np.cumsum(counts)])
    cost, start = np.zeros(len(values) + 1), np.zeros(len(values) + 1, np.int64)
    for last in range(1, len(values) + 1):
        costs = cost[:last] + (upto[last] - upto[:last]) * values[last - 1] + overhead
        start[last] = costs.argmin()
        cost[last] = costs[start[last]]
    ends = []
    place = len(values)
    while place:
        ends.append(int(upto[place]))
        place = int(start[place])
    return ends[::-1]
