"""How far each item lies above the mean, fitted on the training side: where a residual model starts from."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64

from metarec.data.histories import Histories
from metarec.task import Catalogue


class Biases(NamedTuple):
    """The item side of r ≈ offset + user bias + item bias.

    Attributes:
        offset: the mean target, per head.
        item_bias: per item and head; 0 for an item that nobody rated.
    """

    offset: Float64[np.ndarray, " heads"]
    item_bias: Float64[np.ndarray, "items heads"]


def fit_biases(histories: Histories, *, num_items: int, damping: float = 5.0, num_sweeps: int = 10) -> Biases:
    """Fit offset, user and item biases by alternating damped means.

    With μ the mean target, each sweep sets b_i = Σ_u (r_ui - μ - b_u) / (n_i + λ) and then b_u likewise: coordinate
    descent on Σ (r_ui - μ - b_u - b_i)² + λ (Σ b_u² + Σ b_i²).

    Args:
        histories: the training side.
        num_items: of the catalogue.
        damping: λ, the number of ratings at the mean that are added before a bias is believed; above 0.
        num_sweeps: of the descent.

    Returns:
        The offset and the item biases; user biases are fitted anew from each user's support.
    """
    owner = histories.row_history
    heads = range(histories.target.shape[1])
    fitted = [
        _fit_head(
            owner[histories.observed[:, head]],
            histories.item[histories.observed[:, head]],
            histories.target[histories.observed[:, head], head].astype(np.float64),
            shape=(len(histories), num_items),
            damping=damping,
            num_sweeps=num_sweeps,
        )
        for head in heads
    ]
    return Biases(np.array([offset for offset, _ in fitted]), np.stack([bias for _, bias in fitted], axis=1))


def with_held_out_biases(catalogue: Catalogue, training: Histories, *, num_folds: int = 10) -> Catalogue:
    """The catalogue for training: each training user's rows start from item biases fitted without the user's fold.

    A bias that was fitted on a row holds a part of its target, most of it for a rare item; a cold user's rows are in no
    bias. Cross-fitting lets training meet what testing will meet.

    Args:
        catalogue: of the dataset.
        training: its training histories.
        num_folds: users are dealt to folds in turn.

    Source: cross-fitting as in Chernozhukov et al., "Double/debiased machine learning" (2018), section 3.
    """
    num_folds = min(num_folds, len(training))
    fold = np.arange(len(training)) % num_folds
    biases = [
        fit_biases(training.take(np.flatnonzero(fold != held_out)), num_items=catalogue.num_items).item_bias
        for held_out in range(num_folds)
    ]
    user_fold = np.full(max(int(training.user.max(initial=0)) + 1, _num_users(catalogue)), -1)
    user_fold[training.user] = fold
    return catalogue._replace(
        user_fold=torch.from_numpy(user_fold),
        held_out_bias=torch.from_numpy(np.stack(biases)).to(catalogue.item_bias.dtype),
    )


def _num_users(catalogue: Catalogue) -> int:
    return max((len(feature) for feature in catalogue.user_features.values()), default=0)


def _fit_head(
    user: np.ndarray, item: np.ndarray, target: np.ndarray, *, shape: tuple[int, int], damping: float, num_sweeps: int
) -> tuple[float, Float64[np.ndarray, " items"]]:
    num_users, num_items = shape
    offset = float(target.mean()) if len(target) else 0.0
    above = target - offset
    user_weight = np.bincount(user, minlength=num_users) + damping
    item_weight = np.bincount(item, minlength=num_items) + damping
    user_bias, item_bias = np.zeros(num_users), np.zeros(num_items)
    for _ in range(num_sweeps):
        item_bias = np.bincount(item, above - user_bias[user], minlength=num_items) / item_weight
        user_bias = np.bincount(user, above - item_bias[item], minlength=num_users) / user_weight
    return offset, item_bias
