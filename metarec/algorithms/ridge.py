"""A ridge head: a user's own linear weights on the embedding of rows, in closed form and differentiable.

For each head, with x = [z, 1] of a row, r what the base leaves over of its rating, and the sum over observed rows,

    w = w_0 + v,    v = argmin_v Σ_s (r_s - w_0·x_s - v·x_s)² + λ‖v‖²,    prediction = base + w·x,

where the mean w_0, the penalty λ and the embedding are learned by the gradient of the query loss through the solution.
With 0 ratings, or as λ → ∞, w = w_0.

Bertinetto, Henriques, Torr, Vedaldi: "Meta-learning with differentiable closed-form solvers" (ICLR 2019), R2D2. The
learned mean is an addition; the paper's affine calibration of the outputs, made for its classes, is left out.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from metarec.algorithms.increments import added
from metarec.algorithms.moments import moments_of, posterior_mean
from metarec.algorithms.objectives import Objective
from metarec.algorithms.query_loss import loss_after_adapting
from metarec.algorithms.rated_vectors import query_vectors, rated_vectors
from metarec.contracts import Capabilities, Encoded, Examples, Recommender, RunningState


class RidgeState(NamedTuple):
    """A user's own head, and the support, which models with a context look at."""

    weights: Float[Tensor, "*tasks heads inputs"]
    support: Examples


class Ridge(nn.Module):
    """The ridge head, in place of the recommender's own.

    Args:
        outer: the objective of the query.
        width: the length of the recommender's embedding.
        ridge: where the learned penalty λ of each head starts; above 0.
    """

    def __init__(self, *, outer: Objective, width: int, ridge: float) -> None:
        super().__init__()
        num_heads = len(outer.heads)
        self.outer = outer
        self.prior = nn.Parameter(torch.zeros(num_heads, width + 1))
        self.log_ridge = nn.Parameter(torch.full((num_heads,), math.log(ridge)))

    @property
    def capabilities(self) -> Capabilities:
        """It predicts from the targets themselves, on the embedding alone."""
        return Capabilities(regresses=True, uses_head=False, additive=True)

    def adapt(self, model: Recommender, support: Examples, seed: Int[Tensor, ""]) -> RidgeState:
        """The weights that fit one task's support."""
        del seed
        rated = rated_vectors(model, support)
        inputs = with_one(rated.vectors)
        rest = rated.rest - inputs @ self.prior.mT
        own = ridge_solution(inputs, rest, rated.observed, self.log_ridge.exp())
        return RidgeState(self.prior + own, support)

    def adapt_further(
        self, model: Recommender, before: RunningState | None, more: Examples, seed: Int[Tensor, ""]
    ) -> RunningState:
        """The same weights from the sums over earlier and further rows."""
        del seed
        rated = rated_vectors(model, more)
        moments = added(before, moments_of(with_one(rated.vectors), rated.rest, rated.observed))
        penalty = self.log_ridge.exp()[:, None].expand_as(self.prior)
        support = model.forget(more)
        return RunningState(RidgeState(posterior_mean(moments, self.prior, penalty), support), support, moments)

    def predict(self, model: Recommender, state: RidgeState, encoded: Encoded) -> Float[Tensor, "rows heads"]:
        """base + w·[z, 1] of one task's query rows."""
        vectors, base = query_vectors(model, state.support, encoded)
        return base + with_one(vectors) @ state.weights.mT

    def linear_head(self, state: RidgeState) -> tuple[Float[Tensor, "*tasks heads inputs"], Examples]:
        """A user's own head, and the support."""
        return state.weights, state.support

    def meta_loss(
        self, model: Recommender, support: Examples, query: Examples, seed: Int[Tensor, ""], progress: float
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The query loss with the fitted head, as surrogate and as report."""
        del progress
        return loss_after_adapting(self, model, support, query, seed, outer=self.outer)


def ridge_solution(
    inputs: Float[Tensor, "rows inputs"],
    targets: Float[Tensor, "rows heads"],
    observed: Bool[Tensor, "rows heads"],
    penalty: Float[Tensor, " heads"],
) -> Float[Tensor, "heads inputs"]:
    """argmin_v Σ_s (y_s - v·x_s)² + λ‖v‖² over the observed rows, for each head.

    Solved in the smaller of two equal systems: v = (XᵀX + λ)⁻¹ Xᵀy, as large as the inputs, or v = Xᵀ(XXᵀ + λ)⁻¹ y, as
    large as the support, where rows that are not observed are rows of zeros. NaN where rounding leaves the system
    without a Cholesky factor, so that the task is taken out instead of the run stopped.

    Args:
        inputs: x.
        targets: y, for each head.
        observed: which of them count.
        penalty: λ of each head; above 0.
    """
    weight = observed.mT.to(inputs.dtype)[..., None]
    chosen, wanted = weight * inputs, weight * targets.mT[..., None]
    if inputs.shape[0] < inputs.shape[1]:
        solution = chosen.mT @ _solve(chosen @ chosen.mT, penalty, wanted)
    else:
        solution = _solve(chosen.mT @ chosen, penalty, chosen.mT @ wanted)
    return solution.squeeze(-1)


def with_one(vectors: Float[Tensor, "rows width"]) -> Float[Tensor, "rows inputs"]:
    """x = [z, 1] of rows."""
    return F.pad(vectors, (0, 1), value=1.0)


def _solve(
    gram: Float[Tensor, "heads size size"], penalty: Float[Tensor, " heads"], wanted: Float[Tensor, "heads size 1"]
) -> Float[Tensor, "heads size 1"]:
    """(G + λ)⁻¹ b for each head."""
    diagonal = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    factor, failed = torch.linalg.cholesky_ex(gram + penalty[:, None, None] * diagonal)
    return torch.where((failed == 0)[:, None, None], torch.cholesky_solve(wanted, factor), torch.nan)
