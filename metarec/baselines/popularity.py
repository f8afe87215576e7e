"""How many users an item has: the floor of plain events, of which the other floors know nothing but that all are 1."""

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from metarec.data.histories import Histories
from metarec.data.least_squares import Ratings
from metarec.evaluate.predictor import Predict
from metarec.task import Catalogue, TaskBatch


def fit_popularity(histories: Histories, catalogue: Catalogue) -> Predict:
    """Predict Σ_u y_ui / n, the share of the n training users who have the item, whatever the support.

    y_ui is the target of user u and item i in each head, and 0 where it was not observed.

    Source: Cremonesi, Koren and Turrin, "Performance of recommender algorithms on top-N recommendation tasks" (RecSys
    2010), section 3.1 (TopPop).
    """
    share = item_shares(histories, catalogue)

    def predict(catalogue: Catalogue, batch: TaskBatch) -> torch.Tensor:
        return share[batch.query.item]

    return predict


def item_shares(histories: Histories, catalogue: Catalogue) -> Float64[Tensor, "items heads"]:
    """The share of the users who have each item, in each head."""
    total = np.zeros(catalogue.item_bias.shape)
    np.add.at(total, histories.item, np.where(histories.observed, histories.target, 0.0))
    return torch.from_numpy(total / max(len(histories), 1))


def event_triples(histories: Histories, head: int) -> Ratings:
    """Every event of one head as a rating of 1."""
    rows = np.flatnonzero(histories.observed[:, head] & (histories.target[:, head] > 0))
    user, item = torch.from_numpy(histories.row_history[rows]), torch.from_numpy(histories.item[rows])
    return Ratings(user, item, torch.ones(len(rows), dtype=torch.float64))
