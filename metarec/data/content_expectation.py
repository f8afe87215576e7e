"""How content alone lets expect an item to be received: the bias that items of like content have.

It is the regression of `content_regression.py` on more than the values themselves: the words of titles as well, and of
each field every two values that an item has together, since what two genres promise is not the sum of what each does.
Rated items have theirs without their own ratings, so that what a model learns on them holds for new ones.

Source of the second: the cross-product transformations of Cheng et al., "Wide & Deep Learning for Recommender Systems"
(DLRS 2016), section 3.1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64

from metarec.data.content_regression import held_out_from_content
from metarec.data.content_values import Values
from metarec.data.content_vectors import design_of_values, vectors_of_unrated

NAME = "content_expectation"
_MOST_PAIRED = 20
"""Of an item with more values of a field no two are taken together, whose number would grow with the square."""


class Expectation(NamedTuple):
    """What content lets expect.

    Attributes:
        field: the expected bias of each item, rated or not, in standard deviations over the training items.
        unit_bias: the biases of training items in the units of the field; 0 for the others.
    """

    field: Float32[np.ndarray, "items heads"]
    unit_bias: Float64[np.ndarray, "items heads"]


def content_expectation(
    fields: Sequence[Values],
    words: Values,
    known: Bool[np.ndarray, " items"],
    item_bias: Float64[np.ndarray, "items heads"],
) -> Expectation:
    """The bias that content lets expect of each item.

    Args:
        fields: which item has which values.
        words: which item has which words in its title.
        known: the training items.
        item_bias: of the training side; that of other items does not count.
    """
    design = design_of_values(_columns(fields, words), known)
    found = held_out_from_content(design, torch.from_numpy(known), torch.from_numpy(item_bias)).numpy()
    mean, scale = found[known].mean(axis=0), found[known].std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    return Expectation(
        field=((found - mean) / scale).astype(np.float32),
        unit_bias=np.where(known[:, None], (item_bias - mean) / scale, 0.0),
    )


def expectation_of_unrated(
    fields: Sequence[Values],
    words: Values,
    known: Bool[np.ndarray, " items"],
    unit_bias: Float64[np.ndarray, "items heads"],
) -> Float32[np.ndarray, "unrated heads"]:
    """Of the items without a training rating alone the field that `content_expectation` has.

    Args:
        fields, words, known: as there.
        unit_bias: as it returned it.
    """
    return vectors_of_unrated(_columns(fields, words), known, unit_bias)


def _columns(fields: Sequence[Values], words: Values) -> list[Values]:
    """What the regression is on."""
    return [*fields, words, *map(_pairs, fields)]


def _pairs(values: Values) -> Values:
    """Which item has which two values of a field, each two as a value of its own."""
    item, value, num_values = values
    order = np.lexsort((value, item))
    item, value = item[order], value[order]
    few = np.bincount(item, minlength=1)[item] <= _MOST_PAIRED
    item, value = item[few], value[few]
    items, codes = [item[:0]], [value[:0]]
    for distance in range(1, _MOST_PAIRED):
        together = item[:-distance] == item[distance:]
        items.append(item[:-distance][together])
        codes.append((value[:-distance] * num_values + value[distance:])[together])
    kinds, pair = np.unique(np.concatenate(codes), return_inverse=True)
    return Values(np.concatenate(items), pair, len(kinds))
