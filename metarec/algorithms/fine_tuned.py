"""Joint training, then fine-tuning: the plainest way to a user's own model, and so an honest opponent.

Training is that of `joint.py`. A new user takes k gradient steps on the own ratings from the jointly trained θ_0,

    θ_{j+1} = θ_j - α ∇L(θ_j),

the steps of MAML at a fixed rate α. Nothing in training prepares θ_0 for them, so that the best α is smaller than
MAML's, and one that is too large carries users with many ratings away.
"""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from metarec.algorithms.inner_loop import FastWeights, gradient_steps, minibatches, predict_with, support_loss
from metarec.algorithms.joint import joint_loss
from metarec.algorithms.objectives import Objective
from metarec.contracts import Capabilities, Encoded, Examples, Recommender


class FineTuned:
    """A jointly trained recommender that each new user fine-tunes.

    The loss that training reports is that of the joint model, before fine-tuning.

    Args:
        adapted: names of the parameters that a user fine-tunes, at least one.
        inner: the objective of fine-tuning.
        outer: the objective of training.
        steps: k, at least 1.
        lr: α; it is never learned, for no gradient of training reaches it.
        damping: as in `Objective`, of the support loss.
        batch_size: support rows of each step; 0 = all.
    """

    def __init__(
        self,
        adapted: Sequence[str],
        *,
        inner: Objective,
        outer: Objective,
        steps: int,
        lr: float,
        damping: float,
        batch_size: int = 0,
    ) -> None:
        self.adapted = tuple(adapted)
        self.inner = inner
        self.outer = outer
        self.steps = steps
        self.lr = lr
        self.damping = damping
        self.batch_size = batch_size

    @property
    def capabilities(self) -> Capabilities:
        """It adapts, but nothing is differentiated through adaptation."""
        return Capabilities()

    def adapt(self, model: Recommender, support: Examples, seed: Int[Tensor, ""]) -> FastWeights:
        """The fine-tuned weights after k steps on one task's support."""
        rates = {name: support.target.new_tensor(self.lr) for name in self.adapted}
        losses = [
            support_loss(model, support, self.inner, damping=self.damping, drawn=drawn)
            for drawn in minibatches(support.mask, seed, steps=self.steps, size=self.batch_size)
        ]
        start = model.initial(self.adapted, support)
        path = gradient_steps(losses, start, [rates] * self.steps, first_order=True)
        return FastWeights(path[-1], support)

    def predict(self, model: Recommender, state: FastWeights, encoded: Encoded) -> Float[Tensor, "rows heads"]:
        """The scores of one task's query rows with its fine-tuned weights."""
        return predict_with(model, state, encoded)

    def meta_loss(
        self, model: Recommender, support: Examples, query: Examples, seed: Int[Tensor, ""], progress: float
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The joint loss of all rows as surrogate, that of the query rows before fine-tuning to report."""
        del seed, progress
        return joint_loss(model, self.outer, support, query)
