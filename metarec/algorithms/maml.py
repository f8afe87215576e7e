"""MAML: an initialisation from which a few gradient steps on a user's ratings lead to the user's own model.

For each task, θ' = θ after k gradient steps on the support loss, and the meta-gradient is the gradient of the query
loss at θ' with respect to θ, through the steps (second order) or as if θ' - θ were constant (first order).

What a task adapts makes the variants: the head alone is ANIL (Raghu et al., ICLR 2020), everything but the head BOIL
(Oh et al., ICLR 2021), a context vector CAVIA (Zintgraf et al., ICML 2019), all decision layers MeLU.

Finn, Abbeel, Levine: "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks" (ICML 2017).
Learned rates for each tensor and step, the loss after every step, and second order later in the run: Antoniou, Edwards,
Storkey: "How to train your MAML" (ICLR 2019), section 4.
"""

import itertools

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from metarec.algorithms.increments import further_steps
from metarec.algorithms.inner_loop import FastWeights, InnerLoop, first_steps, gradient_steps, predict_with, query_loss
from metarec.algorithms.objectives import Objective
from metarec.algorithms.recomputed_path import Path, recomputed_losses
from metarec.algorithms.stacked import Adaptation, stacked_losses
from metarec.contracts import (
    Capabilities,
    Encoded,
    Examples,
    LayerStack,
    Recommender,
    RunningState,
    StackedRecommender,
    Weights,
    encode_examples,
)
from metarec.task import Catalogue, TaskBatch


class Maml(nn.Module):
    """k inner gradient steps on the parameters that a task adapts.

    With an empty support the fast weights are the initialisation. Query predictions see the whole support as context;
    in the inner loss each support row is scored without itself.

    Args:
        loop: how its steps go; α is where learned rates start.
        outer: the objective of the query.
        learned: learn log α for each adapted tensor and step in the outer loop.
        first_order: leave out the derivative of the inner gradients.
        first_order_share: the share of the run, from its start, that is first order in any case.
        multi_step_share: the share m of the run, from its start, in which the loss after every step counts: at progress
            p < m each step but the last with weight (1 - p / m) / k, the last with the rest.
        recompute: go back through the steps by computing them again, so that memory does not grow with k.
    """

    def __init__(
        self,
        loop: InnerLoop,
        *,
        outer: Objective,
        learned: bool,
        first_order: bool,
        first_order_share: float = 0.0,
        multi_step_share: float = 0.0,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.loop = loop
        self.outer = outer
        self.first_order = first_order
        self.first_order_share = first_order_share
        self.multi_step_share = multi_step_share
        self.recompute = recompute
        self.log_rate = loop.log_rates(learned=learned)

    @property
    def capabilities(self) -> Capabilities:
        """Second order unless told otherwise; all weights of the model take part."""
        return Capabilities(second_order=not self.first_order)

    def adapt(self, model: Recommender, support: Examples, seed: Int[Tensor, ""]) -> FastWeights:
        """The fast weights after k steps on one task's support."""
        return first_steps(self, model, support, seed)

    def adapt_further(
        self, model: Recommender, before: RunningState | None, more: Examples, seed: Int[Tensor, ""]
    ) -> RunningState:
        """k more steps from the task's own weights, on its further ratings alone."""
        return further_steps(self, model, before, more, seed)

    def predict(self, model: Recommender, state: FastWeights, encoded: Encoded) -> Float[Tensor, "rows heads"]:
        """The scores of one task's query rows with its fast weights."""
        return predict_with(model, state, encoded)

    def meta_loss(
        self, model: Recommender, support: Examples, query: Examples, seed: Int[Tensor, ""], progress: float
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The query loss after adaptation, as surrogate and as report: its gradient is the meta-gradient."""
        start = model.initial(self.loop.adapted, support)
        path = self._path(model, start, support, seed, first_order=self._is_first_order(progress))

        def loss_after(weights: Weights) -> Float[Tensor, ""]:
            return query_loss(model, FastWeights(weights, support), query, self.outer)

        last = loss_after(path[-1])
        if not self._counts_every_step(progress):
            return last, last
        weight = (1 - progress / self.multi_step_share) / self.loop.steps
        earlier = torch.stack([loss_after(weights) for weights in path[1:-1]]).sum()
        return (1 - weight * (self.loop.steps - 1)) * last + weight * earlier, last

    def after_steps(self, model: Recommender, start: Weights, support: Examples, seed: Int[Tensor, ""]) -> Weights:
        """The weights after k steps on one task's support."""
        return self._path(model, start, support, seed, first_order=self.first_order)[-1]

    def batch_loss(
        self, model: Recommender, catalogue: Catalogue, batch: TaskBatch, progress: float
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " tasks"]] | None:
        """The same for a whole batch: with steps computed again, or by the kernel for stacks of linear layers."""
        if self.recompute and not self._counts_every_step(progress):
            losses = self._recomputed(model, catalogue, batch, progress)
            return losses.sum(), losses.detach()
        if not isinstance(model, StackedRecommender):
            return None
        stack = model.stack()
        if stack is None or not self._suits(stack, progress):
            return None
        names = [*itertools.chain.from_iterable(stack.layers), stack.direct]
        rates = self.log_rate.exp()
        rates = torch.cat([rates, torch.zeros_like(rates[:, :1])], dim=1)  # the last column: of what is not adapted
        columns = [self.loop.adapted.index(name) if name in self.loop.adapted else -1 for name in names]
        first_order = self._is_first_order(progress)
        adaptation = Adaptation(self.loop.objective, self.outer, self.loop.damping, rates[:, columns], first_order)
        return stacked_losses(model, stack, catalogue, batch, adaptation)

    def _recomputed(
        self, model: Recommender, catalogue: Catalogue, batch: TaskBatch, progress: float
    ) -> Float[Tensor, " tasks"]:
        path = Path(self.loop, self.log_rate, self._is_first_order(progress))
        support, query = (encode_examples(model, catalogue, rows) for rows in (batch.support, batch.query))
        return recomputed_losses(model, support, query, batch.task_seed, path=path, outer=self.outer)

    def _suits(self, stack: LayerStack, progress: float) -> bool:
        """Whether the kernel does what is asked: linear slopes, all rows in a step, the loss after the last alone."""
        names = {*itertools.chain.from_iterable(stack.layers), stack.direct}
        return (
            names >= set(self.loop.adapted)
            and set(self.loop.objective.names) == {"squared"}
            and {"squared", "absolute"} >= set(self.outer.names)
            and self.loop.batch_size == 0
            and not self._counts_every_step(progress)
        )

    def _is_first_order(self, progress: float) -> bool:
        return self.first_order or progress < self.first_order_share

    def _counts_every_step(self, progress: float) -> bool:
        """Whether the query loss counts after earlier steps too."""
        return progress < self.multi_step_share and self.loop.steps > 1

    def _path(
        self, model: Recommender, start: Weights, support: Examples, seed: Int[Tensor, ""], *, first_order: bool
    ) -> list[Weights]:
        """The weights before the first step and after each."""
        losses, rates = self.loop.losses(model, support, seed), self.loop.rates(self.log_rate)
        return gradient_steps(losses, start, rates, first_order=first_order)
