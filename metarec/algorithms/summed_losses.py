"""The query losses of a batch of tasks, summed, with a gradient that is formed together with them.

Tasks come in groups. As soon as the losses of a group are there, so is what its gradient needs: it is formed then,
while the numbers are at hand, and no group's numbers are kept until backward, which only scales what was formed.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from metarec.algorithms.group_inputs import Given, Group, Plan, add_rows, look_up, look_up_sum, losses_and_slopes
from metarec.algorithms.low_rank import Query, Rates, Support, adapted_scores
from metarec.algorithms.low_rank_gradient import Shared, gradient_of_scores
from metarec.algorithms.slot_losses import add_slots
from metarec.algorithms.slots import Slots


def sum_losses(
    plan: Plan,
    rates: Float[Tensor, "steps rates"],
    *,
    constant_outputs: Float[Tensor, "tasks outputs"],
    norm: Float[Tensor, " tasks"],
    tables: Sequence[Float[Tensor, "_ _"]],
    outputs: Sequence[Float[Tensor, "_ outputs"]],
    weights: Sequence[Float[Tensor, "_ _"]],
    biases: Sequence[Float[Tensor, " _"]],
) -> tuple[Float[Tensor, ""], Float[Tensor, " tasks"]]:
    """The sum of the losses, which can be differentiated once, and each task's loss, which cannot.

    Args:
        plan: what else they need.
        rates: of each step, in the order α_0, β_0, α_1, β_1, … of the layers and α of the direct path last.
        constant_outputs: what the first layer gives on the part of x that all rows of a task share.
        norm: ‖u‖² of that part.
        tables: the vectors that rows have beside it.
        outputs: what the first layer gives on them.
        weights, biases: of the layers after the first.
    """
    tensors = [constant_outputs, norm, *tables, *outputs, *weights, *biases]
    total, losses = _Sum.apply(plan, rates, *tensors)  # type: ignore[no-untyped-call]
    return total, losses


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: Plan, rates: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        formed = [torch.zeros_like(tensor) for tensor in tensors]
        learned = torch.zeros_like(rates) if ctx.needs_input_grad[1] else None
        given, gradient = _by_name(tensors, len(plan.places)), _by_name(formed, len(plan.places))
        steps = [Rates(tuple(step[:-1:2]), tuple(step[1:-1:2]), step[-1]) for step in rates.tolist()]
        losses = given.norm.new_zeros(len(plan.slope))
        for group in plan.groups:
            if isinstance(group, Slots):
                add_slots(plan, group, rate=steps[0], given=given, formed=(gradient, learned), losses=losses)
            else:
                losses[group.tasks] = _one_group(plan, group, steps, given, (gradient, learned))
        ctx.gradient = learned, formed
        ctx.mark_non_differentiable(losses)
        return losses.sum(), losses

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_sum: Tensor, by_losses: Tensor) -> tuple[Tensor | None, ...]:
        del by_losses
        learned, formed = ctx.gradient
        return None, None if learned is None else learned * by_sum, *torch._foreach_mul(formed, by_sum)


def _by_name(tensors: Sequence[Tensor], num_tables: int) -> Given:
    constant_outputs, norm, *rest = tensors
    tables, outputs, layers = rest[:num_tables], rest[num_tables : 2 * num_tables], rest[2 * num_tables :]
    later = len(layers) // 2
    return Given(constant_outputs, norm, tables, outputs, layers[:later], layers[later:])


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
