"""Joint training: one model of all ratings of all training users, which no user changes; an honest opponent.

The gradient of a task is that of the mean loss over all its ratings, support and query together: who does not adapt
need not hold ratings back. Each support row is scored without its own rating, each query row sees the support. What a
new user's ratings change is the recommender's own use of its context (the user's bias, or attention to the support).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metarec.algorithms.increments import standing_at
from metarec.algorithms.inner_loop import FastWeights, predict_with
from metarec.algorithms.objectives import Objective
from metarec.contracts import Capabilities, Encoded, Examples, Recommender, RunningState, support_context


class Joint:
    """The recommender as it is.

    Args:
        outer: the objective of all ratings.
    """

    def __init__(self, *, outer: Objective) -> None:
        self.outer = outer

    @property
    def capabilities(self) -> Capabilities:
        """It adapts nothing."""
        return Capabilities(adapts=False, additive=True)

    def adapt(self, model: Recommender, support: Examples, seed: Int[Tensor, ""]) -> FastWeights:
        """No weights of the task's own, but the support, which models with a context look at."""
        del model, seed
        return FastWeights({}, support)

    def adapt_further(
        self, model: Recommender, before: RunningState | None, more: Examples, seed: Int[Tensor, ""]
    ) -> RunningState:
        """Nothing of the task's own; what the recommender's base keeps of its ratings."""
        del before, seed
        return standing_at(model, {}, more)

    def predict(self, model: Recommender, state: FastWeights, encoded: Encoded) -> Float[Tensor, "rows heads"]:
        """The scores of one task's query rows."""
        return predict_with(model, state, encoded)

    def meta_loss(
        self, model: Recommender, support: Examples, query: Examples, seed: Int[Tensor, ""], progress: float
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The loss of all rows as surrogate, that of the query rows to report."""
        del seed, progress
        return joint_loss(model, self.outer, support, query)


def joint_loss(
    model: Recommender, outer: Objective, support: Examples, query: Examples
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The loss of one task's support and query rows pooled, and that of its query rows alone."""
    support_scores = model.score({}, support.encoded, support_context(support))
    query_scores = predict_with(model, FastWeights({}, support), query.encoded)
    pooled = outer(
        torch.cat([support_scores, query_scores]),
        torch.cat([support.target, query.target]),
        torch.cat([support.observed, query.observed]),
    )
    return pooled, outer(query_scores, query.target, query.observed)
