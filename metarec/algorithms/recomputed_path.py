"""MAML's query losses with inner steps that the backward pass computes again: memory does not grow with the steps.

The same arithmetic as `Maml.meta_loss` lifted by vmap, of a whole batch, with the steps in `recomputed_steps`. What the
steps close over would get no gradient there, so rates, the parameters that no task adapts and the encoded support are
all handed in.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils import _pytree as pytree

from metarec.algorithms.inner_loop import FastWeights, InnerLoop, gradient_steps, query_loss
from metarec.algorithms.objectives import Objective
from metarec.algorithms.recomputed import recomputed_steps
from metarec.contracts import Examples, Recommender, Weights


class Path(NamedTuple):
    """How a task's weights move.

    Attributes:
        loop: how its steps go.
        log_rates: log α of each step and adapted parameter.
        first_order: treat each inner gradient as a constant in the outer one.
    """

    loop: InnerLoop
    log_rates: Float[Tensor, "steps adapted"]
    first_order: bool


def recomputed_losses(
    model: Recommender,
    support: Examples,
    query: Examples,
    seeds: Int[Tensor, " tasks"],
    *,
    path: Path,
    outer: Objective,
) -> Float[Tensor, " tasks"]:
    """Each task's query loss after the steps.

    Args:
        model: the recommender.
        support, query: of a batch of tasks.
        seeds: of the tasks, for minibatches.
        path: how their weights move.
        outer: the objective of the query.
    """
    parameters = dict(model.named_parameters())
    others = [name for name in model.adaptable() if name not in path.loop.adapted]
    leaves, structure = pytree.tree_flatten(support)
    num_others = len(others)

    def step(number: int, weights: tuple[Tensor, ...], shared: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        rate = path.loop.rates(shared[0])[number]
        fixed = dict(zip(others, shared[1 : 1 + num_others], strict=True))
        examples: Examples = pytree.tree_unflatten(list(shared[1 + num_others :]), structure)

        def one_task(own: Weights, rows: Examples, seed: Int[Tensor, ""]) -> Weights:
            loss = path.loop._replace(steps=number + 1).losses(model, rows, seed)[number]
            return gradient_steps([lambda w: loss({**fixed, **w})], own, [rate], first_order=path.first_order)[-1]

        moved = torch.func.vmap(one_task)(dict(zip(path.loop.adapted, weights, strict=True)), examples, seeds)
        return tuple(moved[name] for name in path.loop.adapted)

    start = torch.func.vmap(lambda rows: model.initial(path.loop.adapted, rows))(support)
    after = recomputed_steps(
        step,
        path.loop.steps,
        [start[name] for name in path.loop.adapted],
        [path.log_rates, *(parameters[name] for name in others), *leaves],
    )

    def one_loss(own: Weights, rows: Examples, asked: Examples) -> Float[Tensor, ""]:
        return query_loss(model, FastWeights(own, rows), asked, outer)

    losses: Tensor = torch.func.vmap(one_loss)(dict(zip(path.loop.adapted, after, strict=True)), support, query)
    return losses
