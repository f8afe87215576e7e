"""Matching networks for ratings: an item is scored by attention to the user's rated items.

With z the embeddings of rows and r_s what the base leaves over of a support rating, for each head

    prediction = base + Σ_s a_s r_s,    a_s = exp(τ cos(z_q, z_s)) / (m + Σ_t exp(τ cos(z_q, z_t))),

the sums over the observed support rows. The learned temperature τ and prior mass m are additions to the paper: m is
one more slot, with nothing left over, so that few ratings, or unlike ones, stay near the base; it starts as heavy as a
rating of the very same item. With 0 ratings the prediction is the base.
With full context both sides are first refined in the light of the whole support (`full_context.py`).

Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra: "Matching Networks for One Shot Learning" (NeurIPS 2016), equations
1 and 2 and section 2.1.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from metarec.algorithms.attention import masked_softmax
from metarec.algorithms.full_context import FullContext
from metarec.algorithms.objectives import Objective
from metarec.algorithms.query_loss import loss_after_adapting
from metarec.algorithms.rated_vectors import RatedVectors, query_vectors, rated_vectors
from metarec.contracts import Capabilities, Encoded, Examples, Recommender

TEMPERATURE = 4.0
"""Where τ starts."""
SHORTEST = 1e-4
"""Vectors below this length count as shorter than a direction, so that the gradient of the cosine stays bounded."""


class MatchingState(NamedTuple):
    """The rated vectors that queries attend to, and the support, which models with a context look at."""

    rated: RatedVectors
    support: Examples


class Matching(nn.Module):
    """Attention over the user's rated items, in place of the recommender's head.

    Args:
        outer: the objective of the query.
        width: the length of the recommender's embedding.
        full_context: whether embeddings are refined in the light of the whole support.
    """

    def __init__(self, *, outer: Objective, width: int, full_context: bool) -> None:
        super().__init__()
        self.outer = outer
        self.log_temperature = nn.Parameter(torch.tensor(math.log(TEMPERATURE)))
        self.log_prior_mass = nn.Parameter(torch.full((len(outer.heads),), TEMPERATURE))
        self.full_context = FullContext(width) if full_context else None

    @property
    def capabilities(self) -> Capabilities:
        """It predicts from the targets themselves, on the embedding alone."""
        return Capabilities(regresses=True, uses_head=False)

    def adapt(self, model: Recommender, support: Examples, seed: Int[Tensor, ""]) -> MatchingState:
        """The support as keys and values; ratings are values alone."""
        del seed
        rated = rated_vectors(model, support)
        if self.full_context is not None:
            rated = rated._replace(vectors=self.full_context.refine_support(rated.vectors, rated.mask))
        return MatchingState(rated, support)

    def predict(self, model: Recommender, state: MatchingState, encoded: Encoded) -> Float[Tensor, "rows heads"]:
        """base + Σ_s a_s r_s of one task's query rows."""
        rated = state.rated
        vectors, base = query_vectors(model, state.support, encoded)
        if self.full_context is not None:
            vectors = self.full_context.refine_query(vectors, rated.vectors, rated.mask)
        logits = self.log_temperature.exp() * (_direction(vectors) @ _direction(rated.vectors).mT)
        return base + self._attend(logits, rated)

    def meta_loss(
        self, model: Recommender, support: Examples, query: Examples, seed: Int[Tensor, ""], progress: float
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The query loss with attention to the support, as surrogate and as report."""
        del progress
        return loss_after_adapting(self, model, support, query, seed, outer=self.outer)

    def _attend(self, logits: Float[Tensor, "rows support"], rated: RatedVectors) -> Float[Tensor, "rows heads"]:
        """Σ_s a_s r_s for each head, with the prior's slot behind the support."""
        num_rows, num_heads = len(logits), len(self.log_prior_mass)
        slot = self.log_prior_mass[:, None, None].expand(-1, num_rows, 1)
        slots = torch.cat([logits.expand(num_heads, -1, -1), slot], dim=-1)
        present = F.pad(rated.observed.mT, (0, 1), value=True)[:, None].expand_as(slots)
        attention = masked_softmax(slots, present)[..., :-1]
        return torch.einsum("hqs,sh->qh", attention, rated.rest)


def _direction(vectors: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
    return F.normalize(vectors, dim=-1, eps=SHORTEST)
