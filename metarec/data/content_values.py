"""Which item has which values: of its fields, and the words of its title.

Where all values that training items have are numbers, such as years, another number can count as the nearest of them.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int64

from metarec.data.numeric import parse_numbers
from metarec.schema import FeatureKind

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


def values_of_fields(
    features: Mapping[str, pa.ChunkedArray],
    kinds: Mapping[str, FeatureKind],
    known: Bool[np.ndarray, " items"] | None,
) -> list[Values]:
    """The values of each categorical and multi-valued field.

    Args:
        features: a row each item; the categorical and multi_valued ones count, the id left out by the caller.
        kinds: what each feature is.
        known: the training items, to whose numbers others are moved; None = each stays what it is.
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


def _values(column: pa.ChunkedArray, known: Bool[np.ndarray, " items"] | None) -> Values:
    """The pairs of an item and a value of its own, each pair once."""
    column = column.combine_chunks()
    if pa.types.is_list(column.type):
        item, text = np.asarray(pc.list_parent_indices(column)).astype(np.int64), pc.list_flatten(column)
    else:
        item, text = np.arange(len(column)), column
    text = text.cast(pa.string())
    real = np.asarray(pc.fill_null(pc.not_equal(text, ""), False), bool)
    item, text = item[real], text.filter(pa.array(real))
    if known is not None:
        text = _nearest_known(text, known[item])
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
