"""What content alone lets expect of an item: the bias and the taste vector that items of like content have.

Biases and the vectors of a factor analysis of the training side are predicted from content by ridge regression, those
of rated items without their own part (`content_regression.py`), so that a model meets what new items will have. All are
in units of the noise: a user's own weights on them are her tastes, as in the analysis.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32

from metarec.data.content_regression import design_of, held_out_from_content
from metarec.data.content_statistics import Values
from metarec.data.factor_analysis import analyse_factors
from metarec.data.histories import Histories
from metarec.data.least_squares import ratings_above
from metarec.data.training_side import TrainingSide

NAME = "content_vectors"
RANK = 15
"""Of the analysis; with the bias, a vector has one entry more."""


def content_vectors(
    fields: Sequence[Values], ratings: Histories, train: TrainingSide
) -> Float32[np.ndarray, "items width"]:
    """The vectors of all items, rated or not, for the first head; scaled alike, so that their mean square is 1.

    Args:
        fields: which item has which values.
        ratings: of the training side.
        train: sums over them.
    """
    level = torch.from_numpy(train.biases.offset + train.biases.item_bias)
    analysis = analyse_factors(
        ratings_above(ratings, level, head=0), num_users=len(ratings), num_items=len(level), rank=RANK, seed=0
    )
    bias = torch.from_numpy(train.biases.item_bias[:, :1]) / analysis.noise_variance.sqrt()
    known = torch.from_numpy(train.num_ratings > 0)
    pairs = [(torch.from_numpy(item), torch.from_numpy(value), num_values) for item, value, num_values in fields]
    design = design_of(pairs, known)
    found = held_out_from_content(design, known, torch.cat([bias, analysis.vectors], dim=1))
    size = found[known].square().mean().sqrt().clamp(min=torch.finfo(found.dtype).tiny)
    return (found / size).float().numpy()
