"""What training ratings say of an item's content: how values that it shares with other items were received.

An item that nobody has rated has no bias and no id that anything was learned of, but its director, its genres and the
words of its title stand on other items that have been rated. For each value v of a field, over the training items j
that have it, the item itself left out,

    m_v = Σ_{j ≠ i} w_j y_j / (λ + Σ_{j ≠ i} w_j),    w_j = n_j / (n_j + ρ),

with n_j the number of j's ratings and y_j its bias, the logarithm of 1 + n_j, both less their mean over training items,
or one of its factors. Of a field's values the item has the mean m_v of each y, of the first two the highest and the
lowest as well, how much they were seen, log(1 + Σ_v Σ_{j ≠ i} w_j), and how many they are. Since an item's own ratings
do not enter, except by what they tell of the tastes of users, what a model learns on rated items holds for new ones.

Where all values that training items have are numbers, such as years, another number counts as the nearest of them.

Source: target encoding, Micci-Barreca, "A preprocessing scheme for high-cardinality categorical attributes" (SIGKDD
Explorations 2001), with the row itself left out.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float32, Float64, Int64

from metarec.data.numeric import parse_numbers
from metarec.schema import FeatureKind

NAME = "content_statistics"
TITLE_WORDS = "title_words"
_DAMPING = 1.0
_HALF_BELIEVED = 20.0
_FURTHEST = 4.0
"""Standard deviations at which a statistic is cut: what is further off in training is rarer still among new items."""
_YEAR = r"\s*\(\d{4}\)\s*$"


class Values(NamedTuple):
    """Which item has which value of a field, one entry a pair.

    Attributes:
        item, value: numbers from 0; each pair stands once.
        num_values: how many values there are.
    """

    item: Int64[np.ndarray, " pairs"]
    value: Int64[np.ndarray, " pairs"]
    num_values: int


def content_statistics(
    features: Mapping[str, pa.ChunkedArray],
    kinds: Mapping[str, FeatureKind],
    titles: pa.ChunkedArray,
    *,
    num_ratings: Int64[np.ndarray, " items"],
    item_bias: Float64[np.ndarray, "items heads"],
    factors: Float64[np.ndarray, "items rank"],
) -> Float32[np.ndarray, "items width"]:
    """The statistics of each item, in standard deviations over the training items, cut at 4.

    Args:
        features: a row each item; the categorical and multi-valued ones count, the id left out by the caller.
        kinds: what each feature is.
        titles: whose words count as one more multi-valued feature, a year in brackets at the end left out.
        num_ratings: how often each item was trained on; 0 = it says nothing of others.
        item_bias: of the training side; 0 where there is no rating.
        factors: of a factorisation of the training side; 0 where there is no rating.
    """
    known = num_ratings > 0
    counts = np.log1p(num_ratings)[:, None]
    received = np.concatenate([item_bias, counts], axis=1)
    received = received - received[known].mean(axis=0)
    trust = num_ratings / (num_ratings + _HALF_BELIEVED)
    parts = [
        _of_field(values, received, factors, trust, num_items=len(known))
        for values in [*values_of_fields(features, kinds, known), values_of_titles(titles, known)]
    ]
    found = np.concatenate(parts, axis=1)
    mean, scale = found[known].mean(axis=0), found[known].std(axis=0)
    return np.clip((found - mean) / np.where(scale > 0, scale, 1.0), -_FURTHEST, _FURTHEST).astype(np.float32)


def values_of_fields(
    features: Mapping[str, pa.ChunkedArray], kinds: Mapping[str, FeatureKind], known: Bool[np.ndarray, " items"]
) -> list[Values]:
    """The values of each categorical and multi-valued field.

    Args:
        features, kinds: as for `content_statistics`.
        known: the training items.
    """
    chosen = [features[name] for name, kind in kinds.items() if kind in ("categorical", "multi_valued")]
    return [_values(column, known) for column in chosen]


def values_of_titles(titles: pa.ChunkedArray, known: Bool[np.ndarray, " items"]) -> Values:
    """The words of titles, as values of one more field.

    Args:
        titles: of the items; a year in brackets at the end is left out.
        known: the training items.
    """
    return _values(_words(titles), known)


def _words(titles: pa.ChunkedArray) -> pa.ChunkedArray:
    """The words of titles in small letters, without what is neither letter nor digit."""
    plain = pc.replace_substring_regex(pc.utf8_lower(titles), _YEAR, "")
    return pc.split_pattern_regex(pc.replace_substring_regex(plain, r"[^\pL\pN']+", " "), r"\s+")


def _values(column: pa.ChunkedArray, known: Bool[np.ndarray, " items"]) -> Values:
    """The pairs of an item and a value of its own, each pair once."""
    column = column.combine_chunks()
    if pa.types.is_list(column.type):
        item, text = np.asarray(pc.list_parent_indices(column)).astype(np.int64), pc.list_flatten(column)
    else:
        item, text = np.arange(len(column)), column
    text = text.cast(pa.string())
    real = np.asarray(pc.fill_null(pc.not_equal(text, ""), False), bool)
    item, text = item[real], _nearest_known(text.filter(pa.array(real)), known[item[real]])
    encoded = text.dictionary_encode()
    value, num_values = np.asarray(encoded.indices).astype(np.int64), len(encoded.dictionary)
    pairs = np.unique(item * max(num_values, 1) + value)
    return Values(pairs // max(num_values, 1), pairs % max(num_values, 1), num_values)


def _nearest_known(text: pa.Array, known: Bool[np.ndarray, " pairs"]) -> pa.Array:
    """Numbers as the nearest that stands on a training item, where these have nothing but numbers; else as it is."""
    numbers, readable = parse_numbers(text)
    readable = readable & np.isfinite(numbers)
    trained = np.unique(numbers[known])
    if len(trained) == 0 or not readable[known].all():
        return text
    above = np.clip(np.searchsorted(trained, numbers), 1, max(len(trained) - 1, 1))
    low, high = trained[above - 1], trained[np.minimum(above, len(trained) - 1)]
    nearest = pa.array(np.where(numbers - low <= high - numbers, low, high)).cast(pa.string())
    return pc.if_else(pa.array(readable), nearest, text)


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
