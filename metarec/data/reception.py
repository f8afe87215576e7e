"""How training users received each item: what content is judged by that an item shares with others.

It comes from training ratings alone. A dataset keeps it, and so does a model, because `content_fields.py` makes of it
and of content what is expected of any item, one that joins the catalogue later included.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float64, Int64

from metarec.data.content_vectors import vectors_of_ratings
from metarec.data.dataset import BIAS, Dataset, feature_column, list_values
from metarec.data.histories import Histories
from metarec.data.least_squares import factorise, training_residuals
from metarec.data.training_side import TrainingSide

RANK, PENALTY, NUM_SWEEPS = 8, 8.0, 15
"""Of the factorisation."""
FACTORS, VECTORS, UNIT_BIAS = "reception.factors", "reception.vectors", "reception.unit_bias"
"""Columns of items.parquet."""


class Reception(NamedTuple):
    """What training ratings say of each item itself.

    Attributes:
        num_ratings: how often it was trained on; all else counts for nothing where that is 0.
        item_bias: as in `Biases`; where it is kept, with what content lets expect of items without a training rating.
        factors: of a factorisation of what biases leave of the first head.
        vectors: of `content_vectors.vectors_of_ratings`; where it is kept, in the units of the field.
        unit_bias: `item_bias`; where it is kept, in the units of the bias that content lets expect.
    """

    num_ratings: Int64[np.ndarray, " items"]
    item_bias: Float64[np.ndarray, "items heads"]
    factors: Float64[np.ndarray, "items rank"]
    vectors: Float64[np.ndarray, "items width"]
    unit_bias: Float64[np.ndarray, "items heads"]

    @property
    def known(self) -> Bool[np.ndarray, " items"]:
        """The training items."""
        return self.num_ratings > 0

    def with_unrated(self, num: int) -> "Reception":
        """With so many further items behind these that nobody has rated."""
        return Reception(*(np.concatenate([own, np.zeros((num, *own.shape[1:]), own.dtype)]) for own in self))


def learn_reception(ratings: Histories, train: TrainingSide) -> Reception:
    """Factorise the training ratings.

    Args:
        ratings: of the training side.
        train: sums over them.
    """
    biases = train.biases
    factors = factorise(
        training_residuals(ratings, torch.from_numpy(biases.offset + biases.item_bias), head=0),
        num_users=len(ratings),
        num_items=len(biases.item_bias),
        rank=RANK,
        penalty=PENALTY,
        num_sweeps=NUM_SWEEPS,
        seed=0,
    )
    vectors = vectors_of_ratings(ratings, train)
    return Reception(train.num_ratings, biases.item_bias, factors.numpy(), vectors, biases.item_bias)


def reception_columns(reception: Reception) -> dict[str, pa.Array]:
    """What items.parquet has of it beside the number of ratings and the biases, which it has in any case."""
    return {
        FACTORS: feature_column(reception.factors),
        VECTORS: feature_column(reception.vectors),
        UNIT_BIAS: feature_column(reception.unit_bias),
    }


def read_reception(dataset: Dataset) -> Reception | None:
    """That of a prepared dataset; None where its items have no fields that need it (`data.content_statistics`).

    Raises:
        StorageError: items.parquet is missing or damaged.
    """
    items = dataset.table("item")
    if FACTORS not in items.column_names:
        return None
    biases = [items[BIAS + head.name].to_numpy() for head in dataset.schema.heads]
    return Reception(
        items["training_ratings"].to_numpy().astype(np.int64),
        np.stack(biases, axis=1),
        list_values(items[FACTORS]),
        list_values(items[VECTORS]),
        list_values(items[UNIT_BIAS]),
    )
