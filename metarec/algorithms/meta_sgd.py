"""Meta-SGD: an initialisation, and with it for every weight how fast and in which direction a task moves it.

For each task θ_{j+1} = θ_j - α ∘ ∇L_j(θ_j), with one α for each weight that is learned beside θ_0: the meta-gradient is
that of the query loss after the last step with respect to both. The paper takes a single step; here all steps share α.

Li, Zhou, Chen, Li: "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning" (2017), equations 2 and 3.
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


class MetaSgd(nn.Module):
    """k inner gradient steps with a learned rate for each weight, or each column of an embedding table.

    The rate itself is the parameter, not its logarithm: it may fall to 0, where a task leaves the weight alone, and
    below, where a task climbs. With an empty support the fast weights are the initialisation.

    Args:
        loop: how its steps go; α is where every rate starts.
        shapes: of the rates, by the names of the adapted parameters.
        outer: the objective of the query.
        first_order: leave out the derivative of the inner gradients.
    """

    def __init__(
        self,
        loop: InnerLoop,
        shapes: Mapping[str, Sequence[int]],
        *,
        outer: Objective,
        first_order: bool,
    ) -> None:
        super().__init__()
        self.loop = loop
        self.outer = outer
        self.first_order = first_order
        self.rate = PerWeight(shapes, start=loop.lr)

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
        del progress
        return loss_after_adapting(self, model, support, query, seed, outer=self.outer)

    def after_steps(self, model: Recommender, start: Weights, support: Examples, seed: Int[Tensor, ""]) -> Weights:
        """The weights after k steps on one task's support."""
        losses, rates = self.loop.losses(model, support, seed), [self.rate()] * self.loop.steps
        return gradient_steps(losses, start, rates, first_order=self.first_order)[-1]
