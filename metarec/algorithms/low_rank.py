"""Gradient steps on a stack of linear layers, for a whole batch of tasks at once and without their own first weights.

The recommender is score = W_n relu(… relu(W_0 x + b_0) …) + b_n, and D x beside it with a direct path; the support
loss is squared. With X_l the inputs of layer l on the support, δ_l the slope of the support loss by what the layer
gives and α_l, β_l the rates of its weight and bias, a gradient step is

    W_l ← W_l - α_l δ_lᵀ X_l,    b_l ← b_l - β_l Σ_rows δ_l.

The inputs x of the first layer (and of D) are the same in every step. What it gives on any rows with inputs x is
therefore what W_0 gives, less (x Xᵀ) Σ_steps α_0 δ_0: products of rows take the place of a task's own W_0, by far the
largest of its weights, which is never built. A part u of x that is the same in all rows of a task adds only ‖u‖² to
each product. In the last step the same is done for each layer that is wider than the query is long:
x W_lᵀ - (x X_lᵀ) α_l δ_l. Other weights are small and kept for each task.

This is the arithmetic of MAML (Finn et al. 2017) in another order and no approximation. The gradient through it is
written out in `low_rank_gradient.py`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


class Support(NamedTuple):
    """What a group of tasks adapts on; a row without a slope changes nothing.

    Attributes:
        inputs: the part of x that differs from row to row.
        outputs: what the first layer gives before any step, and D x behind it with a direct path.
        norm: ‖u‖² of the part of x that is the same in all rows of a task.
        rest: what the base leaves over of the targets; 0 where not observed.
        slope: the second derivative of the support loss by a score; 0 where not observed.
    """

    inputs: Float[Tensor, "tasks support features"]
    outputs: Float[Tensor, "tasks support outputs"]
    norm: Float[Tensor, "tasks 1 1"]
    rest: Float[Tensor, "tasks support heads"]
    slope: Float[Tensor, "tasks support heads"]


class Query(NamedTuple):
    """What a group of tasks is judged on.

    Attributes:
        inputs, outputs: as in `Support`.
    """

    inputs: Float[Tensor, "tasks query features"]
    outputs: Float[Tensor, "tasks query outputs"]


class Rates(NamedTuple):
    """The rates of one step; 0 for what is not adapted.

    Attributes:
        weight, bias: α and β of each layer, the first one first.
        direct: α of D.
    """

    weight: tuple[float, ...]
    bias: tuple[float, ...]
    direct: float


class FirstMoved(NamedTuple):
    """What the steps so far have done to a task's first layer.

    Attributes:
        deltas: Σ α δ, that of D beside it.
        shift: Σ β Σ_rows δ, which is taken off the outputs in all rows; 0 for D, which has no bias.
    """

    deltas: Float[Tensor, "tasks support outputs"]
    shift: Float[Tensor, "tasks 1 outputs"]


class Moved(NamedTuple):
    """What the steps so far have done to a task's weights.

    Attributes:
        first: to the first layer; None before the first step.
        weights, biases: those of the later layers, shared by all tasks or with an axis of tasks.
    """

    first: FirstMoved | None
    weights: list[Tensor]
    biases: list[Tensor]


class Step(NamedTuple):
    """One gradient of the support loss.

    Attributes:
        before: the weights it was taken at.
        inputs: X of the later layers.
        deltas: δ of all layers.
        totals: Σ_rows δ of all layers.
    """

    before: Moved
    inputs: list[Float[Tensor, "tasks support _"]]
    deltas: list[Float[Tensor, "tasks support _"]]
    totals: list[Float[Tensor, "tasks 1 _"]]


class Tape(NamedTuple):
    """What the gradient needs to know of the way to the scores.

    Attributes:
        steps: in order.
        first: the first layer after the last step.
        weights: of the later layers after the last step, less that step where a layer has a kernel.
        gram: products x xᵀ of support rows; None where no step needs them.
        cross: those of query rows with support rows.
        inputs: the query's x of the later layers.
        kernels: x Xᵀ of the later layers that are wider than the query is long; None for the others.
    """

    steps: list[Step]
    first: FirstMoved
    weights: list[Tensor]
    gram: Float[Tensor, "tasks support support"] | None
    cross: Float[Tensor, "tasks query support"]
    inputs: list[Float[Tensor, "tasks query _"]]
    kernels: list[Float[Tensor, "tasks query support"] | None]


def adapted_scores(
    support: Support, query: Query, weights: Sequence[Tensor], biases: Sequence[Tensor], rates: Sequence[Rates]
) -> tuple[Float[Tensor, "tasks query heads"], Tape]:
    """The scores of query rows after the steps, less the base, and the tape for their gradient.

    Args:
        support: what the tasks adapt on.
        query: what they are judged on.
        weights, biases: of the later layers, the head last; none where the first layer is the head.
        rates: of each step, at least one.
    """
    gram = torch.baddbmm(support.norm, support.inputs, support.inputs.mT) if len(rates) > 1 else None
    narrow = [len(weight) <= query.inputs.shape[1] for weight in weights]
    moved, steps = Moved(None, list(weights), list(biases)), []
    for number, rate in enumerate(rates):
        steps.append(_gradient(support, gram, moved))
        is_last = number + 1 == len(rates)
        moved = _move(support, steps[-1], rate, built=narrow if is_last else [True] * len(weights))
    cross, first = torch.baddbmm(support.norm, query.inputs, support.inputs.mT), moved.first
    assert first is not None
    outputs = (query.outputs - first.shift).baddbmm_(cross, first.deltas, alpha=-1)
    scores, inputs, kernels = _score_query(outputs, moved, steps[-1], rates[-1], narrow)
    return scores, Tape(steps, first, moved.weights, gram, cross, inputs, kernels)


def _gradient(support: Support, gram: Float[Tensor, "tasks support support"] | None, moved: Moved) -> Step:
    """The inputs and the slopes of all layers on the support."""
    if moved.first is None:
        outputs = support.outputs.clone()
    else:
        assert gram is not None
        outputs = (support.outputs - moved.first.shift).baddbmm_(gram, moved.first.deltas, alpha=-1)
    outputs, straight = split_direct(outputs, moved, support.rest.shape[-1])
    inputs = []
    for weight, bias in zip(moved.weights, moved.biases, strict=True):
        inputs.append(outputs.relu_())
        outputs = apply_layer(inputs[-1], weight, bias)
    scores = outputs if straight is None else outputs + straight
    deltas = [(scores - support.rest).mul_(support.slope)]
    for weight, given in zip(reversed(moved.weights), reversed(inputs), strict=True):
        deltas.append(through_relu_(product(deltas[-1], weight), given))
    deltas.reverse()
    return Step(moved, inputs, deltas, [delta.sum(1, keepdim=True) for delta in deltas])


def _move(support: Support, step: Step, rate: Rates, *, built: list[bool]) -> Moved:
    """The weights after a step; of the later layers those that are to be built."""
    outputs = support.outputs.shape[-1]
    deltas = beside(step.deltas[0] * rate.weight[0], step.deltas[-1] * rate.direct, outputs)
    shift = beside(step.totals[0] * rate.bias[0], torch.zeros_like(step.totals[-1]), outputs)
    if step.before.first is not None:
        deltas, shift = deltas.add_(step.before.first.deltas), shift.add_(step.before.first.shift)
    weights, biases = list(step.before.weights), list(step.before.biases)
    for layer, wanted in enumerate(built):
        if wanted:
            own = weights[layer].expand(len(deltas), -1, -1)
            x, delta, total = step.inputs[layer], step.deltas[layer + 1], step.totals[layer + 1]
            weights[layer] = torch.baddbmm(own, delta.mT, x, alpha=-rate.weight[layer + 1])
            biases[layer] = torch.sub(biases[layer], total, alpha=rate.bias[layer + 1])
    return Moved(FirstMoved(deltas, shift), weights, biases)


def _score_query(
    outputs: Float[Tensor, "tasks query outputs"], moved: Moved, last: Step, rate: Rates, narrow: list[bool]
) -> tuple[Float[Tensor, "tasks query heads"], list[Tensor], list[Tensor | None]]:
    """Scores, inputs and kernels; where layers are not narrow, their last step is taken on the way."""
    outputs, straight = split_direct(outputs, moved, last.deltas[-1].shape[-1])
    inputs: list[Tensor] = []
    kernels: list[Tensor | None] = []
    for layer, is_narrow in enumerate(narrow):
        x = outputs.relu_()
        outputs = apply_layer(x, moved.weights[layer], moved.biases[layer])
        kernel = None if is_narrow else torch.bmm(x, last.inputs[layer].mT)
        if kernel is not None:
            outputs = outputs.sub_(last.totals[layer + 1], alpha=rate.bias[layer + 1])
            outputs = outputs.baddbmm_(kernel, last.deltas[layer + 1], alpha=-rate.weight[layer + 1])
        inputs.append(x)
        kernels.append(kernel)
    return (outputs if straight is None else outputs + straight), inputs, kernels


def split_direct(
    outputs: Float[Tensor, "tasks rows outputs"], moved: Moved, num_heads: int
) -> tuple[Float[Tensor, "tasks rows width"], Float[Tensor, "tasks rows heads"] | None]:
    """What the first layer gives, and what the direct path does where there is one."""
    width = moved.weights[0].shape[-1] if moved.weights else num_heads
    return outputs[..., :width], outputs[..., width:] if outputs.shape[-1] > width else None


def beside(
    first: Float[Tensor, "tasks rows width"], straight: Float[Tensor, "tasks rows heads"], outputs: int
) -> Float[Tensor, "tasks rows outputs"]:
    """What belongs to the first layer, and behind it what belongs to the direct path where there is one."""
    return first if first.shape[-1] == outputs else torch.cat([first, straight], dim=-1)


def apply_layer(x: Float[Tensor, "tasks rows width"], weight: Tensor, bias: Tensor) -> Float[Tensor, "tasks rows _"]:
    """What a layer gives, with weights shared by the tasks or their own."""
    return F.linear(x, weight, bias) if weight.dim() == 2 else torch.baddbmm(bias, x, weight.mT)


def product(
    rows: Float[Tensor, "tasks rows inner"], weight: Float[Tensor, "*tasks inner width"]
) -> Float[Tensor, "tasks rows width"]:
    """Rows times a weight, shared or of each task; of a single column it is no work for a matrix product."""
    if rows.shape[-1] == 1:
        return rows * weight
    return torch.bmm(rows, weight) if weight.dim() == 3 else rows @ weight


def add_product(to: Float[Tensor, "tasks rows _"], rows: Float[Tensor, "tasks rows _"], weight: Tensor) -> None:
    """Add that product to what is there."""
    if rows.shape[-1] == 1:
        to.addcmul_(rows, weight)
    elif weight.dim() == 2:
        to.view(-1, to.shape[-1]).addmm_(rows.flatten(0, 1), weight)
    else:
        to.baddbmm_(rows, weight)


def through_relu_(slopes: Float[Tensor, "*rows"], given: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
    """Slopes by what a ReLU gave become, in place, slopes by what it took: 0 where it gave 0."""
    passed: Tensor = torch.ops.aten.threshold_backward.grad_input(slopes, given, 0, grad_input=slopes)
    return passed
