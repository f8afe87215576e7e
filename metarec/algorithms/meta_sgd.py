"""Meta-SGD: an initialisation, and with it for every weight how fast and in which direction a task moves it.

For each task θ_{j+1} = θ_j - α ∘ ∇L_j(θ_j), with one α for each weight that is learned beside θ_0: the meta-gradient is
that of the query loss after the last step with respect to both. The paper takes a single step; here all steps share α.

Li, Zhou, Chen, Li: "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning" (2017), equations 2 and 3.
"""

from collections.abc import Mapping, Sequence

from jaxtyping import Float, Int
from torch import Tensor, nn

from metarec.algorithms.inner_loop import FastWeights, gradient_steps, predict_with, step_losses
from metarec.algorithms.objectives import Objective
from metarec.algorithms.per_weight import PerWeight
from metarec.algorithms.query_loss import loss_after_adapting
from metarec.contracts import Capabilities, Encoded, Examples, Recommender


class MetaSgd(nn.Module):
    """k inner gradient steps with a learned rate for each weight, or each column of an embedding table.

    The rate itself is the parameter, not its logarithm: it may fall to 0, where a task leaves the weight alone, and
    below, where a task climbs. With an empty support the fast weights are the initialisation.

    Args:
        shapes: from the names of the parameters that a task adapts, at least one, to the shapes of their rates.
        inner: the objective of the support.
        outer: the objective of the query.
        steps: k, at least 1.
        lr: where every rate starts; above 0.
        first_order: leave out the derivative of the inner gradients.
        damping: as in `Objective`, of the support loss.
        batch_size: support rows of each inner step; 0 = all.
    """

    def __init__(
        self,
        shapes: Mapping[str, Sequence[int]],
        *,
        inner: Objective,
        outer: Objective,
        steps: int,
        lr: float,
        first_order: bool,
        damping: float,
        batch_size: int = 0,
    ) -> None:
        super().__init__()
        self.adapted = tuple(shapes)
        self.inner = inner
        self.outer = outer
        self.steps = steps
        self.first_order = first_order
        self.damping = damping
        self.batch_size = batch_size
        self.rate = PerWeight(shapes, start=lr)

    @property
    def capabilities(self) -> Capabilities:
        """Second order unless told otherwise; all weights of the model take part."""
        return Capabilities(second_order=not self.first_order)

    def adapt(self, model: Recommender, support: Examples, seed: Int[Tensor, ""]) -> FastWeights:
        """The fast weights after k steps on one task's support."""
        losses = step_losses(
            model, support, seed, self.inner, steps=self.steps, damping=self.damping, batch_size=self.batch_size
        )
        start, rates = model.initial(self.adapted, support), [self.rate()] * self.steps
        return FastWeights(gradient_steps(losses, start, rates, first_order=self.first_order)[-1], support)

    def predict(self, model: Recommender, state: FastWeights, encoded: Encoded) -> Float[Tensor, "rows heads"]:
        """The scores of one task's query rows with its fast weights."""
        return predict_with(model, state, encoded)

    def meta_loss(
        self, model: Recommender, support: Examples, query: Examples, seed: Int[Tensor, ""], progress: float
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The query loss after adaptation, as surrogate and as report: its gradient is the meta-gradient."""
        del progress
        return loss_after_adapting(self, model, support, query, seed, outer=self.outer)
