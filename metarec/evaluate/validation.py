"""The validation metric: what checkpoints are chosen by, on users who are neither trained nor tested on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metarec.algorithms.meta_learner import MetaLearner
from metarec.config import Config
from metarec.data.dataset import Dataset
from metarec.data.tasks import draw_tasks
from metarec.metrics import mae, squared_error
from metarec.schema import Head
from metarec.task import Catalogue, TaskBatch

TASKS_PER_BATCH = 64
METRICS = {"mae": mae, "rmse": squared_error}


@dataclass(frozen=True)
class ValidationTasks:
    """One worker's share of the validation tasks, drawn once and the same at every validation.

    Attributes:
        batches: the tasks, of similar length within a batch.
        head: what is judged.
        primary: `mae` or `rmse`.
    """

    batches: tuple[TaskBatch, ...]
    head: Head
    primary: str

    @classmethod
    def draw(cls, dataset: Dataset, config: Config, *, rank: int, world_size: int) -> "ValidationTasks":
        """Draw one task for each of this worker's validation users, with all their support."""
        histories = dataset.histories("validation")
        mine = np.argsort(histories.lengths, kind="stable")[rank::world_size]
        batches = [
            draw_tasks(
                histories.take(mine[start : start + TASKS_PER_BATCH]),
                seed=config.protocol.seed,
                draw=0,
                num_query=config.task.num_query,
            )
            for start in range(0, len(mine), TASKS_PER_BATCH)
        ]
        return cls(tuple(batches), dataset.schema.heads[0], config.evaluate.primary)

    def metric(
        self,
        learner: MetaLearner,
        catalogue: Catalogue,
        sum_over_workers: Callable[[Float[Tensor, " values"]], Float[Tensor, " values"]],
    ) -> float:
        """The mean over all workers' validation users; for rmse the root of the mean squared error."""
        device = catalogue.offset.device
        total = torch.zeros(2, dtype=torch.float64, device=device)
        for batch in self.batches:
            moved = batch.to(device)
            scores = learner.predict(catalogue, moved)[..., 0].clamp(self.head.low, self.head.high)
            values = METRICS[self.primary](scores, moved.query.target[..., 0], moved.query.observed[..., 0])
            total += torch.stack([values.double().sum(), values.new_tensor(float(len(values))).double()])
        value, users = sum_over_workers(total).tolist()
        return float(value / users) ** (0.5 if self.primary == "rmse" else 1.0)
