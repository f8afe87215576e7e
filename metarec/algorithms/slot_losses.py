"""The query losses of tasks in slots after one step, and what they add to the gradient."""

import torch
from jaxtyping import Float
from torch import Tensor

from metarec.algorithms.group_inputs import Given, Plan, add_rows, look_up, look_up_sum, losses_and_slopes
from metarec.algorithms.low_rank import Query, Rates, Support
from metarec.algorithms.low_rank_gradient import Shared
from metarec.algorithms.one_step import OneStep
from metarec.algorithms.slots import Slots


def add_slots(
    plan: Plan,
    slots: Slots,
    *,
    rate: Rates,
    given: Given,
    formed: tuple[Given, Tensor | None],
    losses: Float[Tensor, " tasks"],
) -> None:
    """Add the losses of a group of slots, and their gradient to what is formed.

    Args:
        plan, given: of the batch.
        slots: the group.
        rate: of the step.
        formed: the gradient by what is given, and by learned rates.
        losses: of all tasks.
    """
    num_slots, dtype = len(slots.tasks), plan.slope.dtype
    tasks, (num_query, num_heads) = slots.tasks.flatten(), plan.query_rest.shape[1:]
    num_support, num_rows = slots.rows.shape[1], plan.slope.shape[1]
    places = [
        torch.cat(
            [
                place[:, :num_rows].flatten()[slots.rows],
                place[tasks, num_rows:].view(num_slots, 2 * num_query),
            ],
            dim=1,
        )
        for place in plan.places
    ]
    owner = torch.cat([slots.owner, slots.tasks.repeat_interleave(num_query, dim=1)], dim=1)
    inputs, outputs = look_up(given.tables, places), look_up_sum(given.outputs, places)
    outputs = outputs.add_(look_up([given.constant_outputs], [owner]))
    support = Support(
        inputs[:, :num_support],
        outputs[:, :num_support],
        given.norm[owner[:, num_support:], None],
        plan.support_rest.flatten(0, 1)[slots.rows],
        plan.slope.flatten(0, 1)[slots.rows] * slots.filled[..., None],
    )
    query = Query(inputs[:, num_support:], outputs[:, num_support:])
    same, real = slots.same(num_query, dtype), slots.real(dtype).flatten()
    step = OneStep(support, query, same, weights=given.weights, biases=given.biases, rate=rate)
    found, slopes = losses_and_slopes(plan, tasks, step.scores.view(len(tasks), num_query, num_heads))
    losses.index_add_(0, tasks, found * real)
    if not plan.wants_gradient:
        return
    gradient, learned = formed
    slopes = (slopes * real[:, None, None]).view(num_slots, 2 * num_query, num_heads)
    shared = Shared(gradient.weights, gradient.biases, learned)
    by = step.gradient(slopes, shared, first_order=plan.first_order)
    by_outputs = torch.cat([by.support_outputs, by.query_outputs], dim=1)
    gradient.constant_outputs.index_add_(0, owner.flatten(), by_outputs.flatten(0, 1))
    gradient.norm.index_add_(0, owner[:, num_support:].flatten(), by.norm.flatten())
    add_rows(gradient, places, torch.cat([by.support_inputs, by.query_inputs], dim=1), by_outputs)
