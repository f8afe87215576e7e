"""Ranking against the whole catalogue: beside what a user rated stand all other items that she has not met.

Ranking a user's held-out ratings among themselves says who can tell her favourites from what she chose and disliked;
ranking them in the whole catalogue says who would have found them, as a recommender has to.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from metarec.data.histories import Histories
from metarec.task import Rows, TaskBatch, join_rows

MOST_ROWS = 50_000
"""Query rows of a batch, so that a model's activations stay in memory."""


@dataclass(frozen=True, eq=False)
class WholeCatalogue:
    """All items of a catalogue as candidates, but those that a user has met.

    In scenario transfer that is what she has met in the scenario of the task.

    Attributes:
        num_items: of the catalogue.
        elsewhere: what users rated besides the tasks that are judged; none of it is a candidate.
    """

    num_items: int
    elsewhere: Histories

    @property
    def tasks_per_batch(self) -> int:
        """How many tasks may be judged at once."""
        return max(1, MOST_ROWS // max(self.num_items, 1))

    def beside(self, tasks: TaskBatch, histories: Histories) -> TaskBatch:
        """The same tasks; their query is followed by every other item, unobserved, as late as the query's last row.

        Items of a task's own history, support of any size included, and of its sampled negatives are not added.

        Args:
            tasks: drawn from `histories`, one task each, in their order.
            histories: whole, supports included.
        """
        free = torch.from_numpy(self._not_met(histories))
        query = tasks.query
        free.scatter_(1, torch.where(query.mask, query.item, query.item[:, :1]), False)
        count = free.sum(dim=1, keepdim=True)
        order = torch.sort(free.byte(), dim=1, descending=True, stable=True).indices[:, : int(count.max())]
        mask = torch.arange(order.shape[1]) < count
        return tasks._replace(query=_joined(query, order * mask, mask))

    def _not_met(self, histories: Histories) -> Bool[np.ndarray, "tasks items"]:
        free = np.ones((len(histories), self.num_items), bool)
        for known in (histories, self.elsewhere.of_users(histories.user)):
            free[known.row_history, known.item] = False
        return free


def _joined(query: Rows, item: Tensor, mask: Tensor) -> Rows:
    """Rows followed by items whose targets nobody knows."""
    last = query.position.amax(dim=1, keepdim=True)
    heads = query.target.shape[2]
    added = Rows(
        user=query.user[:, :1] * mask,
        item=item,
        position=last * mask,
        target=query.target.new_zeros(*mask.shape, heads),
        observed=torch.zeros(*mask.shape, heads, dtype=torch.bool),
        mask=mask,
    )
    return join_rows(query, added)
