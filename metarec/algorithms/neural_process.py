"""A conditional neural process: one pass over a user's ratings gives a latent vector, from which all rows are scored.

With z the embeddings of rows, r_s what the base leaves over of a rating, o_s which heads were observed, over the n
support rows,

    u = [Σ_s (A z_s + a) ∘ (B [r_s, o_s] + b) / (n + m), log(1 + n)]
    prediction = base + W_2 ReLU((1 + γ(u)) ∘ (W_1 z_q + b_1) + β(u)) + b_2

with the linear maps γ and β, by which a user scales and shifts the decoder's hidden units. W_2 and b_2 start at zero,
so that it starts from the base; with 0 ratings it predicts what it learned for everyone. The sum makes it blind to the
order of ratings, and the learned prior mass m keeps few of them near that. In the encoder a rating multiplies what its
row says, where the papers put both side by side into a network: what is liked and what is not then differ in sign from
the start, and far fewer tasks are needed.

Garnelo et al.: "Conditional Neural Processes" (ICML 2018). For users, with the feature-wise modulation of the decoder:
Lin, Wu, Zhou, Pan, Cao, Wang: "Task-adaptive Neural Process for User Cold-Start Recommendation" (WWW 2021), of which
the random latent and the clusters of users are left out.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from metarec.algorithms.increments import added
from metarec.algorithms.objectives import Objective
from metarec.algorithms.query_loss import loss_after_adapting
from metarec.algorithms.rated_vectors import query_vectors, rated_vectors
from metarec.contracts import Capabilities, Encoded, Examples, Recommender, RunningState

PRIOR_MASS = 5.0
"""Where m starts, in ratings."""


class LatentUser(NamedTuple):
    """u, and the support, which models with a context look at."""

    latent: Float[Tensor, "*tasks latent"]
    support: Examples


class LatentSums(NamedTuple):
    """Σ_s (A z_s + a) ∘ (B [r_s, o_s] + b) and n."""

    total: Float[Tensor, "*tasks width"]
    num: Float[Tensor, "*tasks"]


class NeuralProcess(nn.Module):
    """An encoder of the support and a decoder of rows, in place of the recommender's head.

    Args:
        outer: the objective of the query.
        width: the length of the recommender's embedding.
        latent_width: of what it keeps of the support (log(1 + n) comes on top), and of the hidden layer; at least 1.
    """

    def __init__(self, *, outer: Objective, width: int, latent_width: int) -> None:
        super().__init__()
        num_heads = len(outer.heads)
        self.outer = outer
        self.rows = nn.Linear(width, latent_width)
        self.ratings = nn.Linear(2 * num_heads, latent_width)
        self.log_prior_mass = nn.Parameter(torch.tensor(math.log(PRIOR_MASS)))
        self.hidden = nn.Linear(width, latent_width)
        self.modulation = nn.Linear(latent_width + 1, 2 * latent_width)
        self.decision = nn.Linear(latent_width, num_heads)
        for parameter in self.decision.parameters():
            nn.init.zeros_(parameter)

    @property
    def capabilities(self) -> Capabilities:
        """Targets go in as numbers, but what comes out is whatever the objective makes of it, logits too."""
        return Capabilities(amortised=True, uses_head=False, additive=True)

    def adapt(self, model: Recommender, support: Examples, seed: Int[Tensor, ""]) -> LatentUser:
        """The latent vector of one task's support."""
        del seed
        return LatentUser(self._latent(self._sums(model, support)), support)

    def adapt_further(
        self, model: Recommender, before: RunningState | None, more: Examples, seed: Int[Tensor, ""]
    ) -> RunningState:
        """The same vector from the sums over earlier and further rows."""
        del seed
        sums, support = added(before, self._sums(model, more)), model.forget(more)
        return RunningState(LatentUser(self._latent(sums), support), support, sums)

    def predict(self, model: Recommender, state: LatentUser, encoded: Encoded) -> Float[Tensor, "rows heads"]:
        """The scores of one task's query rows."""
        vectors, base = query_vectors(model, state.support, encoded)
        scale, shift = self.modulation(state.latent).chunk(2)
        decided: Tensor = self.decision(((1 + scale) * self.hidden(vectors) + shift).relu())
        return base + decided

    def meta_loss(
        self, model: Recommender, support: Examples, query: Examples, seed: Int[Tensor, ""], progress: float
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The query loss given the latent vector, as surrogate and as report."""
        del progress
        return loss_after_adapting(self, model, support, query, seed, outer=self.outer)

    def _sums(self, model: Recommender, support: Examples) -> LatentSums:
        rated = rated_vectors(model, support)
        real = rated.mask.to(rated.rest.dtype)
        ratings = torch.cat([rated.rest, rated.observed.to(real.dtype)], dim=-1)
        return LatentSums(real @ (self.rows(rated.vectors) * self.ratings(ratings)), real.sum())

    def _latent(self, sums: LatentSums) -> Float[Tensor, " latent"]:
        """u."""
        return torch.cat([sums.total / (sums.num + self.log_prior_mass.exp()), sums.num.log1p()[None]])
