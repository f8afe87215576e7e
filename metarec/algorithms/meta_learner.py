"""The meta-learner: a recommender and an algorithm as one `nn.Module` over batches of tasks.

This is what DDP wraps. Its `forward` runs whole tasks, inner loop included, so that the gradient of what it returns is
the meta-gradient and DDP's reduction of it is exact. The lift from one task to a batch happens here and nowhere else.
"""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from metarec.algorithms.buckets import bucket_tasks
from metarec.algorithms.inner_loop import StepwiseAlgorithm, inner_gradient_norm
from metarec.algorithms.objectives import Objective
from metarec.contracts import (
    Algorithm,
    BatchAlgorithm,
    Encoded,
    Examples,
    IncrementalAlgorithm,
    Recommender,
    RunningState,
    State,
    encode_examples,
)
from metarec.task import Catalogue, Rows, TaskBatch, select_tasks

OVERHEAD = 2000
"""Of a group of tasks, in rows: operations that are lifted by vmap take long to start."""


class MetaOutput(NamedTuple):
    """What a forward pass over a batch of tasks gives.

    Attributes:
        surrogate: the sum, over the tasks whose loss is finite, of the scalar whose gradient is the meta-gradient.
        losses: each task's query loss, detached, to be reported; NaN for a task that was left out.
    """

    surrogate: Float[Tensor, ""]
    losses: Float[Tensor, " tasks"]


