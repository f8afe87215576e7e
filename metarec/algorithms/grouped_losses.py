"""The query losses of tasks and their gradient by operations on groups of tasks, each padded to its longest support."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metarec.algorithms.loss_inputs import Formed, Given, Plan, add_rows, look_up, look_up_sum, losses_and_slopes
from metarec.algorithms.low_rank import Query, Rates, Support, adapted_scores
from metarec.algorithms.low_rank_gradient import Shared, gradient_of_scores


class Group(NamedTuple):
    """Tasks that stand together: which, and how many rows hold all the real ones of their supports."""

    tasks: slice
    length: int


def form_in_groups(
    groups: Sequence[Group], plan: Plan, given: Given, rates: Float[Tensor, "steps rates"], learned: bool
) -> Formed:
    """The losses and their gradient.

    Args:
        groups: all tasks of the batch, in order.
        plan, given: of the batch.
        rates: of each step.
        learned: whether the gradient by them is wanted.
    """
    gradient = given.zeros()
    by_rates = torch.zeros_like(rates) if learned else None
    steps = [Rates(tuple(step[:-1:2]), tuple(step[1:-1:2]), step[-1]) for step in rates.tolist()]
    losses = [_one_group(plan, group, steps, given, (gradient, by_rates)) for group in groups]
    return Formed(torch.cat(losses), gradient, by_rates)


def _one_group(
    plan: Plan, group: Group, steps: Sequence[Rates], given: Given, formed: tuple[Given, Tensor | None]
) -> Float[Tensor, " group"]:
    """The losses of a group of tasks; what they add to the gradient is added to what is formed."""
    tasks, (gradient, learned) = group.tasks, formed
    support_places = [place[tasks, : group.length] for place in plan.places]
    query_places = [place[tasks, plan.slope.shape[1] :] for place in plan.places]
    constant = given.constant_outputs[tasks, None]
    support = Support(
        look_up(given.tables, support_places),
        look_up_sum(given.outputs, support_places).add_(constant),
        given.norm[tasks, None, None],
        plan.support_rest[tasks, : group.length],
        plan.slope[tasks, : group.length],
    )
    query = Query(look_up(given.tables, query_places), look_up_sum(given.outputs, query_places).add_(constant))
    scores, tape = adapted_scores(support, query, given.weights, given.biases, steps)
    losses, slopes = losses_and_slopes(plan, tasks, scores)
    if plan.wants_gradient:
        found = gradient_of_scores(
            slopes,
            tape,
            support=support,
            query=query,
            rates=steps,
            shared=Shared(gradient.weights, gradient.biases, learned),
            first_order=plan.first_order,
        )
        gradient.constant_outputs[tasks] = found.support_outputs.sum(1) + found.query_outputs.sum(1)
        gradient.norm[tasks] = found.norm[:, 0, 0]
        add_rows(gradient, support_places, found.support_inputs, found.support_outputs)
        add_rows(gradient, query_places, found.query_inputs, found.query_outputs)
    return losses
