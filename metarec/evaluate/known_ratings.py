"""What a user has rated before: where items are new and users are not, their ratings of old items are known.

As published, a test task of `item_cold` holds ratings of new items alone, in support and query. Where new items come to
a running system, what their first users rated in training stands beside them.
"""

from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from metarec.data.histories import Histories
from metarec.data.tasks import draw_tasks, truncate_support
from metarec.task import Rows, TaskBatch, join_rows


@dataclass(frozen=True, eq=False)
class KnownRatings:
    """Training ratings of users, as further support.

    Attributes:
        training: histories of the training side, one a user.
        most: ratings of a user; random ones where there are more.
        seed: of the draws.
    """

    training: Histories
    most: int
    seed: int

    def of(self, histories: Histories, draw: int) -> Rows:
        """What the users of these histories rated in training; no row for who is not there."""
        known = draw_tasks(self.training.of_users(histories.user), seed=self.seed, draw=draw, num_query=0)
        return truncate_support(known, self.most).support


def with_known(tasks: TaskBatch, known: Rows) -> TaskBatch:
    """The same tasks with further support rows, which count as earlier than all that the tasks hold themselves."""
    later = pad(torch.where(known.mask, known.position + 1, 0), (1, 0)).amax(dim=1, keepdim=True)
    support, query = (
        rows._replace(position=torch.where(rows.mask, rows.position + later, 0))
        for rows in (tasks.support, tasks.query)
    )
    return tasks._replace(support=join_rows(support, known), query=query)
