"""MAML: an initialisation from which a few gradient steps on a user's ratings lead to the user's own model.

For each task, θ' = θ after k gradient steps on the support loss, and the meta-gradient is the gradient of the query
loss at θ' with respect to θ, through the steps (second order) or as if θ' - θ were constant (first order).

Finn, Abbeel, Levine: "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks" (ICML 2017).
Learned rates for each tensor and step: Antoniou, Edwards, Storkey: "How to train your MAML" (ICLR 2019), section 4.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from metarec.algorithms.inner_loop import absolute_error, damped_loss, gradient_steps, squared_error
from metarec.contracts import Encoded, Examples, Recommender, Weights, query_context, support_context


class MamlState(NamedTuple):
    """A task's fast weights, and its support, which models with a context look at."""

    weights: Weights
    support: Examples


class Maml(nn.Module):
    """k inner gradient steps on the parameters that a task adapts.

    With an empty support the fast weights are the initialisation. Query predictions see the whole support as context;
    in the inner loss each support row is scored without itself.

    Args:
        adapted: names of the parameters that a task adapts, at least one.
        steps: k, at least 1.
        lr: the inner rate α; with `learned` where it starts.
        learned: learn log α for each adapted tensor and step in the outer loop.
        first_order: leave out the derivative of the inner gradients.
        damping: as in `damped_loss`, of the support loss.
        query_loss: `squared` or `absolute` error; the support loss is always squared.
    """

    def __init__(
        self,
        adapted: Sequence[str],
        *,
        steps: int,
        lr: float,
        learned: bool,
        first_order: bool,
        damping: float,
        query_loss: Literal["squared", "absolute"],
    ) -> None:
        super().__init__()
        self.adapted = tuple(adapted)
        self.steps = steps
        self.first_order = first_order
        self.damping = damping
        self.query_loss = {"squared": squared_error, "absolute": absolute_error}[query_loss]
        start = torch.full((steps, len(self.adapted)), math.log(lr))
        if learned:
            self.log_rate = nn.Parameter(start)
        else:
            self.register_buffer("log_rate", start)

    def adapt(self, model: Recommender, support: Examples, seed: Int[Tensor, ""]) -> MamlState:
        """The fast weights after k steps on one task's support."""
        del seed  # nothing in here is random

        def loss(weights: Weights) -> Float[Tensor, ""]:
            scores = model.score(weights, support.encoded, support_context(support))
            return damped_loss(scores, support.target, support.observed, self.damping)

        parameters = dict(model.named_parameters())
        weights: Weights = {name: parameters[name] for name in self.adapted}
        rates = [dict(zip(self.adapted, step, strict=True)) for step in self.log_rate.exp()]
        return MamlState(gradient_steps(loss, weights, rates, first_order=self.first_order), support)

    def predict(self, model: Recommender, state: MamlState, encoded: Encoded) -> Float[Tensor, "rows heads"]:
        """The predictions for one task's query rows with its fast weights."""
        num_rows = torch.utils._pytree.tree_leaves(encoded)[0].shape[0]
        return model.score(state.weights, encoded, query_context(state.support, num_rows))

    def meta_loss(
        self, model: Recommender, support: Examples, query: Examples, seed: Int[Tensor, ""]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The query loss after adaptation, as surrogate and as report: its gradient is the meta-gradient."""
        scores = self.predict(model, self.adapt(model, support, seed), query.encoded)
        loss = self.query_loss(scores, query.target, query.observed)
        return loss, loss
