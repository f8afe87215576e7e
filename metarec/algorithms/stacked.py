"""The query losses of a batch of tasks that adapt a stack of linear layers, by the kernel of `low_rank.py`.

They and their gradient are those of the inner loop lifted by vmap. Three things make them fast beside the kernel: the
first layer meets each distinct user and item of a batch once; tasks stand in groups of like length; and the gradient
of a group is formed together with its losses, while its numbers are at hand, so that backward only scales it.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metarec.algorithms.buckets import Bucket, bucket_tasks
from metarec.algorithms.low_rank import Query, Rates, Support, adapted_scores
from metarec.algorithms.low_rank_gradient import Shared, gradient_of_scores
from metarec.algorithms.objectives import Objective
from metarec.algorithms.stack_inputs import stack_inputs
from metarec.contracts import LayerStack, StackedRecommender
from metarec.task import Catalogue, TaskBatch, select_tasks


class Adaptation(NamedTuple):
    """How tasks adapt.

    Attributes:
        inner: the objective of the support; squared for every head.
        outer: the objective of the query; squared or absolute for each head.
        damping: as in `Objective`, of the support loss.
        rates: of each step, in the order α_0, β_0, α_1, β_1, … of the layers and α of the direct path last; 0 for what
            is not adapted.
        first_order: treat each inner gradient as a constant in the outer one.
    """

    inner: Objective
    outer: Objective
    damping: float
    rates: Float[Tensor, "steps rates"]
    first_order: bool


class _Plan(NamedTuple):
    """What the losses need and no gradient goes to; the tasks of a group stand side by side.

    Attributes:
        groups: where a group of tasks starts and ends, and the rows of its supports.
        places: for each table of the inputs which of its vectors a row has, support rows before query rows.
        support_rest, query_rest: what the base leaves over of the targets; 0 where not observed.
        slope: as in `Support`.
        query_observed: which targets are.
        query_weight: what an error in a query row counts.
        absolute: for which heads the query's error is absolute; None where it is squared for all.
        first_order: as in `Adaptation`.
        wants_gradient: whether anybody will ask for it.
    """

    groups: list[tuple[int, int, int]]
    places: list[Int[Tensor, "tasks rows"]]
    support_rest: Float[Tensor, "tasks support heads"]
    slope: Float[Tensor, "tasks support heads"]
    query_rest: Float[Tensor, "tasks query heads"]
    query_observed: Bool[Tensor, "tasks query heads"]
    query_weight: Float[Tensor, "tasks query heads"]
    absolute: Bool[Tensor, " heads"] | None
    first_order: bool
    wants_gradient: bool


def stacked_losses(
    model: StackedRecommender, stack: LayerStack, catalogue: Catalogue, batch: TaskBatch, adaptation: Adaptation
) -> tuple[Float[Tensor, ""], Float[Tensor, " tasks"]]:
    """The sum of the query losses after adaptation, whose gradient is the meta-gradient, and each task's own.

    Args:
        model: whose parameters `stack` names.
        stack: as the model describes itself.
        catalogue: what the batch points into.
        batch: at least one task.
        adaptation: how its tasks adapt.
    """
    parameters = dict(model.named_parameters())
    weights, biases = ([parameters[name] for name in names] for names in zip(*stack.layers, strict=True))
    first, first_bias = weights[0], biases[0]
    if stack.direct is not None:
        first = torch.cat([first, parameters[stack.direct]])
        first_bias = torch.cat([first_bias, first_bias.new_zeros(len(first) - len(first_bias))])
    keep_freed_memory()
    buckets = bucket_tasks(batch.support.mask, row_cost=len(adaptation.rates))
    order = torch.cat([bucket.tasks for bucket in buckets])
    batch = select_tasks(batch, order)
    inputs = stack_inputs(model, catalogue, batch, first.dtype)
    tensors = [
        torch.addmm(first_bias, inputs.constant, first[:, inputs.constant_columns].T),
        inputs.constant.square().sum(-1),
        *inputs.tables,
        *(table @ first[:, columns].T for table, columns in zip(inputs.tables, inputs.columns, strict=True)),
        *weights[1:],
        *biases[1:],
    ]
    plan = _plan(model, catalogue, batch, adaptation, buckets, inputs.places)
    total, losses = _Losses.apply(plan, adaptation.rates, *tensors)
    return total, losses[order.argsort()]


@functools.cache
def keep_freed_memory() -> None:
    """Let the C library keep what is freed, up to 64 MB, instead of asking the system for it anew in every step.

    glibc gives the top of its heap back, and each page of it that is used again costs a microsecond; but it takes the
    size of a block that was mapped and freed, up to 32 MB, as a sign of what the program is about
    (https://man7.org/linux/man-pages/man3/mallopt.3.html, M_MMAP_THRESHOLD). Without effect elsewhere.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


def _plan(
    model: StackedRecommender,
    catalogue: Catalogue,
    batch: TaskBatch,
    adaptation: Adaptation,
    buckets: list[Bucket],
    places: list[Int[Tensor, "tasks rows"]],
) -> _Plan:
    support, query = batch.support, batch.query
    support_base, query_base = model.bases(catalogue, batch)
    ends = list(itertools.accumulate(len(bucket.tasks) for bucket in buckets))
    names = adaptation.outer.names
    return _Plan(
        groups=[(end - len(bucket.tasks), end, bucket.length) for bucket, end in zip(buckets, ends, strict=True)],
        places=places,
        support_rest=torch.where(support.observed, support.target - support_base, 0.0),
        slope=2 * _row_weights(adaptation.inner, support.observed, support_base, adaptation.damping),
        query_rest=torch.where(query.observed, query.target - query_base, 0.0),
        query_observed=query.observed,
        query_weight=_row_weights(adaptation.outer, query.observed, query_base, 0.0),
        absolute=torch.tensor([n == "absolute" for n in names], device=query_base.device)
        if "absolute" in names
        else None,
        first_order=adaptation.first_order,
        wants_gradient=torch.is_grad_enabled(),
    )


def _row_weights(
    objective: Objective, observed: Bool[Tensor, "tasks rows heads"], like: Tensor, damping: float
) -> Float[Tensor, "tasks rows heads"]:
    """What the error of each row counts in the objective: w_h / max(Σ count + damping, 1), 0 where not observed."""
    count = (observed.sum((1, 2)).to(like.dtype) + damping).clamp(min=1)
    return observed * like.new_tensor(objective.weights) / count[:, None, None]


class _Tensors:
    """What `_Losses` is given, or the gradient by it, by what it is."""

    def __init__(self, tensors: Sequence[Tensor], *, num_tables: int) -> None:
        self.all = tensors
        self.constant_outputs, self.norm, *rest = tensors
        self.tables, self.outputs, rest = rest[:num_tables], rest[num_tables : 2 * num_tables], rest[2 * num_tables :]
        self.weights, self.biases = rest[: len(rest) // 2], rest[len(rest) // 2 :]


class _Losses(torch.autograd.Function):
    """The sum of the losses and the losses; the gradient of the sum is formed on the way, group after group."""

    @staticmethod
    def forward(ctx: Any, plan: _Plan, rates: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """The sum and each task's loss."""
        given = _Tensors(tensors, num_tables=len(plan.places))
        gradient = _Tensors([torch.zeros_like(tensor) for tensor in tensors], num_tables=len(plan.places))
        learned = torch.zeros_like(rates) if ctx.needs_input_grad[1] else None
        steps = [Rates(tuple(step[:-1:2]), tuple(step[1:-1:2]), step[-1]) for step in rates.tolist()]
        losses = torch.cat([_one_group(plan, group, steps, given, gradient, learned) for group in plan.groups])
        ctx.gradient = learned, gradient.all
        ctx.mark_non_differentiable(losses)
        return losses.sum(), losses

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_sum: Tensor, by_losses: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient that was formed, scaled."""
        del by_losses
        learned, tensors = ctx.gradient
        return None, None if learned is None else learned * by_sum, *(tensor * by_sum for tensor in tensors)


def _one_group(
    plan: _Plan,
    group: tuple[int, int, int],
    steps: Sequence[Rates],
    given: _Tensors,
    gradient: _Tensors,
    learned: Tensor | None,
) -> Float[Tensor, " group"]:
    """The losses of a group of tasks; what they add to the gradient is added."""
    start, end, length = group
    tasks, num_support = slice(start, end), plan.slope.shape[1]
    places = [place[tasks, :length] for place in plan.places]
    query_places = [place[tasks, num_support:] for place in plan.places]
    support = Support(
        _look_up(given.tables, places),
        _look_up_sum(given.outputs, places).add_(given.constant_outputs[tasks, None]),
        given.norm[tasks, None, None],
        plan.support_rest[tasks, :length],
        plan.slope[tasks, :length],
    )
    query = Query(
        _look_up(given.tables, query_places),
        _look_up_sum(given.outputs, query_places).add_(given.constant_outputs[tasks, None]),
    )
    scores, tape = adapted_scores(support, query, given.weights, given.biases, steps)
    losses, slopes = _losses_and_slopes(plan, tasks, scores)
    if plan.wants_gradient:
        shared = Shared(gradient.weights, gradient.biases, learned)
        found = gradient_of_scores(support, query, tape, steps, slopes, shared, first_order=plan.first_order)
        gradient.constant_outputs[tasks] = found.support_outputs.sum(1) + found.query_outputs.sum(1)
        gradient.norm[tasks] = found.norm[:, 0, 0]
        _add_rows(gradient, places, found.support_inputs, found.support_outputs)
        _add_rows(gradient, query_places, found.query_inputs, found.query_outputs)
    return losses


def _losses_and_slopes(
    plan: _Plan, tasks: slice, scores: Float[Tensor, "group query heads"]
) -> tuple[Float[Tensor, " group"], Float[Tensor, "group query heads"]]:
    """Each task's query loss and its gradient by the scores."""
    error = torch.where(plan.query_observed[tasks], scores - plan.query_rest[tasks], 0.0)
    weight = plan.query_weight[tasks]
    values, slopes = error.square(), 2 * error
    if plan.absolute is not None:
        values = torch.where(plan.absolute, error.abs(), values)
        slopes = torch.where(plan.absolute, error.sign(), slopes)
    return (values * weight).sum((1, 2)), slopes * weight


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
    found = [_look_up([table], [place]) for table, place in zip(tables, places, strict=True)]
    return found[0] if len(found) == 1 else found[0] + found[1]


def _add_rows(
    gradient: _Tensors,
    places: Sequence[Int[Tensor, "group rows"]],
    inputs: Float[Tensor, "group rows features"],
    outputs: Float[Tensor, "group rows outputs"],
) -> None:
    """Add the gradient by the vectors of rows to that by the tables that they were looked up in."""
    parts = inputs.split([table.shape[1] for table in gradient.tables], dim=-1)
    for table, output, place, part in zip(gradient.tables, gradient.outputs, places, parts, strict=True):
        table.index_add_(0, place.flatten(), part.flatten(0, 1))
        output.index_add_(0, place.flatten(), outputs.flatten(0, 1))
