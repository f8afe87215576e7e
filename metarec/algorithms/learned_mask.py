"""Sparse MAML: which weights a task adapts is itself learned, by a mask on the inner gradient.

For each task θ_{j+1} = θ_j - α_j 1[m ≥ 0] ∘ ∇L_j(θ_j), with one m for each weight. The indicator has no slope, so that
m is learned by the straight-through estimate ∂1[m ≥ 0] / ∂m := 1: with g the gradient of the query loss at θ_{j+1}, m
goes up where -α_j g ∘ ∇L_j < 0, that is where the step of a weight, taken or not, lowers the query loss.

von Oswald, Zhao, Kobayashi, Schug, Caccia, Zucchet, Sacramento: "Learning where to learn: Gradient sparsity in meta and
continual learning" (NeurIPS 2021), section 3.
"""

from collections.abc import Mapping, Sequence

from jaxtyping import Float, Int
from torch import Tensor, nn

from metarec.algorithms.increments import further_steps
from metarec.algorithms.inner_loop import FastWeights, InnerLoop, first_steps, gradient_steps, predict_with
from metarec.algorithms.objectives import Objective
from metarec.algorithms.per_weight import PerWeight
from metarec.algorithms.query_loss import loss_after_adapting
from metarec.contracts import Capabilities, Encoded, Examples, Recommender, RunningState, Weights

START = 0.05
"""Of every m: all weights adapt at first, as in MAML, and a weight freezes after a few tens of outer steps (of a rate
around 0.003) that agree, while steps that contradict each other leave it on."""


class LearnedMask(nn.Module):
    """k inner gradient steps on those weights, or columns of an embedding table, whose mask is on.

    With an empty support the fast weights are the initialisation.

    Args:
        loop: how its steps go; α is where learned rates start.
        shapes: of the masks, by the names of the adapted parameters.
        outer: the objective of the query.
        learned: learn log α for each tensor and step in the outer loop.
        first_order: leave out the derivative of the inner gradients.
    """

    def __init__(
        self,
        loop: InnerLoop,
        shapes: Mapping[str, Sequence[int]],
        *,
        outer: Objective,
        learned: bool,
        first_order: bool,
    ) -> None:
        super().__init__()
        self.loop = loop
        self.outer = outer
        self.first_order = first_order
        self.mask = PerWeight(shapes, start=START)
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
        """The query loss after adaptation, as surrogate and as report."""
        del progress
        return loss_after_adapting(self, model, support, query, seed, outer=self.outer)

    def after_steps(self, model: Recommender, start: Weights, support: Examples, seed: Int[Tensor, ""]) -> Weights:
        """The weights after k steps on one task's support."""
        losses = self.loop.losses(model, support, seed)
        return gradient_steps(losses, start, self._rates(), first_order=self.first_order)[-1]

    def _rates(self) -> list[Weights]:
        """For each step α 1[m ≥ 0]."""
        masks = {name: straight_through(mask) for name, mask in self.mask().items()}
        return [{name: rate * masks[name] for name, rate in step.items()} for step in self.loop.rates(self.log_rate)]


def straight_through(mask: Float[Tensor, "*weight"]) -> Float[Tensor, "*weight"]:
    """1[m ≥ 0], with the derivative of m itself."""
    return (mask >= 0).to(mask.dtype) + (mask - mask.detach())
