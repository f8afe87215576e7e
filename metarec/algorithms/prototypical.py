"""Prototypical networks for ratings: a user's mean liked and disliked item, and how near an item is to each.

A user's support ratings fall into K classes, equal parts of the scale (5 on a scale of 1 to 5: one for each star). Per
head, with n_k ratings in class k, their mean embedding c_k, and what the base leaves over of each rating, r_s,

    p(k | q) = softmax_k(-τ ‖z_q - c_k‖²),    prediction = base + Σ_k p(k | q) ρ_k,    ρ_k = Σ_{s in k} r_s / (n_k + m).

p(k | q) is Snell's, over the classes that have a rating, with a learned temperature τ. What the paper does not have is
the step from classes to a rating: a class stands for the mean of what its ratings left over, and the learned prior mass
m keeps a class of few ratings near the base. With 0 ratings the prediction is the base.

Snell, Swersky, Zemel: "Prototypical Networks for Few-shot Learning" (NeurIPS 2017), equations 1 and 2.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from metarec.algorithms.attention import masked_softmax
from metarec.algorithms.increments import added
from metarec.algorithms.objectives import Objective
from metarec.algorithms.query_loss import loss_after_adapting
from metarec.algorithms.rated_vectors import query_vectors, rated_vectors
from metarec.contracts import Capabilities, Encoded, Examples, Recommender, RunningState

NUM_CLASSES = 5
"""K."""
PRIOR_MASS = 2.0
"""Where m starts, in ratings."""


class Prototypes(NamedTuple):
    """The classes of one task's ratings, and its support, which models with a context look at.

    Attributes:
        centres: c_k; 0 for a class without a rating.
        rated: which classes have a rating.
        rest: ρ_k.
        support: of the task.
    """

    centres: Float[Tensor, "*tasks heads classes width"]
    rated: Bool[Tensor, "*tasks heads classes"]
    rest: Float[Tensor, "*tasks heads classes"]
    support: Examples


class ClassSums(NamedTuple):
    """Σ z_s, Σ r_s and n_k of the ratings in each class."""

    vectors: Float[Tensor, "*tasks heads classes width"]
    rest: Float[Tensor, "*tasks heads classes"]
    num: Float[Tensor, "*tasks heads classes"]


class Prototypical(nn.Module):
    """Distances to the mean embedding of each class of the user's ratings, in place of the recommender's head.

    Args:
        outer: the objective of the query.
    """

    def __init__(self, *, outer: Objective) -> None:
        super().__init__()
        num_heads = len(outer.heads)
        self.outer = outer
        self.log_temperature = nn.Parameter(torch.zeros(num_heads))
        self.log_prior_mass = nn.Parameter(torch.full((num_heads,), math.log(PRIOR_MASS)))

    @property
    def capabilities(self) -> Capabilities:
        """It predicts from the targets themselves, on the embedding alone."""
        return Capabilities(regresses=True, uses_head=False, additive=True)

    def adapt(self, model: Recommender, support: Examples, seed: Int[Tensor, ""]) -> Prototypes:
        """The prototypes of one task's support."""
        del seed
        return self._prototypes(self._sums(model, support), support)

    def adapt_further(
        self, model: Recommender, before: RunningState | None, more: Examples, seed: Int[Tensor, ""]
    ) -> RunningState:
        """The same prototypes from the sums over earlier and further rows."""
        del seed
        sums, support = added(before, self._sums(model, more)), model.forget(more)
        return RunningState(self._prototypes(sums, support), support, sums)

    def predict(self, model: Recommender, state: Prototypes, encoded: Encoded) -> Float[Tensor, "rows heads"]:
        """base + Σ_k p(k | q) ρ_k of one task's query rows."""
        vectors, base = query_vectors(model, state.support, encoded)
        # ‖z_q - c_k‖² without ‖z_q‖², which is the same for each class and so cancels
        distances = state.centres.square().sum(-1) - 2 * torch.einsum("qw,hkw->qhk", vectors, state.centres)
        chances = masked_softmax(-self.log_temperature.exp()[:, None] * distances, state.rated.expand_as(distances))
        return base + (chances * state.rest).sum(-1)

    def meta_loss(
        self, model: Recommender, support: Examples, query: Examples, seed: Int[Tensor, ""], progress: float
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The query loss with the prototypes, as surrogate and as report."""
        del progress
        return loss_after_adapting(self, model, support, query, seed, outer=self.outer)

    def _sums(self, model: Recommender, support: Examples) -> ClassSums:
        rated = rated_vectors(model, support)
        member = (self._classes(support.target) & rated.observed[..., None]).to(rated.rest.dtype)
        return ClassSums(
            torch.einsum("shk,sw->hkw", member, rated.vectors),
            torch.einsum("shk,sh->hk", member, rated.rest),
            member.sum(0),
        )

    def _prototypes(self, sums: ClassSums, support: Examples) -> Prototypes:
        centres = sums.vectors / sums.num.clamp(min=1)[..., None]
        rest = sums.rest / (sums.num + self.log_prior_mass.exp()[:, None])
        return Prototypes(centres, sums.num > 0, rest, support)

    def _classes(self, target: Float[Tensor, "support heads"]) -> Bool[Tensor, "support heads classes"]:
        """Which class each target falls into, as an indicator; targets outside of the scale in the nearest."""
        low = target.new_tensor([head.low for head in self.outer.heads])
        high = target.new_tensor([head.high for head in self.outer.heads])
        place = ((target - low) / (high - low) * NUM_CLASSES).floor().clamp(0, NUM_CLASSES - 1)
        return place[..., None] == torch.arange(NUM_CLASSES, device=target.device)
