"""What an evaluation judges: a function of tasks, which may say of its scores that they tell an order alone."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from metarec.task import Catalogue, TaskBatch

Predict = Callable[[Catalogue, TaskBatch], Float[Tensor, "tasks rows heads"]]
"""Adapts to the support of each task and predicts the targets of its query rows; those of padded rows do not matter."""


@dataclass(frozen=True)
class OrderAlone:
    """A predictor whose scores tell the order of a task's rows and are no predictions of their targets.

    Similarities are such scores, and what ranking objectives learn. An evaluation ranks by them as by any others; of
    them no error and no likelihood is defined.

    Attributes:
        predict: gives the scores.
    """

    predict: Predict

    def __call__(self, catalogue: Catalogue, batch: TaskBatch) -> Float[Tensor, "tasks rows heads"]:
        """The scores."""
        return self.predict(catalogue, batch)
