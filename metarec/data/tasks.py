"""From a user's history to a task: which ratings are the query, and which are the support and in what order.

A draw is a pure function of (seed, draw, user): the number of workers, the batch and the order of users change nothing.
Support rows stand in random order, so that the first n of them are a random subset of size n, nested in every larger
one, with the same query. Where events have sampled negatives, each row is followed by its own (`negatives.py`); all
sizes count the rows that the history holds, without negatives.

Where a protocol fixes the roles (`Histories.query`), only the order is drawn. `in_time` nothing of a support is drawn:
it is what came first, in that order, and the query is what came later.
"""

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64

from metarec.data.hashing import hash_of, uniform
from metarec.data.histories import Histories
from metarec.data.negatives import NO_NEGATIVES, Negatives, draw_negatives
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

    @property
    def redraw(self) -> bool:
        """Whether each epoch draws anew."""
        ...


def draw_tasks(
    histories: Histories,
    *,
    seed: int,
    draw: int,
    num_query: int,
    negatives: Negatives = NO_NEGATIVES,
    in_time: bool = False,
) -> TaskBatch:
    """One task a history: `num_query` random query rows, all others support; or the roles that are fixed.

    Args:
        histories: whose users become tasks; each needs more than `num_query` rows to have a support.
        seed: where all draws start.
        draw: which draw: the epoch in training, a counter in evaluation.
        num_query: query rows of each task, where roles are not fixed; a shorter history is all query and has an empty
            support.
        negatives: what each row is followed by.
        in_time: whether the last rows are the query, and the support stands in the order of time.

    Returns:
        The batch on the CPU, padded to its longest support and its longest query.
    """
    query, support = task_sizes(histories, num_query)
    return _batch(histories, seed, draw, num_query=query, num_support=support, negatives=negatives, in_time=in_time)


def task_sizes(
    histories: Histories, num_query: int
) -> tuple[Int64[np.ndarray, " histories"], Int64[np.ndarray, " histories"]]:
    """Query and support rows of each task that `draw_tasks` draws with the same `num_query`."""
    lengths = histories.lengths
    if histories.query is None:
        query = np.minimum(lengths, num_query)
    else:
        query = np.bincount(histories.row_history, histories.query, minlength=len(histories)).astype(np.int64)
    return query, lengths - query


def draw_training_tasks(
    histories: Histories,
    *,
    seed: int,
    epoch: int,
    task: TrainingDraw,
    negatives: Negatives = NO_NEGATIVES,
    in_time: bool = False,
) -> TaskBatch:
    """One task a history, drawn anew each epoch; what does not go to the support is query.

    Args:
        histories: the users to train on.
        seed: where all draws start.
        epoch: supports, queries and sizes are drawn anew in each, unless `task.redraw` says otherwise.
        task: `num_query` rows are always kept for the query; the support takes at most `max_support` of the others,
            and with `subsample_support` every second one, at random, is cut to a size drawn log-uniformly from 0 to
            its own; the query takes at most `max_query` of what is left.
        negatives: what each row is followed by.
        in_time: whether the support takes the first rows, in the order of time; the query is drawn from later ones.
    """
    assert histories.query is None, "training draws its roles itself"
    draw = _draw_of(epoch, task)
    sizes = training_support_sizes(histories.user, histories.lengths, seed=seed, epoch=epoch, task=task)
    query = np.minimum(histories.lengths - sizes, task.max_query)
    return _batch(histories, seed, draw, num_query=query, num_support=sizes, negatives=negatives, in_time=in_time)


def training_support_sizes(
    user: Int64[np.ndarray, " histories"],
    lengths: Int64[np.ndarray, " histories"],
    *,
    seed: int,
    epoch: int,
    task: TrainingDraw,
) -> Int64[np.ndarray, " histories"]:
    """Support rows of each task that `draw_training_tasks` draws from histories of these users and lengths."""
    sizes = np.minimum(np.maximum(lengths - task.num_query, 0), task.max_support)
    if not task.subsample_support:
        return sizes
    chance = uniform(hash_of(seed, _draw_of(epoch, task), user, np.int64(_SUPPORT_SIZE)))
    drawn = np.floor(np.exp(np.maximum(2 * chance - 1, 0) * np.log(sizes + 1.0))).astype(np.int64) - 1
    return np.where(chance < 0.5, sizes, np.minimum(drawn, sizes))


def _draw_of(epoch: int, task: TrainingDraw) -> int:
    """Which draw an epoch's tasks are: its own, or always the first."""
    return epoch if task.redraw else 0


def truncate_support(batch: TaskBatch, size: int, *, num_negatives: int = 0) -> TaskBatch:
    """The same tasks with only the first `size` rows of each support, their negatives with them.

    Args:
        batch: drawn by `draw_tasks`.
        size: how many rows, negatives not counted; who has fewer keeps all.
        num_negatives: how many negatives each row was drawn with.
    """
    num_rows = size * (1 + num_negatives)
    return batch._replace(support=Rows(*(leaf[:, :num_rows] for leaf in batch.support)))


def _batch(
    histories: Histories,
    seed: int,
    draw: int,
    *,
    num_query: Int64[np.ndarray, " histories"],
    num_support: Int64[np.ndarray, " histories"],
    negatives: Negatives,
    in_time: bool,
) -> TaskBatch:
    assert not (in_time and histories.query is not None), "what came first is the support, or a protocol fixes it"
    owner = histories.row_history
    position = np.arange(len(owner)) - histories.offsets[owner]
    key = hash_of(seed, draw, histories.user[owner], position)
    support_last = np.zeros(len(owner), bool) if histories.query is None else ~histories.query
    if in_time:
        support_last = position < num_support[owner]
        key = np.where(support_last, position.astype(np.uint64), key)
    order = np.lexsort((key, support_last, owner))
    start = histories.offsets[:-1]
    support_start = histories.offsets[1:] - num_support if in_time else start + num_query
    num_places = int((num_query + num_support).max(initial=0))
    drawn = draw_negatives(negatives, histories, seed=seed, draw=draw, num_places=num_places)
    support = _gather(histories, order, position, support_start, num_support)
    query = _gather(histories, order, position, start, num_query)
    return TaskBatch(
        support=drawn.beside(support, num_query),
        query=drawn.beside(query, np.zeros_like(num_query)),
        task_seed=torch.from_numpy(
            (hash_of(seed, draw, histories.user, np.int64(_TASK_SEED)) >> np.uint64(1)).view(np.int64)
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
