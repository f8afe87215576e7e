"""What training ratings say of an item's content: how values that it shares with other items were received.

An item that nobody has rated has no bias and no id that anything was learned of, but its director, its genres and the
words of its title stand on other items that have been rated. For each value v of a field, over the training items j
that have it, the item itself left out,

    m_v = Σ_{j ≠ i} w_j y_j / (λ + Σ_{j ≠ i} w_j),    w_j = n_j / (n_j + ρ),

with n_j the number of j's ratings and y_j its bias, the logarithm of 1 + n_j, both less their mean over training items,
or one of its factors. Of a field's values the item has the mean m_v of each y, of the first two the highest and the
lowest as well, how much they were seen, log(1 + Σ_v Σ_{j ≠ i} w_j), and how many they are. Since an item's own ratings
do not enter, except by what they tell of the tastes of users, what a model learns on rated items holds for new ones.

Source: target encoding, Micci-Barreca, "A preprocessing scheme for high-cardinality categorical attributes" (SIGKDD
Explorations 2001), with the row itself left out.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Float64, Int64

from metarec.data.content_values import Values

NAME = "content_statistics"
_DAMPING = 1.0
_HALF_BELIEVED = 20.0
_FURTHEST = 4.0
"""Standard deviations at which a statistic is cut: what is further off in training is rarer still among new items."""


def content_statistics(
    fields: Sequence[Values],
    *,
    num_ratings: Int64[np.ndarray, " items"],
    item_bias: Float64[np.ndarray, "items heads"],
    factors: Float64[np.ndarray, "items rank"],
) -> Float32[np.ndarray, "items width"]:
    """The statistics of each item, in standard deviations over the training items, cut at 4.

    Args:
        fields: which item has which values; the words of titles count as one more field.
        num_ratings: how often each item was trained on; 0 = it says nothing of others.
        item_bias: of the training side; 0 where there is no rating.
        factors: of a factorisation of the training side; 0 where there is no rating.
    """
    known = num_ratings > 0
    counts = np.log1p(num_ratings)[:, None]
    received = np.concatenate([item_bias, counts], axis=1)
    received = received - received[known].mean(axis=0)
    trust = num_ratings / (num_ratings + _HALF_BELIEVED)
    parts = [_of_field(values, received, factors, trust, num_items=len(known)) for values in fields]
    found = np.concatenate(parts, axis=1)
    mean, scale = found[known].mean(axis=0), found[known].std(axis=0)
    return np.clip((found - mean) / np.where(scale > 0, scale, 1.0), -_FURTHEST, _FURTHEST).astype(np.float32)


def _of_field(
    values: Values,
    received: Float64[np.ndarray, "items targets"],
    factors: Float64[np.ndarray, "items rank"],
    trust: Float64[np.ndarray, " items"],
    *,
    num_items: int,
) -> Float64[np.ndarray, "items statistics"]:
    """One field's statistics; 0 where an item has no value of it."""
    item, value, num_values = values
    weight = trust[item]
    seen = np.bincount(value, weight, minlength=num_values)[value] - weight
    count = np.bincount(item, minlength=num_items)
    columns = [np.log1p(np.bincount(item, seen, minlength=num_items)), count.astype(np.float64)]
    for place, target in enumerate([*received.T, *factors.T]):
        mine = weight * target[item]
        others = (np.bincount(value, mine, minlength=num_values)[value] - mine) / (_DAMPING + seen)
        columns.append(np.bincount(item, others, minlength=num_items) / np.maximum(count, 1))
        if place >= received.shape[1]:
            continue
        for extreme, start in ((np.maximum, -np.inf), (np.minimum, np.inf)):
            edge = np.full(num_items, start)
            extreme.at(edge, item, others)
            columns.append(np.where(count > 0, edge, 0.0))
    return np.stack(columns, axis=1)
