"""Bayesian linear regression on the embedding of rows, whose prior is learned over users (ALPaCA).

For each head, with x = [z, 1] of a row, r what the base leaves over of its rating and the sums over the n support rows,

    prior       w ~ N(m, Λ⁻¹) in units of the noise,    m = m_0 + A Σ_s x_s / √(n + ν),    Λ = diag(λ),
    posterior   w̄ = m + (XᵀX + Λ)⁻¹ Xᵀ(r - X m),
    prediction  decision(base + w̄·x)    (`decision.py`).

m_0, A, λ, the decision and the embedding are learned by the gradient of the query loss through the posterior mean. A
lets *what* a user rated say something of her taste before any rating is read, as in SVD++; it starts at zero. With 0
ratings w̄ = m_0. A can be left out: what users rated of old items need not say of them what they rate of new ones does.

Harrison, Sharma, Pavone: "Meta-Learning Priors for Efficient Online Bayesian Regression" (WAFR 2018), with the
objective of the query in place of the predictive likelihood. The implicit part of m: Koren, "Factorization meets the
neighborhood" (KDD 2008), equation 15. The decision is an addition.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from metarec.algorithms.decision import Decision, Habits
from metarec.algorithms.increments import added
from metarec.algorithms.moments import Moments, moments_of, posterior_mean
from metarec.algorithms.objectives import Objective
from metarec.algorithms.query_loss import loss_after_adapting
from metarec.algorithms.rated_vectors import query_vectors, rated_vectors
from metarec.algorithms.ridge import ridge_solution, with_one
from metarec.contracts import Capabilities, Encoded, Examples, Recommender, RunningState

IMPLICIT_DAMPING = 10.0
"""ν, in ratings."""


class Posterior(NamedTuple):
    """w̄, how the user has used the scale, and the support, which models with a context look at."""

    weights: Float[Tensor, "*tasks heads inputs"]
    habit: Float[Tensor, "*tasks habits"]
    support: Examples


class PosteriorSums(NamedTuple):
    """What a posterior is made of.

    Attributes:
        moments: of inputs and ratings.
        inputs: Σ x_s over the real rows.
        num_rows: n.
        habits: what the user's habit is made of.
    """

    moments: Moments
    inputs: Float[Tensor, "*tasks inputs"]
    num_rows: Float[Tensor, "*tasks"]
    habits: Habits


class Alpaca(nn.Module):
    """The regression and the decision, in place of the recommender's own head.

    Args:
        outer: the objective of the query.
        width: the length of the recommender's embedding.
        penalty: where each λ starts; above 0.
        decision_width: of the decision's hidden layer.
        implicit: whether there is an A.
    """

    def __init__(
        self, *, outer: Objective, width: int, penalty: float, decision_width: int, implicit: bool = True
    ) -> None:
        super().__init__()
        num_heads, num_inputs = len(outer.heads), width + 1
        self.outer = outer
        self.prior = nn.Parameter(torch.zeros(num_heads, num_inputs))
        self.implicit = nn.Parameter(torch.zeros(num_heads, num_inputs, num_inputs)) if implicit else None
        self.log_penalty = nn.Parameter(torch.full((num_heads, num_inputs), math.log(penalty)))
        self.decision = Decision(outer.heads, decision_width)

    @property
    def capabilities(self) -> Capabilities:
        """It predicts from the targets themselves, on the embedding alone."""
        return Capabilities(regresses=True, uses_head=False, additive=True)

    def adapt(self, model: Recommender, support: Examples, seed: Int[Tensor, ""]) -> Posterior:
        """The posterior mean of one task's weights."""
        del seed
        rated = rated_vectors(model, support)
        inputs = with_one(rated.vectors)
        real = rated.mask.to(inputs.dtype)
        mean = self._mean(real @ inputs, real.sum())
        rest = rated.rest - inputs @ mean.mT
        scales = (-0.5 * self.log_penalty).exp()  # λ^(-1/2): with x λ^(-1/2) for x, every penalty is 1
        own = [
            scale
            * ridge_solution(inputs * scale, rest[:, head, None], rated.observed[:, head, None], scale.new_ones(1))
            for head, scale in enumerate(scales)
        ]
        return Posterior(mean + torch.cat(own), self.decision.habit(support.target, rated.observed), support)

    def adapt_further(
        self, model: Recommender, before: RunningState | None, more: Examples, seed: Int[Tensor, ""]
    ) -> RunningState:
        """The same posterior from the sums over earlier and further rows."""
        del seed
        rated = rated_vectors(model, more)
        inputs, real = with_one(rated.vectors), rated.mask.to(rated.vectors.dtype)
        moments = moments_of(inputs, rated.rest, rated.observed)
        habits = self.decision.habits(more.target, rated.observed)
        sums = added(before, PosteriorSums(moments, real @ inputs, real.sum(), habits))
        weights = posterior_mean(sums.moments, self._mean(sums.inputs, sums.num_rows), self.log_penalty.exp())
        support = model.forget(more)
        return RunningState(Posterior(weights, self.decision.habit_of(sums.habits), support), support, sums)

    def predict(self, model: Recommender, state: Posterior, encoded: Encoded) -> Float[Tensor, "rows heads"]:
        """What is decided for one task's query rows."""
        vectors, base = query_vectors(model, state.support, encoded)
        decided: Tensor = self.decision(base + with_one(vectors) @ state.weights.mT, state.habit)
        return decided

    def meta_loss(
        self, model: Recommender, support: Examples, query: Examples, seed: Int[Tensor, ""], progress: float
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The query loss of what is decided, as surrogate and as report."""
        del progress
        return loss_after_adapting(self, model, support, query, seed, outer=self.outer)

    def _mean(self, inputs: Float[Tensor, " inputs"], num_rows: Float[Tensor, ""]) -> Float[Tensor, "heads inputs"]:
        """m, given Σ x_s and n."""
        if self.implicit is None:
            return self.prior
        return self.prior + self.implicit @ inputs / (num_rows + IMPLICIT_DAMPING).sqrt()
