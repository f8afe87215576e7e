"""How far each item lies above the mean, fitted on the training side: where a residual model starts from."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int

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


class Observed(NamedTuple):
    """The observed targets of one head in some whole histories.

    Attributes:
        num_histories: how many histories.
        history: which of them each rating belongs to.
        item: of each rating.
        target: of each rating.
    """

    num_histories: int
    history: Int[np.ndarray, " ratings"]
    item: Int[np.ndarray, " ratings"]
    target: Float[np.ndarray, " ratings"]


def observed_by_head(histories: Histories) -> list[Observed]:
    """The observed targets of each head."""
    owner = histories.row_history
    heads = [(seen, histories.target[seen, head]) for head, seen in enumerate(histories.observed.T)]
    return [Observed(len(histories), owner[seen], histories.item[seen], target) for seen, target in heads]


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
    heads = observed_by_head(histories)
    fitted = [
        fit_head(lambda own=own: [own], num_items=num_items, damping=damping, num_sweeps=num_sweeps)  # type: ignore[misc]
        for own in heads
    ]
    return join_heads(fitted)


def join_heads(fitted: Sequence[tuple[float, Float64[np.ndarray, " items"]]]) -> Biases:
    """What `fit_head` found of each head, together."""
    return Biases(np.array([offset for offset, _ in fitted]), np.stack([bias for _, bias in fitted], axis=1))


def fit_head(
    parts: Callable[[], Iterable[Observed]], *, num_items: int, damping: float = 5.0, num_sweeps: int = 10
) -> tuple[float, Float64[np.ndarray, " items"]]:
    """The offset and the item biases of one head, from ratings that are gone through part by part in each sweep.

    Args:
        parts: gives the parts, the same each time; all ratings of a user are in one of them.
        num_items: of the catalogue.
        damping, num_sweeps: as in `fit_biases`.
    """
    sums = [(float(part.target.astype(np.float64).sum()), len(part.target)) for part in parts()]
    num_ratings = sum(count for _, count in sums)
    offset = sum(total for total, _ in sums) / num_ratings if num_ratings else 0.0
    weight = damping + sum(np.bincount(part.item, minlength=num_items) for part in parts())
    item_bias = np.zeros(num_items)
    for sweep in range(num_sweeps):
        total = np.zeros(num_items)
        for part in parts():
            above = part.target.astype(np.float64) - offset
            if sweep:
                above -= _user_bias(part, above - item_bias[part.item], damping)[part.history]
            total += np.bincount(part.item, above, minlength=num_items)
        item_bias = total / weight
    return offset, item_bias


def _user_bias(
    part: Observed, rest: Float64[np.ndarray, " ratings"], damping: float
) -> Float64[np.ndarray, " histories"]:
    """The damped mean of what item biases leave of each user's ratings."""
    weight = np.bincount(part.history, minlength=part.num_histories) + damping
    return np.bincount(part.history, rest, minlength=part.num_histories) / weight


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
