"""The inner loop: gradient steps on one task's support, differentiable from end to end.

Step j takes weights θ_j to θ_{j+1} = θ_j - α_j ∇L_j(θ_j), where L_j is the loss of the support, or of a minibatch of
it, and α_j a rate for each tensor or each weight.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from metarec.algorithms.objectives import Objective
from metarec.contracts import Encoded, Examples, Recommender, Weights, num_rows_of, query_context, support_context

Loss = Callable[[Weights], Float[Tensor, ""]]


class FastWeights(NamedTuple):
    """What inner steps leave behind: a task's own weights, and its support, which models with a context look at."""

    weights: Weights
    support: Examples


class InnerLoop(NamedTuple):
    """How a task takes its inner steps.

    Attributes:
        adapted: names of the parameters that a task adapts, at least one.
        objective: what the steps lower on the support.
        steps: k, at least 1.
        lr: the inner rate α, above 0; where rates are learned, what they start from.
        damping: as in `Objective`, of the support loss.
        batch_size: support rows of each step; 0 = all.
    """

    adapted: tuple[str, ...]
    objective: Objective
    steps: int
    lr: float
    damping: float
    batch_size: int

    def log_rates(self, *, learned: bool) -> nn.Parameter | nn.Buffer:
        """log α of each step and adapted tensor, all the same at first, as a module keeps them: learned or fixed."""
        start = torch.full((self.steps, len(self.adapted)), math.log(self.lr))
        return nn.Parameter(start) if learned else nn.Buffer(start)

    def rates(self, log_rates: Float[Tensor, "steps adapted"]) -> list[Weights]:
        """For each step α by parameter name."""
        return [dict(zip(self.adapted, step, strict=True)) for step in log_rates.exp()]

    def losses(self, model: Recommender, support: Examples, seed: Int[Tensor, ""]) -> list[Loss]:
        """For each step the loss that it lowers: of the support, or of the minibatch that the seed draws for it."""
        if self.batch_size == 0:
            return [support_loss(model, support, self.objective, damping=self.damping)] * self.steps
        drawn = minibatches(support.mask, seed, steps=self.steps, size=self.batch_size)
        return [support_loss(model, support, self.objective, damping=self.damping, drawn=rows) for rows in drawn]


@runtime_checkable
class StepwiseAlgorithm(Protocol):
    """An algorithm that takes inner steps, and so has a gradient at the initialisation."""

    loop: InnerLoop

    def after_steps(self, model: Recommender, start: Weights, support: Examples, seed: Int[Tensor, ""]) -> Weights:
        """The weights of one task after k steps on a support, from any start."""
        ...


def first_steps(
    algorithm: StepwiseAlgorithm, model: Recommender, support: Examples, seed: Int[Tensor, ""]
) -> FastWeights:
    """What `Algorithm.adapt` gives: a task's own weights after steps from the initialisation."""
    start = model.initial(algorithm.loop.adapted, support)
    return FastWeights(algorithm.after_steps(model, start, support, seed), support)


def inner_gradient_norm(loop: InnerLoop, model: Recommender, support: Examples) -> Float[Tensor, ""]:
    """‖∇L(θ_0)‖ over all adapted parameters of one task: the Frobenius norm of the gradient of a first step."""
    loss = support_loss(model, support, loop.objective, damping=loop.damping)
    gradient = torch.func.grad(loss)(model.initial(loop.adapted, support))
    return torch.stack([part.square().sum() for part in gradient.values()]).sum().sqrt()


def support_loss(
    model: Recommender,
    support: Examples,
    objective: Objective,
    *,
    damping: float,
    drawn: Bool[Tensor, " rows"] | None = None,
) -> Loss:
    """The loss of a support set as a function of the adapted weights; each row is scored without itself.

    Args:
        model: the recommender.
        support: of one task.
        objective: what to lower.
        damping: as in `Objective`.
        drawn: the rows of a minibatch, which alone have a loss; all rows stay visible as context. None = all.
    """
    context = support_context(support)
    observed = support.observed if drawn is None else support.observed & drawn[:, None]

    def loss(weights: Weights) -> Float[Tensor, ""]:
        scores = model.score(weights, support.encoded, context)
        return objective(scores, support.target, observed, damping)

    return loss


def query_loss(model: Recommender, state: FastWeights, query: Examples, objective: Objective) -> Float[Tensor, ""]:
    """The loss of a task's query rows with its own weights."""
    return objective(predict_with(model, state, query.encoded), query.target, query.observed)


def predict_with(model: Recommender, state: FastWeights, encoded: Encoded) -> Float[Tensor, "rows heads"]:
    """The scores of query rows with a task's own weights; they see the whole support as context."""
    return model.score(state.weights, encoded, query_context(state.support, num_rows_of(encoded)))


def gradient_steps(
    losses: Sequence[Loss], weights: Weights, rates: Sequence[Mapping[str, Tensor | float]], *, first_order: bool
) -> list[Weights]:
    """The weights before the first step and after each gradient step.

    Args:
        losses: for each step, the support loss as a function of the weights.
        weights: θ_0, by parameter name.
        rates: for each step, α by parameter name; any shape that broadcasts to the weight.
        first_order: treat each inner gradient as a constant in the outer one (Finn et al. 2017, section 5.2).

    Returns:
        θ_0, θ_1, …; functions of θ_0 and the rates that autograd can differentiate.
    """
    path = [weights]
    for loss, rate in zip(losses, rates, strict=True):
        gradients = torch.func.grad(loss)(weights)
        if first_order:
            gradients = {name: gradient.detach() for name, gradient in gradients.items()}
        weights = {name: weight - rate[name] * gradients[name] for name, weight in weights.items()}
        path.append(weights)
    return path


def minibatches(
    mask: Bool[Tensor, " rows"], seed: Int[Tensor, ""], *, steps: int, size: int
) -> list[Bool[Tensor, " rows"]]:
    """For each step which support rows have a loss: `size` random ones, all where `size` is 0 or there are fewer.

    Which rows are drawn depends on the task's seed, the step and the row's place among the real ones alone, not on
    padding, be it behind the rows or between them.

    Args:
        mask: the real rows of one task's support.
        seed: of the task.
        steps: how many minibatches to draw.
        size: rows of each.
    """
    if size == 0:
        return [mask] * steps
    return [_smallest(_keys(seed, step, mask), mask, size) for step in range(steps)]


def _keys(seed: Int[Tensor, ""], step: int, mask: Bool[Tensor, " rows"]) -> Int[Tensor, " rows"]:
    """A hash of (seed, step, row) for each row: multiply and xor-shift rounds, as in SplitMix64."""
    key = mask.cumsum(0) - 1 + (seed + step * 0x9E3779B97F4A7C)
    for factor in (0x3F58476D1CE4E5B9, 0x14D049BB133111EB):
        key = (key ^ (key >> 30)) * factor
    return (key ^ (key >> 31)) >> 1


def _smallest(keys: Int[Tensor, " rows"], mask: Bool[Tensor, " rows"], size: int) -> Bool[Tensor, " rows"]:
    """The real rows with the `size` smallest keys."""
    keys = torch.where(mask, keys, torch.iinfo(keys.dtype).max)
    rank = (keys[None] < keys[:, None]).sum(-1)
    return mask & (rank < size)
