"""Which task goes to which step: a pure function of seed and epoch, whatever the number of workers.

Each epoch visits every task once. A step's tasks are dealt to the workers in turn, so that worker r of w takes every
w-th one from the r-th; together they hold exactly the step's tasks, also when the count does not divide.

Tasks of like size may be brought together, so that a batch holds little padding. The epoch's random order is cut into
windows of some steps; the tasks of a window, sorted by size, are cut into its steps, and all steps of the epoch are put
in random order. A step then holds a random part of the tasks of like size, and the workers of a step have equal work.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64

SizesInEpoch = Callable[[int], Int64[np.ndarray, " tasks"]]


@dataclass(frozen=True)
class Schedule:
    """The order of tasks over a whole run.

    Attributes:
        num_tasks: tasks of an epoch, at least 1.
        meta_batch: tasks of a step over all workers; the last step of an epoch takes what is left.
        num_epochs: how often every task is visited.
        seed: where the order starts.
        window: steps over which tasks are sorted by size; 1 = they are not.
        sizes: the size of each task in an epoch; needed for a window above 1.
    """

    num_tasks: int
    meta_batch: int
    num_epochs: int
    seed: int
    window: int = 1
    sizes: SizesInEpoch | None = field(default=None, compare=False, repr=False)
    _orders: dict[int, Int64[np.ndarray, " tasks"]] = field(default_factory=dict, init=False, compare=False, repr=False)

    @property
    def steps_per_epoch(self) -> int:
        """Steps that visit every task once."""
        return -(-self.num_tasks // self.meta_batch)

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        return self.steps_per_epoch * self.num_epochs

    def epoch_of(self, step: int) -> int:
        """The epoch that a step belongs to, counting from 0."""
        return step // self.steps_per_epoch

    def ends_epoch(self, step: int) -> bool:
        """Whether a step is the last of its epoch."""
        return (step + 1) % self.steps_per_epoch == 0

    def size_of(self, step: int) -> int:
        """How many tasks a step has over all workers."""
        start = step % self.steps_per_epoch * self.meta_batch
        return min(self.meta_batch, self.num_tasks - start)

    def tasks_of(self, step: int) -> Int64[np.ndarray, " tasks"]:
        """The indices of a step's tasks."""
        start = step % self.steps_per_epoch * self.meta_batch
        return self._order_of(self.epoch_of(step))[start : start + self.meta_batch]

    def share_of(self, step: int, *, rank: int, world_size: int) -> Int64[np.ndarray, " tasks"]:
        """The indices of the tasks that one worker takes in a step; may be none."""
        return self.tasks_of(step)[rank::world_size]

    def _order_of(self, epoch: int) -> Int64[np.ndarray, " tasks"]:
        if epoch not in self._orders:
            self._orders.clear()
            self._orders[epoch] = self._new_order(epoch)
        return self._orders[epoch]

    def _new_order(self, epoch: int) -> Int64[np.ndarray, " tasks"]:
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(self.num_tasks).astype(np.int64)
        if self.window == 1:
            return order
        assert self.sizes is not None, "a window needs the sizes of tasks"
        whole = self.num_tasks // self.meta_batch * self.meta_batch  # what is left stays as it is drawn, and last
        window_of = np.arange(whole) // (self.window * self.meta_batch)
        by_size = order[:whole][np.lexsort((self.sizes(epoch)[order[:whole]], window_of))]
        steps = rng.permutation(by_size.reshape(-1, self.meta_batch))
        return np.concatenate([steps.ravel(), order[whole:]])
