"""The gradient through `low_rank.py`, written out: second order, through every step.

It goes the way of `adapted_scores` backwards. A bar marks the gradient by what stands under it. The step of a later
layer l, of which W̄ and b̄ are those after the step, gives

    δ̄_l = -α X_l W̄ᵀ - β b̄,    X̄_l = -α δ_l W̄,

and the gradient that the step took, with δ_{l-1} = (δ_l W_l) ⊙ relu' from the last layer n down to the first, gives

    going up    u_l = δ̄_{l-1} ⊙ relu',     W̄_l += δ_lᵀ u_l,    δ̄_l += u_l W_lᵀ
    at the top  z_n = slope ⊙ δ̄_n
    going down  z_{l-1} = (X̄_l + z_l W_l) ⊙ relu',    W̄_l += z_lᵀ X_l,    b̄_l += Σ_rows z_l.

Autograd would do the same with more passes over memory: here sums are formed where they end up.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metarec.algorithms.low_rank import Query, Rates, Support, Tape, add_product, beside, product, through_relu_


class Shared(NamedTuple):
    """Where the gradients by what all tasks share add up.

    Attributes:
        weights, biases: of the later layers.
        rates: of each step, in the order α_0, β_0, α_1, β_1, …, and α of D last; None where they are not learned.
    """

    weights: Sequence[Float[Tensor, "_ _"]]
    biases: Sequence[Float[Tensor, " _"]]
    rates: Float[Tensor, "steps rates"] | None


class RowGradient(NamedTuple):
    """The gradient by what a group of tasks has of its own.

    Attributes:
        support_inputs, support_outputs, norm: by those of `Support`.
        query_inputs, query_outputs: by those of `Query`.
    """

    support_inputs: Float[Tensor, "tasks support features"]
    support_outputs: Float[Tensor, "tasks support outputs"]
    norm: Float[Tensor, "tasks 1 1"]
    query_inputs: Float[Tensor, "tasks query features"]
    query_outputs: Float[Tensor, "tasks query outputs"]


def gradient_of_scores(
    scores_bar: Float[Tensor, "tasks query heads"],
    tape: Tape,
    *,
    support: Support,
    query: Query,
    rates: Sequence[Rates],
    shared: Shared,
    first_order: bool,
) -> RowGradient:
    """The gradient by a group's rows; that by what tasks share is added to `shared`.

    Args:
        scores_bar: the gradient by the scores.
        tape: as `adapted_scores` gave it.
        support, query, rates: as it was given them.
        shared: where to add.
        first_order: take the gradients of the support loss as constants.
    """
    back = _WayBack(support, tape, rates, shared)
    query_outputs = back.through_query(scores_bar)
    cross = torch.bmm(query_outputs, tape.first.deltas.mT).neg_()
    for number in reversed(range(len(rates))):
        back.through_moves(number)
        if not first_order:
            back.through_gradient(number)
    back.share_own_weights()
    inputs = torch.zeros_like(support.inputs) if first_order else torch.bmm(cross.mT, query.inputs)
    norm = cross.sum((1, 2), keepdim=True)
    if back.gram is not None:
        inputs.baddbmm_(back.gram + back.gram.mT, support.inputs, alpha=-1)
        norm -= back.gram.sum((1, 2), keepdim=True)
    if first_order:  # of u · u, the support's u is a constant and the query's is not
        norm /= 2
    outputs = torch.zeros_like(support.outputs) if back.outputs is None else back.outputs
    return RowGradient(inputs, outputs, norm, torch.bmm(cross, support.inputs), query_outputs)


class _WayBack:
    """The gradient at some place of the way back.

    Attributes:
        moved, shift: by `FirstMoved.deltas` and `FirstMoved.shift`.
        weights, biases: by the weights of those later layers of which tasks have their own.
        deltas, inputs: by δ of all layers and by X of the later ones, of the step that is gone through.
        outputs, gram: by the first layer's outputs on the support, and less that by the products of its rows; None
            where there is nothing yet.
    """

    moved: Tensor
    shift: Tensor

    def __init__(self, support: Support, tape: Tape, rates: Sequence[Rates], shared: Shared) -> None:
        self.support, self.tape, self.rates, self.shared = support, tape, rates, shared
        self.layers = range(len(tape.weights))
        self.weights: dict[int, Tensor] = {}
        self.biases: dict[int, Tensor] = {}
        self.deltas: dict[int, Tensor] = {}
        self.inputs: dict[int, Tensor] = {}
        self.outputs: Tensor | None = None
        self.gram: Tensor | None = None

    def through_query(self, scores_bar: Tensor) -> Tensor:
        """To what the first layer gives on the query, by which the gradient is returned."""
        tape, bar = self.tape, scores_bar
        for layer in reversed(self.layers):
            x, weight = tape.inputs[layer], tape.weights[layer]
            if weight.dim() == 3:
                self.weights[layer] = torch.bmm(bar.mT, x)
                self.biases[layer] = bar.sum(1, keepdim=True)
            else:
                self._add_weight(layer, bar, x, own=False)
                self._add_bias(layer, bar, own=False)
            below = product(bar, weight)
            kernel = tape.kernels[layer]
            if kernel is not None:
                self._through_kernel(layer, kernel, bar, below)
            bar = through_relu_(below, x)
        bar = beside(bar, scores_bar, self.support.outputs.shape[-1])
        self.moved = torch.bmm(tape.cross.mT, bar).neg_()
        self.shift = bar.sum(1, keepdim=True).neg_()
        return bar

    def _through_kernel(self, layer: int, kernel: Tensor, bar: Tensor, below: Tensor) -> None:
        """Through the last step of a wide layer to its gradient; what comes of the query's x is added to `below`."""
        last, rate = self.tape.steps[-1], self.rates[-1]
        alpha, beta = rate.weight[layer + 1], rate.bias[layer + 1]
        total, by_kernel = bar.sum(1, keepdim=True), torch.bmm(bar, last.deltas[layer + 1].mT)
        self._add_rate(-1, 2 * layer + 2, kernel, by_kernel, times=-1.0)
        self._add_rate(-1, 2 * layer + 3, total, last.totals[layer + 1], times=-1.0)
        by_kernel.mul_(-alpha)
        self.deltas[layer + 1] = torch.baddbmm(total, kernel.mT, bar, beta=-beta, alpha=-alpha)
        self.inputs[layer] = torch.bmm(by_kernel.mT, self.tape.inputs[layer])
        below.baddbmm_(by_kernel, last.inputs[layer])

    def through_moves(self, number: int) -> None:
        """From the weights after a step to the gradient that it took."""
        step, rate, outputs = self.tape.steps[number], self.rates[number], self.support.outputs.shape[-1]
        for layer in self.layers:
            if number + 1 < len(self.rates) or self.tape.kernels[layer] is None:
                self._through_move(layer, number)
        width = step.totals[0].shape[-1]
        moved, shift = self.moved[..., :width], self.shift[..., :width]
        self._add_rate(number, 0, moved, step.deltas[0])
        self._add_rate(number, 1, shift, step.totals[0])
        self.deltas[0] = torch.add(shift * rate.bias[0], moved, alpha=rate.weight[0])
        if outputs > width:
            self._add_rate(number, -1, self.moved[..., width:], step.deltas[-1])
            self.deltas[len(self.layers)].add_(self.moved[..., width:], alpha=rate.direct)

    def _through_move(self, layer: int, number: int) -> None:
        """The same for a later layer, of which the tasks have weights of their own."""
        step, rate, weight, bias = self.tape.steps[number], self.rates[number], self.weights[layer], self.biases[layer]
        alpha, beta, delta = rate.weight[layer + 1], rate.bias[layer + 1], step.deltas[layer + 1]
        by_step = weight * -alpha
        back = torch.bmm(step.inputs[layer], by_step.mT)
        self._add_rate(number, 2 * layer + 2, back, delta, times=1 / alpha if alpha else 0.0)
        self._add_rate(number, 2 * layer + 3, bias, step.totals[layer + 1], times=-1.0)
        self.deltas[layer + 1] = back.sub_(bias, alpha=beta)
        self.inputs[layer] = product(delta, by_step)

    def through_gradient(self, number: int) -> None:
        """From the gradient that a step took to the weights that it was taken at."""
        step = self.tape.steps[number]
        weights = step.before.weights
        for layer in self.layers:
            bar = through_relu_(self.deltas[layer], step.inputs[layer])
            self._add_weight(layer, step.deltas[layer + 1], bar, own=weights[layer].dim() == 3)
            add_product(self.deltas[layer + 1], bar, weights[layer].mT)
        top = bar = self.support.slope * self.deltas[len(self.layers)]
        for layer in reversed(self.layers):
            own = weights[layer].dim() == 3
            self._add_weight(layer, bar, step.inputs[layer], own=own)
            self._add_bias(layer, bar, own=own)
            add_product(self.inputs[layer], bar, weights[layer])
            bar = through_relu_(self.inputs[layer], step.inputs[layer])
        bar = beside(bar, top, self.support.outputs.shape[-1])
        self.outputs = bar if self.outputs is None else self.outputs.add_(bar)
        if step.before.first is not None:
            assert self.tape.gram is not None
            self.moved.baddbmm_(self.tape.gram, bar, alpha=-1)
            self.shift = self.shift - bar.sum(1, keepdim=True)
            moved = step.before.first.deltas.mT
            self.gram = torch.bmm(bar, moved) if self.gram is None else self.gram.baddbmm_(bar, moved)

    def share_own_weights(self) -> None:
        """Add up over the tasks what they have by weights of their own."""
        for layer, weight in self.weights.items():
            self.shared.weights[layer].add_(weight.sum(0))
            self.shared.biases[layer].add_(self.biases[layer].sum((0, 1)))

    def _add_weight(self, layer: int, slopes: Tensor, inputs: Tensor, *, own: bool) -> None:
        if own:
            self.weights[layer].baddbmm_(slopes.mT, inputs)
        else:
            self.shared.weights[layer].addmm_(slopes.flatten(0, 1).T, inputs.flatten(0, 1))

    def _add_bias(self, layer: int, slopes: Tensor, *, own: bool) -> None:
        if own:
            self.biases[layer] = self.biases[layer] + slopes.sum(1, keepdim=True)
        else:
            self.shared.biases[layer].add_(slopes.sum((0, 1)))

    def _add_rate(self, number: int, column: int, first: Tensor, second: Tensor, *, times: float = 1.0) -> None:
        if self.shared.rates is not None:
            self.shared.rates[number, column].add_((first * second).sum(), alpha=times)
