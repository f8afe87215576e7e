"""Every metric of one batch of predictions, in the order in which an evaluation holds them."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from metarec.evaluate.content import Content
from metarec.evaluate.metric import ALL_METRICS, Metric, list_metrics
from metarec.metrics import (
    auc,
    average_precision_at_k,
    diversity_at_k,
    f1_at_k,
    hit_rate_at_k,
    list_membership,
    log_loss,
    mae,
    ndcg_at_k,
    precision_at_k,
    recall_at_k,
    reciprocal_rank,
    squared_error,
)
from metarec.schema import EVENT, Head
from metarec.task import Rows


@dataclass(frozen=True, eq=False)
class Measure:
    """How predictions are judged.

    Errors judge the rows whose target was observed, with predictions clipped to the scale; rankings go by the unclipped
    ones. Where all items are candidates, a row that nobody rated is one that the user did not want.

    A task with fewer candidates than k has no list of k and none of the metrics at k. A list of all that there is has a
    recall of 1 and a precision that counts the relevant ones, whatever is predicted; of its `top_k_accuracy_score`
    scikit-learn calls that meaningless. nDCG at 1, 3 and 5, MRR and AUC go by the order and judge such a task as well.

    Attributes:
        head: what is predicted, with its scale.
        head_index: which head of targets and predictions it is.
        k: the length of the lists.
        relevant: the lowest rating of a relevant row; of plain events every event is relevant.
        whole_catalogue: whether rows without an observed target are candidates as well.
        content: what the items are.
    """

    head: Head
    head_index: int
    k: int
    relevant: float
    whole_catalogue: bool
    content: Content

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What the rows of `values` are."""
        return (*ALL_METRICS, *list_metrics(self.k))

    def values(
        self, prediction: Float[Tensor, "tasks rows heads"], query: Rows, *, order_alone: bool = False
    ) -> tuple[Float64[Tensor, "metrics tasks"], Float64[Tensor, "tasks rows"]]:
        """Every metric of each task, in float64, and each row's probability to be in its task's list.

        Args:
            prediction: of the query rows.
            query: the rows, with their targets.
            order_alone: whether predictions only tell an order: then metrics of numbers are NaN.
        """
        rated = query.mask & query.observed[..., self.head_index]
        candidates = query.mask if self.whole_catalogue else rated
        target = torch.where(rated, query.target[..., self.head_index].double(), 0)
        score = torch.where(candidates, prediction[..., self.head_index].double(), 0)
        wanted = rated & (target >= (self.head.high if self.head.name == EVENT else self.relevant))
        listed = candidates & (candidates.sum(dim=1, keepdim=True) >= self.k)
        values = torch.stack(
            [
                *self._errors(score, target, rated),
                *self._gains(score, target, wanted, candidates),
                *self._lists(score, wanted, listed),
                *self._orders(score, wanted, candidates),
                self._log_loss(score, target, rated),
                self._diversity(score, query, listed),
            ]
        )
        if order_alone:
            values[[metric.of_numbers for metric in self.metrics]] = torch.nan
        return values, list_membership(score, listed, k=self.k)

    def _errors(self, score: Tensor, target: Tensor, rated: Tensor) -> list[Float64[Tensor, " tasks"]]:
        clipped = score.clamp(self.head.low, self.head.high)
        return [mae(clipped, target, rated), squared_error(clipped, target, rated)]

    def _gains(
        self, score: Tensor, target: Tensor, wanted: Bool[Tensor, "tasks rows"], candidates: Tensor
    ) -> list[Float64[Tensor, " tasks"]]:
        """The nDCG; it counts from 0 where the scale starts below, and in a whole catalogue what is relevant alone."""
        gained = target - min(self.head.low, 0.0)
        if self.whole_catalogue:
            gained = torch.where(wanted, gained, 0)
        return [ndcg_at_k(score, gained, candidates, k=k) for k in (1, 3, 5)]

    def _lists(self, score: Tensor, wanted: Tensor, listed: Tensor) -> list[Float64[Tensor, " tasks"]]:
        at_k = (precision_at_k, recall_at_k, f1_at_k, hit_rate_at_k, average_precision_at_k)
        return [metric(score, wanted, listed, k=self.k) for metric in at_k]

    def _orders(self, score: Tensor, wanted: Tensor, candidates: Tensor) -> list[Float64[Tensor, " tasks"]]:
        return [metric(score, wanted, candidates) for metric in (reciprocal_rank, auc)]

    def _log_loss(self, score: Tensor, target: Tensor, rated: Tensor) -> Float64[Tensor, " tasks"]:
        """Of events and other things that happen or do not; a rating has no probability."""
        if (self.head.low, self.head.high) != (0.0, 1.0):
            return torch.full((len(score),), torch.nan, dtype=torch.float64)
        return log_loss(score, target, rated)

    def _diversity(self, score: Tensor, query: Rows, listed: Tensor) -> Float64[Tensor, " tasks"]:
        content, item = self.content, query.item.cpu()
        if content.feature.shape[1] == 0:
            return torch.full((len(score),), torch.nan, dtype=torch.float64)
        return diversity_at_k(
            score,
            listed,
            content.feature[item],
            content.weight[item],
            k=self.k,
            num_features=content.num_features,
        )