class MetaLearner(nn.Module):
    """A recommender that an algorithm adapts to one task at a time, lifted over batches of tasks.

    Args:
        model: a recommender, shared by all tasks.
        algorithm: how a task's support changes it; its own parameters are learned with the recommender's.
        objective: what the scores of the query are trained for, and so what they say of the targets.
    """

    def __init__(self, model: Recommender, algorithm: Algorithm, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.algorithm = algorithm
        self.objective = objective
        self.eval()

    def forward(self, catalogue: Catalogue, batch: TaskBatch, progress: float = 1.0) -> MetaOutput:
        """The surrogate sum and the losses of a batch; with no task a zero that touches every parameter.

        The zero keeps a data-parallel worker without a task in step with the others. A task whose loss or surrogate is
        not finite is taken out and the pass repeated without it: masking it would still leave a NaN in the gradient.

        Args:
            catalogue: what the batch points into.
            batch: the tasks.
            progress: how much of the run is done, from 0 to 1.
        """
        surrogate, losses = self._losses(catalogue, batch, progress)
        good = losses.isfinite()
        if not good.all():
            surrogate, _ = self._losses(catalogue, select_tasks(batch, good), progress)
        return MetaOutput(surrogate + self._nothing(good), losses)

    def adapt(self, catalogue: Catalogue, support: Rows, task_seed: Int[Tensor, " tasks"]) -> State:
        """Each task's state after adapting on its support."""

        def one_task(examples: Examples, seed: Int[Tensor, ""]) -> State:
            return self.algorithm.adapt(self.model, examples, seed)

        return torch.func.vmap(one_task)(encode_examples(self.model, catalogue, support), task_seed)

    def adapt_further(
        self, catalogue: Catalogue, before: RunningState | None, more: Rows, task_seed: Int[Tensor, " tasks"]
    ) -> RunningState:
        """Where each task stands after further ratings, without the earlier ones.

        Only where `increments.why_ratings_are_needed` has no reason against it.

        Args:
            catalogue: what the rows point into.
            before: where the same tasks stood; None = no rating came before, and the states are those of `adapt`.
            more: the further ratings of each task.
            task_seed: of each task.
        """
        algorithm, examples = self.algorithm, encode_examples(self.model, catalogue, more)
        assert isinstance(algorithm, IncrementalAlgorithm)

        def first_ratings(more: Examples, seed: Int[Tensor, ""]) -> RunningState:
            return algorithm.adapt_further(self.model, None, more, seed)

        def further_ratings(before: RunningState, more: Examples, seed: Int[Tensor, ""]) -> RunningState:
            return algorithm.adapt_further(self.model, before, more._replace(earlier=before.support.earlier), seed)

        if before is None:
            return torch.func.vmap(first_ratings)(examples, task_seed)
        return torch.func.vmap(further_ratings)(before, examples, task_seed)

    def score(self, catalogue: Catalogue, state: State, query: Rows) -> Float[Tensor, "tasks rows heads"]:
        """The predictions for each task's query rows, given its state."""

        def one_task(state: State, encoded: Encoded) -> Float[Tensor, "rows heads"]:
            return self.objective.predictions(self.algorithm.predict(self.model, state, encoded))

        return torch.func.vmap(one_task)(state, self.model.encode(catalogue, query))

    @torch.no_grad()
    def predict(self, catalogue: Catalogue, batch: TaskBatch) -> Float[Tensor, "tasks rows heads"]:
        """Adapt to each task's support and predict its query; no gradient is kept."""
        return self.score(catalogue, self.adapt(catalogue, batch.support, batch.task_seed), batch.query)

    @torch.no_grad()
    def gradient_norms(self, catalogue: Catalogue, support: Rows) -> Float[Tensor, " tasks"]:
        """How large the inner gradient of each task's support is at the initialisation.

        Only for an algorithm that has one (`inner_loop.StepwiseAlgorithm`).
        """
        assert isinstance(self.algorithm, StepwiseAlgorithm)
        loop = self.algorithm.loop

        def one_task(examples: Examples) -> Float[Tensor, ""]:
            return inner_gradient_norm(loop, self.model, examples)

        return torch.func.vmap(one_task)(encode_examples(self.model, catalogue, support))

    def _losses(
        self, catalogue: Catalogue, batch: TaskBatch, progress: float
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " tasks"]]:
        """The sum of the surrogates, and each task's query loss, NaN where it or the surrogate is not finite."""
        if batch.num_tasks == 0:
            nothing = next(self.parameters()).new_zeros(0)
            return nothing.sum(), nothing
        if isinstance(self.algorithm, BatchAlgorithm):
            found = self.algorithm.batch_loss(self.model, catalogue, batch, progress)
            if found is not None:
                return found[0], torch.where(found[1].isfinite(), found[1], torch.nan)
        with self._training(batch):
            surrogates, losses = self.task_by_task(catalogue, batch, progress)
        finite = surrogates.isfinite() & losses.isfinite()
        return surrogates.sum(), torch.where(finite, losses, torch.nan).detach()

    def task_by_task(
        self, catalogue: Catalogue, batch: TaskBatch, progress: float
    ) -> tuple[Float[Tensor, " tasks"], Float[Tensor, " tasks"]]:
        """Each task's surrogate and query loss, lifted over groups of tasks with supports of like length."""

        def one_task(
            support: Examples, query: Examples, seed: Int[Tensor, ""]
        ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
            return self.algorithm.meta_loss(self.model, support, query, seed, progress)

        support, query = (encode_examples(self.model, catalogue, rows) for rows in (batch.support, batch.query))
        buckets, found = bucket_tasks(batch.support.mask, overhead=OVERHEAD), []
        for tasks, length in buckets:
            short = tree_map(lambda leaf, tasks=tasks, length=length: leaf[tasks, :length], support)
            same = tree_map(lambda leaf, tasks=tasks: leaf[tasks], query)
            found.append(torch.func.vmap(one_task, randomness="different")(short, same, batch.task_seed[tasks]))
        back = torch.cat([bucket.tasks for bucket in buckets]).argsort()
        surrogates, losses = (torch.cat(parts)[back] for parts in zip(*found, strict=True))
        return surrogates, losses

    @contextlib.contextmanager
    def _training(self, batch: TaskBatch) -> Iterator[None]:
        """Modules train for the time of a pass; what dropout leaves out follows from the first task's seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(batch.task_seed[0]))
            self.train()
            try:
                yield
            finally:
                self.eval()

    def _nothing(self, good: Bool[Tensor, " tasks"]) -> Float[Tensor, ""] | float:
        """A zero that touches every parameter, where a pass may not have: DDP waits for the gradient of each."""
        if good.any() and self.algorithm.capabilities.reaches_every_weight:
            return 0.0
        return torch.stack([parameter.sum() for parameter in self.parameters()]).sum() * 0.0
