"""The meta-learner: a recommender and an algorithm as one `nn.Module` over batches of tasks.

This is what DDP wraps. Its `forward` runs whole tasks, inner loop included, so that the gradient of what it returns is
the meta-gradient and DDP's reduction of it is exact. The lift from one task to a batch happens here and nowhere else.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from metarec.contracts import Algorithm, Encoded, Examples, Recommender, State
from metarec.task import Catalogue, Rows, TaskBatch


class MetaOutput(NamedTuple):
    """What a forward pass over a batch of tasks gives.

    Attributes:
        surrogate: the sum over tasks of the scalar whose gradient is the meta-gradient.
        losses: each task's query loss, detached, to be reported.
    """

    surrogate: Float[Tensor, ""]
    losses: Float[Tensor, " tasks"]


class MetaLearner(nn.Module):
    """A recommender that an algorithm adapts to one task at a time, lifted over batches of tasks.

    Args:
        model: a recommender, shared by all tasks.
        algorithm: how a task's support changes it; its own parameters are learned with the recommender's.
    """

    def __init__(self, model: Recommender, algorithm: Algorithm) -> None:
        super().__init__()
        self.model = model
        self.algorithm = algorithm

    def forward(self, catalogue: Catalogue, batch: TaskBatch) -> MetaOutput:
        """The surrogate sum and the losses of a batch; with no task a zero that touches every parameter.

        The zero keeps a data-parallel worker without a task in step with the others.
        """
        if batch.num_tasks == 0:
            nothing = torch.stack([parameter.sum() for parameter in self.parameters()]).sum() * 0.0
            return MetaOutput(nothing, nothing.new_zeros(0))

        def one_task(
            support: Examples, query: Examples, seed: Int[Tensor, ""]
        ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
            return self.algorithm.meta_loss(self.model, support, query, seed)

        support, query = self._examples(catalogue, batch.support), self._examples(catalogue, batch.query)
        surrogates, losses = torch.func.vmap(one_task)(support, query, batch.task_seed)
        return MetaOutput(surrogates.sum(), losses.detach())

    def adapt(self, catalogue: Catalogue, support: Rows, task_seed: Int[Tensor, " tasks"]) -> State:
        """Each task's state after adapting on its support."""

        def one_task(examples: Examples, seed: Int[Tensor, ""]) -> State:
            return self.algorithm.adapt(self.model, examples, seed)

        return torch.func.vmap(one_task)(self._examples(catalogue, support), task_seed)

    def score(self, catalogue: Catalogue, state: State, query: Rows) -> Float[Tensor, "tasks rows heads"]:
        """The predictions for each task's query rows, given its state."""

        def one_task(state: State, encoded: Encoded) -> Float[Tensor, "rows heads"]:
            return self.algorithm.predict(self.model, state, encoded)

        return torch.func.vmap(one_task)(state, self.model.encode(catalogue, query))

    @torch.no_grad()
    def predict(self, catalogue: Catalogue, batch: TaskBatch) -> Float[Tensor, "tasks rows heads"]:
        """Adapt to each task's support and predict its query; no gradient is kept."""
        return self.score(catalogue, self.adapt(catalogue, batch.support, batch.task_seed), batch.query)

    def _examples(self, catalogue: Catalogue, rows: Rows) -> Examples:
        return Examples(self.model.encode(catalogue, rows), rows.target, rows.observed, rows.mask)
