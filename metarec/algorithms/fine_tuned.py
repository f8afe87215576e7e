"""Joint training, then fine-tuning: the plainest way to a user's own model, and so an honest opponent.

Training is that of `joint.py`. A new user takes k gradient steps on the own ratings from the jointly trained θ_0,

    θ_{j+1} = θ_j - α ∇L(θ_j),

the steps of MAML at a fixed rate α. Nothing in training prepares θ_0 for them, so that the best α is smaller than
MAML's, and one that is too large carries users with many ratings away.
"""

from jaxtyping import Float, Int
from torch import Tensor

from metarec.algorithms.increments import further_steps
from metarec.algorithms.inner_loop import FastWeights, InnerLoop, first_steps, gradient_steps, predict_with
from metarec.algorithms.joint import joint_loss
from metarec.algorithms.objectives import Objective
from metarec.contracts import Capabilities, Encoded, Examples, Recommender, RunningState, Weights


class FineTuned:
    """A jointly trained recommender that each new user fine-tunes.

    The loss that training reports is that of the joint model, before fine-tuning.

    Args:
        loop: how its steps go; α stays, for no gradient of training reaches it.
        outer: the objective of training.
    """

    def __init__(
        self,
        loop: InnerLoop,
        *,
        outer: Objective,
    ) -> None:
        self.loop = loop
        self.outer = outer

    @property
    def capabilities(self) -> Capabilities:
        """It adapts, but nothing is differentiated through adaptation."""
        return Capabilities()

    def adapt(self, model: Recommender, support: Examples, seed: Int[Tensor, ""]) -> FastWeights:
        """The fine-tuned weights after k steps on one task's support."""
        return first_steps(self, model, support, seed)

    def adapt_further(
        self, model: Recommender, before: RunningState | None, more: Examples, seed: Int[Tensor, ""]
    ) -> RunningState:
        """k more steps from the task's own weights, on its further ratings alone."""
        return further_steps(self, model, before, more, seed)

    def predict(self, model: Recommender, state: FastWeights, encoded: Encoded) -> Float[Tensor, "rows heads"]:
        """The scores of one task's query rows with its fine-tuned weights."""
        return predict_with(model, state, encoded)

    def meta_loss(
        self, model: Recommender, support: Examples, query: Examples, seed: Int[Tensor, ""], progress: float
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The joint loss of all rows as surrogate, that of the query rows before fine-tuning to report."""
        del seed, progress
        return joint_loss(model, self.outer, support, query)

    def after_steps(self, model: Recommender, start: Weights, support: Examples, seed: Int[Tensor, ""]) -> Weights:
        """The weights after k steps on one task's support."""
        rates = {name: support.target.new_tensor(self.loop.lr) for name in self.loop.adapted}
        losses = self.loop.losses(model, support, seed)
        return gradient_steps(losses, start, [rates] * self.loop.steps, first_order=True)[-1]
