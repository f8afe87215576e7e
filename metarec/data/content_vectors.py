"""What content alone lets expect of an item: the taste vector that items of like content have.

The vectors of a factor analysis of the training side are predicted from content by ridge regression, those of rated
items without their own part (`content_regression.py`), so that a model meets what new items will have. A user's own
weights on them are her tastes, as in the analysis.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64

from metarec.data.content_regression import design_of, expected_from_content, held_out_from_content
from metarec.data.content_values import Values
from metarec.data.factor_analysis import analyse_factors
from metarec.data.histories import Histories
from metarec.data.least_squares import ratings_above
from metarec.data.training_side import TrainingSide

NAME = "content_vectors"
RANK = 15
"""Of the analysis."""


def vectors_of_ratings(ratings: Histories, train: TrainingSide) -> Float64[np.ndarray, "items width"]:
    """What content is to tell of an item, as ratings have it: its vector, for the first head.

    Args:
        ratings: of the training side.
        train: sums over them.
    """
    level = torch.from_numpy(train.biases.offset + train.biases.item_bias)
    analysis = analyse_factors(
        ratings_above(ratings, level, head=0), num_users=len(ratings), num_items=len(level), rank=RANK, seed=0
    )
    return analysis.vectors.numpy()


def content_vectors(
    fields: Sequence[Values], known: Bool[np.ndarray, " items"], vectors: Float64[np.ndarray, "items width"]
) -> tuple[Float32[np.ndarray, "items width"], float]:
    """The vectors that content lets expect of all items, rated or not.

    Args:
        fields: which item has which values.
        known: the training items.
        vectors: theirs, from `vectors_of_ratings`; those of other items do not count.

    Returns:
        The vectors, scaled alike so that the mean square of training items is 1, and what they were divided by.
    """
    rated = torch.from_numpy(known)
    found = held_out_from_content(design_of_values(fields, known), rated, torch.from_numpy(vectors))
    size = found[rated].square().mean().sqrt().clamp(min=torch.finfo(found.dtype).tiny)
    return (found / size).float().numpy(), float(size)


def vectors_of_unrated(
    fields: Sequence[Values], known: Bool[np.ndarray, " items"], vectors: Float64[np.ndarray, "items width"]
) -> Float32[np.ndarray, "unrated width"]:
    """Of the items without a training rating alone what `content_vectors` has.

    Args:
        fields, known: as there.
        vectors: as there, divided by what it divided by.
    """
    found = expected_from_content(design_of_values(fields, known), torch.from_numpy(known), torch.from_numpy(vectors))
    return found[~torch.from_numpy(known)].float().numpy()


def design_of_values(fields: Sequence[Values], known: Bool[np.ndarray, " items"]) -> torch.Tensor:
    """`design_of` for values as NumPy has them."""
    pairs = [(torch.from_numpy(item), torch.from_numpy(value), num_values) for item, value, num_values in fields]
    return design_of(pairs, torch.from_numpy(known))
