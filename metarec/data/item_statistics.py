"""How often and how each item was rated in training: sums over histories, file after file."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from metarec.data.histories import Histories


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


def item_statistics(parts: Iterable[Histories], *, num_items: int) -> ItemStatistics:
    """Sum up training histories, such as `map(read_part, dataset.parts("train"))`, which holds one file at a time."""
    sums = np.zeros((3, num_items))
    for histories in parts:
        seen = histories.observed[:, 0]
        item, rating = histories.item[seen], histories.target[seen, 0].astype(np.float64)
        sums += [np.bincount(item, rating**power, minlength=num_items) for power in range(3)]
    num_ratings = sums[0].astype(np.int64)
    mean, square = sums[1:] / np.maximum(num_ratings, 1)
    return ItemStatistics(num_ratings, mean, np.maximum(square - mean**2, 0))
