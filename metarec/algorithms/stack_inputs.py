"""What a stack of linear layers takes in, taken apart: what all rows of a task share, and tables of distinct rows.

In a user task the user stands in every row, in an item task the item does: that side's vector is then one a task. Of
the other side each distinct user or item of a batch has its vector once, and rows point to it.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metarec.contracts import StackedRecommender
from metarec.task import Catalogue, TaskBatch


class StackInputs(NamedTuple):
    """x of all rows of a batch: the user's vector and behind it the item's.

    Attributes:
        constant: the side that is the same in all rows of each task; of width 0 where there is none.
        constant_columns: where it stands in x.
        tables: of each other side, users first, the distinct vectors.
        columns: for each table where its vectors stand in x.
        places: for each table which of its vectors a row has, support rows before query rows; a padded row has any.
    """

    constant: Float[Tensor, "tasks _"]
    constant_columns: slice
    tables: list[Float[Tensor, "_ _"]]
    columns: list[slice]
    places: list[Int[Tensor, "tasks rows"]]


def stack_inputs(model: StackedRecommender, catalogue: Catalogue, batch: TaskBatch, dtype: torch.dtype) -> StackInputs:
    """Encode the users and items of a batch, each as often as it must be.

    Args:
        model: encodes.
        catalogue: the users and items.
        batch: whose rows are to be taken apart.
        dtype: of the layers; a side without features has none of its own.
    """
    support, query = batch.support, batch.query
    mask = torch.cat([support.mask, query.mask], dim=1)
    inputs = StackInputs(torch.empty(0), slice(0, 0), [], [], [])
    start = 0
    for encode, ids in (
        (model.encode_users, torch.cat([support.user, query.user], dim=1)),
        (model.encode_items, torch.cat([support.item, query.item], dim=1)),
    ):
        same = None if inputs.constant.dim() == 2 else same_in_all_rows(ids, mask)
        if same is None:
            found, place = distinct(ids, mask)
            vectors = encode(catalogue, found).to(dtype)
            inputs.tables.append(vectors)
            inputs.places.append(place)
            inputs.columns.append(slice(start, start + vectors.shape[1]))
        else:
            vectors = encode(catalogue, same).to(dtype)
            inputs = inputs._replace(constant=vectors, constant_columns=slice(start, start + vectors.shape[1]))
        start += vectors.shape[1]
    if inputs.constant.dim() == 2:
        return inputs
    return inputs._replace(constant=inputs.tables[0].new_zeros(len(mask), 0))


def same_in_all_rows(ids: Int[Tensor, "tasks rows"], mask: Bool[Tensor, "tasks rows"]) -> Int[Tensor, " tasks"] | None:
    """The one id that all real rows of each task have, 0 for a task without rows; None where a task has several."""
    if not ids.shape[1]:
        return ids.new_zeros(len(ids))
    largest = torch.where(mask, ids, 0).amax(1)
    return largest if bool(((ids == largest[:, None]) | ~mask).all()) else None


def distinct(
    ids: Int[Tensor, "tasks rows"], mask: Bool[Tensor, "tasks rows"]
) -> tuple[Int[Tensor, " found"], Int[Tensor, "tasks rows"]]:
    """The distinct ids of the real rows, in rising order, and the place of each row's id among them.

    A padded row has the place of an id of its own task, so that nothing but its own can make a task's numbers bad.
    """
    if not ids.numel():
        return ids.new_zeros(0), ids
    real = torch.where(mask, ids, torch.where(mask, ids, 0).amax(1, keepdim=True))
    used = torch.zeros(int(real.amax()) + 1, dtype=torch.bool, device=ids.device)
    used[real] = True
    return used.nonzero().squeeze(-1), (used.cumsum(0) - 1)[real]
