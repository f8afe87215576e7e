"""The validation metric: what checkpoints are chosen by, on users who are neither trained nor tested on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metarec.config import Config
from metarec.data.dataset import Dataset
from metarec.data.negatives import Negatives
from metarec.data.tasks import draw_tasks
from metarec.evaluate.predictor import Predict
from metarec.metrics import mae, ndcg_at_k, squared_error
from metarec.schema import Head
from metarec.task import Catalogue, Rows, TaskBatch

TASKS_PER_BATCH = 64


@dataclass(frozen=True)
class ValidationTasks:
    """One worker's share of the validation tasks, drawn once and the same at every validation.

    Attributes:
        batches: the tasks, of similar length within a batch.
        head: what is judged.
        primary: the metric, as `evaluate.primary` names it.
    """

    batches: tuple[TaskBatch, ...]
    head: Head
    primary: str

    @classmethod
    def draw(
        cls, dataset: Dataset, config: Config, negatives: Negatives, *, rank: int, world_size: int
    ) -> "ValidationTasks":
        """Draw one task for each of this worker's validation users, with all their support."""
        histories = dataset.histories("validation")
        mine = np.argsort(histories.lengths, kind="stable")[rank::world_size]
        batches = [
            draw_tasks(
                histories.take(mine[start : start + TASKS_PER_BATCH]),
                seed=config.protocol.seed,
                draw=0,
                num_query=config.task.num_query,
                negatives=negatives,
                in_time=config.in_time,
            )
            for start in range(0, len(mine), TASKS_PER_BATCH)
        ]
        return cls(tuple(batches), dataset.schema.heads[0], config.evaluate.primary)

    def metric(
        self,
        predict: Predict,
        catalogue: Catalogue,
        sum_over_workers: Callable[[Float[Tensor, " values"]], Float[Tensor, " values"]],
    ) -> float:
        """The mean over all workers' validation users; for rmse the root of the mean squared error.

        Users for whom the metric is not defined, whatever is predicted, are left out; without any other it is NaN.
        """
        device = catalogue.offset.device
        total = torch.zeros(2, dtype=torch.float64, device=device)
        for batch in self.batches:
            moved = batch.to(device)
            values, defined = self._measure(predict(catalogue, moved)[..., 0], moved.query)
            total += torch.stack([torch.where(defined, values, 0.0).double().sum(), defined.double().sum()])
        value, users = sum_over_workers(total).tolist()
        mean = value / users if users else float("nan")
        return float(mean) ** (0.5 if self.primary == "rmse" else 1.0)

    def _measure(
        self, scores: Float[Tensor, "tasks rows"], query: Rows
    ) -> tuple[Float[Tensor, " tasks"], Bool[Tensor, " tasks"]]:
        """Each task's metric as `evaluate` has it, and whether its targets define one."""
        target, observed = query.target[..., 0], query.observed[..., 0]
        if self.primary == "ndcg@5":
            gained = target - min(self.head.low, 0.0)
            return ndcg_at_k(scores, gained, observed, k=5), (observed & (gained > 0)).any(-1)
        error = mae if self.primary == "mae" else squared_error
        return error(scores.clamp(self.head.low, self.head.high), target, observed), observed.any(-1)
