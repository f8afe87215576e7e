"""Which task goes to which step: a pure function of seed and epoch, whatever the number of workers.

Each epoch visits every task once. A step's tasks are dealt to the workers in turn, so that worker r of w takes every
w-th one from the r-th; together they hold exactly the step's tasks, also when the count does not divide.
"""

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64


@dataclass(frozen=True)
class Schedule:
    """The order of tasks over a whole run.

    Attributes:
        num_tasks: tasks of an epoch, at least 1.
        meta_batch: tasks of a step over all workers; the last step of an epoch takes what is left.
        num_epochs: how often every task is visited.
        seed: where the order starts.
    """

    num_tasks: int
    meta_batch: int
    num_epochs: int
    seed: int

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
        return _order(self.seed, self.epoch_of(step), self.num_tasks)[start : start + self.meta_batch]

    def share_of(self, step: int, *, rank: int, world_size: int) -> Int64[np.ndarray, " tasks"]:
        """The indices of the tasks that one worker takes in a step; may be none."""
        return self.tasks_of(step)[rank::world_size]


@functools.lru_cache(maxsize=4)
def _order(seed: int, epoch: int, num_tasks: int) -> Int64[np.ndarray, " tasks"]:
    return np.random.default_rng([seed, epoch]).permutation(num_tasks).astype(np.int64)
