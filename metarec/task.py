"""The two data structures that everything speaks: a batch of tasks, and the catalogue that its rows point into.

Axes, wherever a shape is written in words:

========== ==========================================================================================================
tasks      the users (or new items) of a batch; every leaf of a `TaskBatch` starts with it
rows       the ratings of one task, padded to the longest of the batch: support rows or query rows
support    the rows of the support set, where both sets appear in one signature
heads      the things predicted for a row: a rating, a click, a purchase
users      every user of a catalogue
items      every item of a catalogue
width      the length of a feature or embedding vector
========== ==========================================================================================================

In item tasks users and items have changed places: the `user` of a row is the item that the task is of, and its `item`
is who rated it. No model and no algorithm needs to know.

Masks are boolean and true where a row is real. There is no `None` anywhere, so that `torch.func.vmap` maps every leaf.
A batch holds indices and labels alone: features live once, in the `Catalogue`.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Rows(NamedTuple):
    """The ratings of a batch of tasks (or, inside `vmap`, of one task), padded.

    Attributes:
        user: index into the catalogue's users; in a user task the same in every row.
        item: index into the catalogue's items.
        position: 0 for the oldest row of the task's history, counting up in time; a sampled negative has that of the
            row that it stands beside.
        target: what the user gave, per head; 0 where not observed.
        observed: whether that head was observed in that row.
        mask: whether the row is real. A padded row has index 0, target 0 and `observed` false.
    """

    user: Int[Tensor, "*tasks rows"]
    item: Int[Tensor, "*tasks rows"]
    position: Int[Tensor, "*tasks rows"]
    target: Float[Tensor, "*tasks rows heads"]
    observed: Bool[Tensor, "*tasks rows heads"]
    mask: Bool[Tensor, "*tasks rows"]

    def to(self, device: torch.device | str) -> "Rows":
        """The same rows on another device."""
        return Rows(*(leaf.to(device, non_blocking=True) for leaf in self))


def join_rows(first: Rows, second: Rows) -> Rows:
    """The rows of the same tasks side by side, each with its padding."""
    return Rows(*(torch.cat([own, other], dim=1) for own, other in zip(first, second, strict=True)))


class TaskBatch(NamedTuple):
    """A batch of tasks: what each may adapt on, what each is judged on, and its own seed.

    Attributes:
        support: the ratings to adapt on.
        query: the ratings to be judged on; no pair of a task stands in both.
        task_seed: the only source of randomness inside a task.
    """

    support: Rows
    query: Rows
    task_seed: Int[Tensor, " tasks"]

    @property
    def num_tasks(self) -> int:
        """How many tasks the batch holds; 0 is allowed."""
        return self.task_seed.shape[0]

    def to(self, device: torch.device | str) -> "TaskBatch":
        """The same batch on another device."""
        return TaskBatch(self.support.to(device), self.query.to(device), self.task_seed.to(device))


def select_tasks(batch: TaskBatch, chosen: Bool[Tensor, " tasks"] | Int[Tensor, " chosen"]) -> TaskBatch:
    """The chosen tasks of a batch, by a mask or by their places, padding unchanged."""
    support = Rows(*(leaf[chosen] for leaf in batch.support))
    query = Rows(*(leaf[chosen] for leaf in batch.query))
    return TaskBatch(support, query, batch.task_seed[chosen])


class Catalogue(NamedTuple):
    """The features and biases of all users and items, held once by each worker and never batched.

    Attributes:
        user_features: by field name: integers `[users, 1]` (categorical) or `[users, width]` (multi-valued, padded
            with 0), floats `[users, 1]` (numeric) or `[users, width]` (dense).
        item_features: the same for items.
        offset: the mean target of the training side, per head.
        item_bias: how far an item's targets lie above it, shrunk toward 0; for an item without a training
            rating what content lets expect where the dataset has content fields, else 0.
        user_fold: in training, the fold of each training user and -1 for all others; else empty.
        held_out_bias: in training, for each fold the item biases fitted without its users, so that no training row
            starts from a bias that holds its own target; else empty.
        held_out_change: in training, for each fold what the vectors that the items started from lack without its
            users, for one member of a committee after the other; else empty.
    """

    user_features: dict[str, Tensor]
    item_features: dict[str, Tensor]
    offset: Float[Tensor, " heads"]
    item_bias: Float[Tensor, "items heads"]
    user_fold: Int[Tensor, " folded_users"] = torch.zeros(0, dtype=torch.long)
    held_out_bias: Float[Tensor, "folds folded_items heads"] = torch.zeros(0, 0, 0)
    held_out_change: Float[Tensor, "changed_folds changed_items rank"] = torch.zeros(0, 0, 0)

    @property
    def num_items(self) -> int:
        """How many items there are to recommend."""
        return self.item_bias.shape[0]

    def to(self, device: torch.device | str) -> "Catalogue":
        """The same catalogue on another device."""
        return Catalogue(
            {name: tensor.to(device) for name, tensor in self.user_features.items()},
            {name: tensor.to(device) for name, tensor in self.item_features.items()},
            self.offset.to(device),
            self.item_bias.to(device),
            self.user_fold.to(device),
            self.held_out_bias.to(device),
            self.held_out_change.to(device),
        )
