"""What the losses of groups of tasks are formed from, and how rows find their vectors."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metarec.algorithms.slots import Slots


class Group(NamedTuple):
    """Tasks, each with its own rows: which, and how many rows hold all the real ones of their supports."""

    tasks: slice
    length: int


class Plan(NamedTuple):
    """What the losses need and no gradient goes to.

    Attributes:
        groups: all tasks, in order; slots where there is but one step.
        places: for each table which of its vectors a row has, support rows before query rows.
        support_rest, query_rest: what the base leaves over of the targets; 0 where not observed.
        slope: as in `Support`.
        query_observed: which targets are.
        query_weight: what an error in a query row counts.
        absolute: for which heads that error is absolute; for others it is squared.
        first_order: take the gradients of the support loss as constants.
        wants_gradient: whether anybody will ask for the gradient.
    """

    groups: list[Group] | list[Slots]
    places: list[Int[Tensor, "tasks rows"]]
    support_rest: Float[Tensor, "tasks support heads"]
    slope: Float[Tensor, "tasks support heads"]
    query_rest: Float[Tensor, "tasks query heads"]
    query_observed: Bool[Tensor, "tasks query heads"]
    query_weight: Float[Tensor, "tasks query heads"]
    absolute: Bool[Tensor, " heads"]
    first_order: bool
    wants_gradient: bool


class Given(NamedTuple):
    """What a gradient goes to, or the gradient by it; as in `sum_losses`."""

    constant_outputs: Tensor
    norm: Tensor
    tables: Sequence[Tensor]
    outputs: Sequence[Tensor]
    weights: Sequence[Tensor]
    biases: Sequence[Tensor]


def losses_and_slopes(
    plan: Plan, tasks: slice | Int[Tensor, " group"], scores: Float[Tensor, "group query heads"]
) -> tuple[Float[Tensor, " group"], Float[Tensor, "group query heads"]]:
    """Each task's query loss and its gradient by the scores."""
    error, weight = torch.where(plan.query_observed[tasks], scores - plan.query_rest[tasks], 0.0), plan.query_weight
    values = torch.where(plan.absolute, error.abs(), error.square())
    slopes = torch.where(plan.absolute, error.sign(), 2 * error)
    return (values * weight[tasks]).sum((1, 2)), slopes * weight[tasks]


def look_up(tables: Sequence[Tensor], places: Sequence[Int[Tensor, "group rows"]]) -> Float[Tensor, "group rows _"]:
    """The vectors of rows, those of several tables side by side."""
    found = [
        table.index_select(0, place.flatten()).view(*place.shape, table.shape[1])
        for table, place in zip(tables, places, strict=True)
    ]
    return found[0] if len(found) == 1 else torch.cat(found, dim=-1)


def look_up_sum(tables: Sequence[Tensor], places: Sequence[Int[Tensor, "group rows"]]) -> Float[Tensor, "group rows _"]:
    """The vectors of rows, those of several tables added up."""
    first, *others = [look_up([table], [place]) for table, place in zip(tables, places, strict=True)]
    return sum(others, first)


def add_rows(
    gradient: Given,
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
