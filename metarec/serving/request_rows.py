"""The ratings of a request as the rows of tasks, with the negatives that a support had in training."""

import itertools
from collections.abc import Sequence

import numpy as np
import torch

from metarec.data.histories import Histories
from metarec.data.negatives import Negatives, draw_negatives
from metarec.task import Rows


def rows_of_requests(
    items: Sequence[Sequence[int]], ratings: Sequence[Sequence[float]], *, num_heads: int, dtype: torch.dtype
) -> Rows:
    """A task for each user, who count from 0; only the first head is observed.

    Args:
        items: what each rated, as indices into the catalogue, from oldest to newest.
        ratings: of them.
        num_heads: of the model.
        dtype: of targets.
    """
    lengths = np.array([len(own) for own in items], np.int64)
    mask = torch.from_numpy(np.arange(lengths.max(initial=0)) < lengths[:, None])
    target = torch.zeros(*mask.shape, num_heads, dtype=dtype)
    target[..., 0][mask] = torch.tensor(list(itertools.chain(*ratings)), dtype=target.dtype)
    observed = torch.zeros_like(target, dtype=torch.bool)
    observed[..., 0] = mask
    item = torch.zeros(mask.shape, dtype=torch.int64)
    item[mask] = torch.tensor(list(itertools.chain(*items)), dtype=torch.int64)
    return Rows(
        user=torch.arange(len(items))[:, None] * mask,
        item=item,
        position=torch.arange(mask.shape[1]) * mask,
        target=target,
        observed=observed,
        mask=mask,
    )


def with_negatives(rows: Rows, negatives: Negatives, earlier: Sequence[int] = ()) -> Rows:
    """Each user's rows with negatives beside them, the same at each request.

    Args:
        rows: of tasks.
        negatives: how many, of which items.
        earlier: what each user met before: it is nobody's negative, and had as many of the first ones.
    """
    if negatives.num == 0:
        return rows
    met = [[*earlier, *item[mask].tolist()] for item, mask in zip(rows.item, rows.mask, strict=True)]
    items = np.array(list(itertools.chain(*met)), np.int64)
    offsets = np.concatenate([[0], np.cumsum([len(own) for own in met], dtype=np.int64)])
    nobody, target = np.zeros(len(met), np.int64), np.ones((len(items), 1), np.float32)
    history = Histories(nobody, offsets, items, target, target > 0)
    drawn = draw_negatives(negatives, history, seed=0, draw=0, num_places=len(earlier) + rows.mask.shape[1])
    return drawn.beside(rows, nobody + len(earlier))
