"""MAML on a stack of linear layers, a whole batch of tasks at once, without a task's own first layer (`low_rank.py`).

The losses and their gradient are those of the inner loop lifted by vmap. The first layer meets each distinct user and
item of a batch once (`stack_inputs.py`), and the gradient is formed together with the losses (`summed_losses.py`): on
a CPU with a C compiler by the kernel in `kernel/`, else by operations on groups of tasks with supports of like length.
"""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metarec.algorithms.buckets import Bucket, bucket_tasks
from metarec.algorithms.grouped_losses import Group, form_in_groups
from metarec.algorithms.kernel import load_kernel
from metarec.algorithms.loss_inputs import Formed, Plan
from metarec.algorithms.objectives import Objective
from metarec.algorithms.packed_losses import form_packed
from metarec.algorithms.stack_inputs import stack_inputs
from metarec.algorithms.summed_losses import sum_losses
from metarec.contracts import LayerStack, StackedRecommender
from metarec.task import Catalogue, TaskBatch, select_tasks

OVERHEAD = 100
"""Of a group of tasks, in rows. On one thread, 32 tasks with 5 steps took 4 to 5 % longer with 40 and with 200 than
with 100, and 256 tasks 2 % longer with 200."""


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
    keep_freed_memory()
    _, first = next(model.named_parameters())
    kernel = load_kernel(first.dtype) if first.device.type == "cpu" else None
    if kernel is not None:
        return _losses(model, stack, catalogue, batch, adaptation, form=functools.partial(form_packed, kernel))
    buckets = bucket_tasks(batch.support.mask, overhead=OVERHEAD)
    order = torch.cat([bucket.tasks for bucket in buckets])
    ordered = select_tasks(batch, order)
    form = functools.partial(form_in_groups, _groups(buckets))
    total, losses = _losses(model, stack, catalogue, ordered, adaptation, form=form)
    return total, losses[order.argsort()]


def _losses(
    model: StackedRecommender,
    stack: LayerStack,
    catalogue: Catalogue,
    batch: TaskBatch,
    adaptation: Adaptation,
    *,
    form: Callable[..., Formed],
) -> tuple[Float[Tensor, ""], Float[Tensor, " tasks"]]:
    """The same of a batch whose tasks stand in order, formed in one of the two ways."""
    parameters: dict[str, Tensor] = dict(model.named_parameters())
    weights, biases = ([parameters[name] for name in names] for names in zip(*stack.layers, strict=True))
    first, first_bias = weights[0], biases[0]
    if stack.direct is not None:
        first = torch.cat([first, parameters[stack.direct]])
        first_bias = torch.cat([first_bias, first_bias.new_zeros(len(first) - len(first_bias))])
    inputs = stack_inputs(model, catalogue, batch, first.dtype)
    plan = _plan(model.bases(catalogue, batch), batch, adaptation, inputs.places)
    return sum_losses(
        functools.partial(form, plan),
        adaptation.rates,
        constant_outputs=torch.addmm(first_bias, inputs.constant, first[:, inputs.constant_columns].T),
        norm=inputs.constant.square().sum(-1),
        tables=inputs.tables,
        outputs=[table @ first[:, columns].T for table, columns in zip(inputs.tables, inputs.columns, strict=True)],
        weights=weights[1:],
        biases=biases[1:],
    )


@functools.cache
def keep_freed_memory() -> None:
    """Let the C library keep what is freed, up to 64 MB, instead of asking the system for it anew in every step.

    glibc gives the top of its heap back, and each page of it that is used again costs a microsecond; but it takes the
    size of a block that was mapped and freed, up to 32 MB, as a sign of what the program is about
    (https://man7.org/linux/man-pages/man3/mallopt.3.html, M_MMAP_THRESHOLD). Without effect elsewhere.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


def _plan(
    bases: tuple[Float[Tensor, "tasks support heads"], Float[Tensor, "tasks query heads"]],
    batch: TaskBatch,
    adaptation: Adaptation,
    places: list[Int[Tensor, "tasks rows"]],
) -> Plan:
    support, query, names = batch.support, batch.query, adaptation.outer.names
    support_base, query_base = bases
    return Plan(
        mask=support.mask,
        places=places,
        support_rest=torch.where(support.observed, support.target - support_base, 0.0),
        slope=2 * _row_weights(adaptation.inner, support.observed, support_base, adaptation.damping),
        query_rest=torch.where(query.observed, query.target - query_base, 0.0),
        query_observed=query.observed,
        query_weight=_row_weights(adaptation.outer, query.observed, query_base, 0.0),
        absolute=torch.tensor([name == "absolute" for name in names], device=query_base.device),
        first_order=adaptation.first_order,
        wants_gradient=torch.is_grad_enabled(),
    )


def _row_weights(
    objective: Objective, observed: Bool[Tensor, "tasks rows heads"], like: Tensor, damping: float
) -> Float[Tensor, "tasks rows heads"]:
    """What the error of each row counts in the objective: w_h / max(Σ count + damping, 1), 0 where not observed."""
    count = (observed.sum((1, 2)).to(like.dtype) + damping).clamp(min=1)
    return observed * like.new_tensor(objective.weights) / count[:, None, None]


def _groups(buckets: list[Bucket]) -> list[Group]:
    ends = itertools.accumulate(len(bucket.tasks) for bucket in buckets)
    return [Group(slice(end - len(tasks), end), length) for end, (tasks, length) in zip(ends, buckets, strict=True)]
