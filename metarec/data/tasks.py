"""From a user's history to a task: which ratings are the query, and which are the support and in what order.

A draw is a pure function of (seed, draw, user): the number of workers, the batch and the order of users change nothing.
Support rows stand in random order, so that the first n of them are a random subset of size n, nested in every larger
one, with the same query.
"""

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64, UInt64

from metarec.data.histories import Histories
from metarec.task import Rows, TaskBatch

_SUPPORT_SIZE = -1
_TASK_SEED = -2


@runtime_checkable
class TrainingDraw(Protocol):
    """How a training history becomes a task; `TaskConfig` has these settings."""

    @property
    def num_query(self) -> int:
        """Rows that are always kept for the query."""
        ...

    @property
    def max_query(self) -> int:
        """The most query rows."""
        ...

    @property
    def max_support(self) -> int:
        """The most support rows."""
        ...

    @property
    def subsample_support(self) -> bool:
        """Whether every second support is cut to a random size."""
        ...


def draw_tasks(histories: Histories, *, seed: int, draw: int, num_query: int) -> TaskBatch:
    """One task a history: `num_query` random query rows, all others support.

    Args:
        histories: whose users become tasks; each needs more than `num_query` rows to have a support.
        seed: where all draws start.
        draw: which draw: the epoch in training, a counter in evaluation.
        num_query: query rows of each task; a shorter history is all query and has an empty support.

    Returns:
        The batch on the CPU, padded to its longest support and its longest query.
    """
    lengths = histories.lengths
    return _batch(histories, seed, draw, np.minimum(lengths, num_query), np.maximum(lengths - num_query, 0))


def draw_training_tasks(histories: Histories, *, seed: int, epoch: int, task: TrainingDraw) -> TaskBatch:
    """One task a history, drawn anew each epoch; what does not go to the support is query.

    Args:
        histories: the users to train on.
        seed: where all draws start.
        epoch: supports, queries and sizes are drawn anew in each.
        task: `num_query` rows are always kept for the query; the support takes at most `max_support` of the others,
            and with `subsample_support` every second one, at random, is cut to a size drawn log-uniformly from 0 to
            its own; the query takes at most `max_query` of what is left.
    """
    lengths = histories.lengths
    sizes = np.minimum(np.maximum(lengths - task.num_query, 0), task.max_support)
    if task.subsample_support:
        uniform = _uniform(_hash(seed, epoch, histories.user, np.int64(_SUPPORT_SIZE)))
        drawn = np.floor(np.exp(np.maximum(2 * uniform - 1, 0) * np.log(sizes + 1.0))).astype(np.int64) - 1
        sizes = np.where(uniform < 0.5, sizes, np.minimum(drawn, sizes))
    return _batch(histories, seed, epoch, np.minimum(lengths - sizes, task.max_query), sizes)


def truncate_support(batch: TaskBatch, size: int) -> TaskBatch:
    """The same tasks with only the first `size` rows of each support; who has fewer keeps all."""
    return batch._replace(support=Rows(*(leaf[:, :size] for leaf in batch.support)))


def slice_tasks(batch: TaskBatch, start: int, stop: int) -> TaskBatch:
    """The tasks from `start` to `stop` of a batch, padding unchanged."""
    support = Rows(*(leaf[start:stop] for leaf in batch.support))
    query = Rows(*(leaf[start:stop] for leaf in batch.query))
    return TaskBatch(support, query, batch.task_seed[start:stop])


def _batch(
    histories: Histories,
    seed: int,
    draw: int,
    num_query: Int64[np.ndarray, " histories"],
    num_support: Int64[np.ndarray, " histories"],
) -> TaskBatch:
    owner = histories.row_history
    position = np.arange(len(owner)) - histories.offsets[owner]
    order = np.lexsort((_hash(seed, draw, histories.user[owner], position), owner))
    start = histories.offsets[:-1]
    return TaskBatch(
        support=_gather(histories, order, position, start + num_query, num_support),
        query=_gather(histories, order, position, start, num_query),
        task_seed=torch.from_numpy(
            (_hash(seed, draw, histories.user, np.int64(_TASK_SEED)) >> np.uint64(1)).view(np.int64)
        ),
    )


def _gather(
    histories: Histories,
    order: Int64[np.ndarray, " rows"],
    position: Int64[np.ndarray, " rows"],
    start: Int64[np.ndarray, " histories"],
    sizes: Int64[np.ndarray, " histories"],
) -> Rows:
    """Rows `start` to `start + sizes` of each history in the drawn order, padded to the longest."""
    column = np.arange(int(sizes.max(initial=0)))
    mask = column < sizes[:, None]
    rows = order[np.where(mask, start[:, None] + column, 0)] if len(order) else np.zeros(mask.shape, np.int64)
    heads = mask[:, :, None]
    return Rows(
        user=torch.from_numpy(np.where(mask, histories.user[:, None], 0)),
        item=torch.from_numpy(np.where(mask, histories.item[rows], 0)),
        position=torch.from_numpy(np.where(mask, position[rows], 0)),
        target=torch.from_numpy(np.where(heads, histories.target[rows], np.float32(0))),
        observed=torch.from_numpy(heads & histories.observed[rows]),
        mask=torch.from_numpy(mask),
    )


def _hash(
    seed: int, draw: int, user: Int64[np.ndarray, "..."], position: Int64[np.ndarray, "..."] | np.int64
) -> UInt64[np.ndarray, "..."]:
    """A 64-bit hash of (seed, draw, user, position), each step a round of SplitMix64 (Steele et al., 2014)."""
    state = _mix(np.full(user.shape, seed, np.int64).view(np.uint64))
    for part in (np.int64(draw), user, position):
        state = _mix(state ^ np.broadcast_to(np.asarray(part, np.int64), user.shape).view(np.uint64))
    return state


def _mix(value: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    with np.errstate(over="ignore"):
        value = value + np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))


def _uniform(value: UInt64[np.ndarray, "..."]) -> np.ndarray:
    """Hashes as numbers in [0, 1)."""
    return (value >> np.uint64(11)) * 2.0**-53
