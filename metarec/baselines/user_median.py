"""The median of what the user gave so far, whatever the item."""

import torch
from jaxtyping import Float
from torch import Tensor

from metarec.data.biases import fit_biases
from metarec.data.histories import Histories
from metarec.evaluate.predictor import Predict
from metarec.task import Catalogue, Rows, TaskBatch


def fit_user_median(histories: Histories, catalogue: Catalogue) -> Predict:
    """Predict the median of the support's targets; with an empty support, the mean training target."""
    offset = torch.from_numpy(fit_biases(histories, num_items=catalogue.num_items).offset)

    def predict(catalogue: Catalogue, batch: TaskBatch) -> torch.Tensor:
        median = support_median(batch.support)
        return torch.where(median.isnan(), offset, median)[:, None].expand(batch.query.target.shape)

    return predict


def support_median(support: Rows) -> Float[Tensor, "tasks heads"]:
    """The median of each task's observed targets, of an even number the mean of the middle two; NaN of none."""
    num_tasks, _, num_heads = support.target.shape
    end = torch.full((num_tasks, 1, num_heads), torch.inf, dtype=torch.float64)
    ascending = torch.cat([support.target.double().masked_fill(~support.observed, torch.inf), end], dim=1)
    ascending = ascending.sort(dim=1).values
    count = support.observed.sum(dim=1, keepdim=True)
    lower = ascending.gather(1, (count - 1).clamp(min=0) // 2)
    upper = ascending.gather(1, count // 2)
    return torch.where(count > 0, (lower + upper) / 2, torch.nan).squeeze(1)
