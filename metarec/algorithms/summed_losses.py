"""The query losses of a batch of tasks, summed, with a gradient that is formed together with them.

Tasks come in groups. As soon as the losses of a group are there, so is what its gradient needs: it is formed then,
while the numbers are at hand, and no group's numbers are kept until backward, which only scales what was formed.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metarec.algorithms.low_rank import Query, Rates, Support, adapted_scores
from metarec.algorithms.low_rank_gradient import Shared, gradient_of_scores


class Group(NamedTuple):
    """Tasks that stand side by side: which, and how many rows hold all the real ones of their supports."""

    tasks: slice
    length: int


class Plan(NamedTuple):
    """What the losses need and no gradient goes to.

    Attributes:
        groups: all tasks, in order.
        places: for each table which of its vectors a row has, support rows before query rows.
        support_rest, query_rest: what the base leaves over of the targets; 0 where not observed.
        slope: as in `Support`.
        query_observed: which targets are.
        query_weight: what an error in a query row counts.
        absolute: for which heads that error is absolute; for others it is squared.
        first_order: take the gradients of the support loss as constants.
        wants_gradient: whether anybody will ask for the gradient.
    """

    groups: list[Group]
    places: list[Int[Tensor, "tasks rows"]]
    support_rest: Float[Tensor, "tasks support heads"]
    slope: Float[Tensor, "tasks support heads"]
    query_rest: Float[Tensor, "tasks query heads"]
    query_observed: Bool[Tensor, "tasks query heads"]
    query_weight: Float[Tensor, "tasks query heads"]
    absolute: Bool[Tensor, " heads"]
    first_order: bool
    wants_gradient: bool


class _Given(NamedTuple):
    """What a gradient goes to, or the gradient by it; as in `sum_losses`."""

    constant_outputs: Tensor
    norm: Tensor
    tables: Sequence[Tensor]
    outputs: Sequence[Tensor]
    weights: Sequence[Tensor]
    biases: Sequence[Tensor]


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
        losses = torch.cat([_one_group(plan, group, steps, given, (gradient, learned)) for group in plan.groups])
        ctx.gradient = learned, formed
        ctx.mark_non_differentiable(losses)
        return losses.sum(), losses

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_sum: Tensor, by_losses: Tensor) -> tuple[Tensor | None, ...]:
        del by_losses
        learned, formed = ctx.gradient
        return None, None if learned is None else learned * by_sum, *(tensor * by_sum for tensor in formed)


def _by_name(tensors: Sequence[Tensor], num_tables: int) -> _Given:
    constant_outputs, norm, *rest = tensors
    tables, outputs, layers = rest[:num_tables], rest[num_tables : 2 * num_tables], rest[2 * num_tables :]
    later = len(layers) // 2
    return _Given(constant_outputs, norm, tables, outputs, layers[:later], layers[later:])


def _one_group(
    plan: Plan, group: Group, steps: Sequence[Rates], given: _Given, formed: tuple[_Given, Tensor | None]
) -> Float[Tensor, " group"]:
    """The losses of a group of tasks; what they add to the gradient is added to what is formed."""
    tasks, (gradient, learned) = group.tasks, formed
    support_places = [place[tasks, : group.length] for place in plan.places]
    query_places = [place[tasks, plan.slope.shape[1] :] for place in plan.places]
    constant = given.constant_outputs[tasks, None]
    support = Support(
        _look_up(given.tables, support_places),
        _look_up_sum(given.outputs, support_places).add_(constant),
        given.norm[tasks, None, None],
        plan.support_rest[tasks, : group.length],
        plan.slope[tasks, : group.length],
    )
    query = Query(_look_up(given.tables, query_places), _look_up_sum(given.outputs, query_places).add_(constant))
    scores, tape = adapted_scores(support, query, given.weights, given.biases, steps)
    losses, slopes = _losses_and_slopes(plan, tasks, scores)
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
        _add_rows(gradient, support_places, found.support_inputs, found.support_outputs)
        _add_rows(gradient, query_places, found.query_inputs, found.query_outputs)
    return losses


def _losses_and_slopes(
    plan: Plan, tasks: slice, scores: Float[Tensor, "group query heads"]
) -> tuple[Float[Tensor, " group"], Float[Tensor, "group query heads"]]:
    """Each task's query loss and its gradient by the scores."""
    error, weight = torch.where(plan.query_observed[tasks], scores - plan.query_rest[tasks], 0.0), plan.query_weight
    values = torch.where(plan.absolute, error.abs(), error.square())
    slopes = torch.where(plan.absolute, error.sign(), 2 * error)
    return (values * weight[tasks]).sum((1, 2)), slopes * weight[tasks]


def _look_up(tables: Sequence[Tensor], places: Sequence[Int[Tensor, "group rows"]]) -> Float[Tensor, "group rows _"]:
    """The vectors of rows, those of several tables side by side."""
    found = [
        table.index_select(0, place.flatten()).view(*place.shape, table.shape[1])
        for table, place in zip(tables, places, strict=True)
    ]
    return found[0] if len(found) == 1 else torch.cat(found, dim=-1)


def _look_up_sum(
    tables: Sequence[Tensor], places: Sequence[Int[Tensor, "group rows"]]
) -> Float[Tensor, "group rows _"]:
    """The vectors of rows, those of several tables added up."""
    first, *others = [_look_up([table], [place]) for table, place in zip(tables, places, strict=True)]
    return sum(others, first)


def _add_rows(
    gradient: _Given,
    places: Sequence[Int[Tensor, "group rows"]],
    inputs: Float[Tensor, "group rows features"],
    outputs: Float[Tensor, "group rows outputs"],
) -> None:
    """Add the gradient by the vectors of rows to that by the tables that they were looked up in."""
    start = 0
    for table, output, place in zip(gradient.tables, gradient.outputs, places, strict=True):
        part = inputs[..., start : start + table.shape[1]]
        table.index_add_(0, place.flatten(), part.flatten(0, 1))
        output.index_add_(0, place.flatten(), outputs.flatten(0, 1))
        start += table.shape[1]
