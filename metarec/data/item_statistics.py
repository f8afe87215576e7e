"""How often and how each item was rated in training: sums over the files, one after the other."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from metarec.data.dataset import Part, read_part


class ItemStatistics(NamedTuple):
    """Of the first head's training ratings.

    Attributes:
        num_ratings: of each item.
        mean: of them; 0 where there are none.
        variance: of them, about their own mean; 0 where there are none.
    """

    num_ratings: Int64[np.ndarray, " items"]
    mean: Float64[np.ndarray, " items"]
    variance: Float64[np.ndarray, " items"]


def item_statistics(parts: Sequence[Part], *, num_items: int) -> ItemStatistics:
    """Read the training files.

    Args:
        parts: the files.
        num_items: of the dataset.

    Raises:
        StorageError: a file is missing or damaged.
    """
    sums = np.zeros((3, num_items))
    for part in parts:
        histories = read_part(part)
        seen = histories.observed[:, 0]
        item, rating = histories.item[seen], histories.target[seen, 0].astype(np.float64)
        sums += [np.bincount(item, rating**power, minlength=num_items) for power in range(3)]
    count = sums[0].astype(np.int64)
    mean, square = sums[1:] / np.maximum(count, 1)
    return ItemStatistics(count, mean, np.maximum(square - mean**2, 0))
