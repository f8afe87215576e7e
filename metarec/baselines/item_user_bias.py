"""How much the item is liked and how generous the user is: the floor that needs no taste."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metarec.data.biases import fit_biases
from metarec.data.content_regression import fill_from_content
from metarec.data.histories import Histories
from metarec.evaluate.predictor import Predict
from metarec.task import Catalogue, Rows, TaskBatch

USER_DAMPING = 2.0
"""Ratings at the mean that are added before the bias of a cold user is believed."""


def fit_item_user_bias(histories: Histories, catalogue: Catalogue) -> Predict:
    """Predict μ + b_item + b_user, the item biases from training and the user's from the support.

    b_user is the sum of r - μ - b_item over the support, divided by its size + 2.

    Source: Koren, Bell and Volinsky, Computer 42 (2009), equation 3.
    """
    level = fit_item_level(histories, catalogue)

    def predict(catalogue: Catalogue, batch: TaskBatch) -> torch.Tensor:
        bias = user_bias(batch.support, batch.support.target.double() - level[batch.support.item])
        return level[batch.query.item] + bias[:, None]

    return predict


def fit_item_level(histories: Histories, catalogue: Catalogue) -> Float[Tensor, "items heads"]:
    """μ + b_item of every item: what a user without a bias gives it.

    The bias of an item without a training target is predicted from its content (`content_regression.py`).
    """
    biases = fit_biases(histories, num_items=catalogue.num_items)
    known = rated_items(histories, catalogue)
    bias = fill_from_content(catalogue.item_features, known, torch.from_numpy(biases.item_bias))
    return torch.from_numpy(biases.offset) + bias


def rated_items(histories: Histories, catalogue: Catalogue) -> Bool[Tensor, " items"]:
    """Which items have a training rating."""
    return torch.bincount(torch.from_numpy(histories.item), minlength=catalogue.num_items) > 0


def user_bias(support: Rows, residual: Float[Tensor, "tasks support heads"]) -> Float[Tensor, "tasks heads"]:
    """The damped mean of each user's residuals over the observed rows of the support; 0 of none."""
    total = torch.where(support.observed, residual, 0).sum(dim=1)
    return total / (support.observed.sum(dim=1) + USER_DAMPING)
