"""What the query losses of a batch and their gradient are formed from, and how rows find their vectors."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Plan(NamedTuple):
    """What the losses need and no gradient goes to.

    Attributes:
        mask: the real rows of each support.
        places: for each table which of its vectors a row has, support rows before query rows.
        support_rest, query_rest: what the base leaves over of the targets; 0 where not observed.
        slope: as in `Support`.
        query_observed: which targets are.
        query_weight: what an error in a query row counts.
        absolute: for which heads that error is absolute; for others it is squared.
        first_order: take the gradients of the support loss as constants.
        wants_gradient: whether anybody will ask for the gradient.
    """

    mask: Bool[Tensor, "tasks support"]
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

    def zeros(self) -> "Given":
        """Where a gradient adds up."""
        parts = ([torch.zeros_like(tensor) for tensor in part] for part in self[2:])
        return Given(torch.zeros_like(self.constant_outputs), torch.zeros_like(self.norm), *parts)


class Formed(NamedTuple):
    """The losses of a batch together with their gradient.

    Attributes:
        losses: each task's.
        gradient: of their sum; whatever, where nobody will ask for it.
        rates: the same by the rates, where they are learned.
    """

    losses: Float[Tensor, " tasks"]
    gradient: Given
    rates: Float[Tensor, "steps rates"] | None


def losses_and_slopes(
    plan: Plan, tasks: slice | Int[Tensor, " group"], scores: Float[Tensor, "group query heads"]
) -> tuple[Float[Tensor, " group"], Float[Tensor, "group query heads"]]:
    """Each task's query loss and its gradient by the scores."""
    error, weight = torch.where(plan.query_observed[tasks], scores - plan.query_rest[tasks], 0.0), plan.query_weight
    values = torch.where(plan.absolute, error.abs(), error.square())
    slopes = torch.where(plan.absolute, error.sign(), 2 * error)
    return (values * weight[tasks]).sum((1, 2)), slopes * weight[tasks]


def look_up(tables: Sequence[Tensor], places: Sequence[Int[Tensor, "*rows"]]) -> Float[Tensor, "*rows _"]:
    """The vectors of rows, those of several tables side by side."""
    found = [
        table.index_select(0, place.flatten()).view(*place.shape, table.shape[1])
        for table, place in zip(tables, places, strict=True)
    ]
    return found[0] if len(found) == 1 else torch.cat(found, dim=-1)


def look_up_sum(tables: Sequence[Tensor], places: Sequence[Int[Tensor, "*rows"]]) -> Float[Tensor, "*rows _"]:
    """The vectors of rows, those of several tables added up."""
    first, *others = [look_up([table], [place]) for table, place in zip(tables, places, strict=True)]
    return sum(others, first)


def add_rows(
    gradient: Given,
    places: Sequence[Int[Tensor, "*rows"]],
    inputs: Float[Tensor, "*rows features"],
    outputs: Float[Tensor, "*rows outputs"],
) -> None:
    """Add the gradient by the vectors of rows to that by the tables that they were looked up in."""
    start = 0
    for table, output, place in zip(gradient.tables, gradient.outputs, places, strict=True):
        part = inputs[..., start : start + table.shape[1]]
        table.index_add_(0, place.flatten(), part.flatten(0, -2))
        output.index_add_(0, place.flatten(), outputs.flatten(0, -2))
        start += table.shape[1]
