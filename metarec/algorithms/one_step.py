"""One gradient step on a stack of linear layers, without any weights of a task's own.

All tasks take the only step at the same weights W_l, so that no rows but the last products know of tasks: with X_l, Y_l
the inputs of layer l on support and query and δ_l the slopes of the support loss as in `low_rank.py`, layer l gives on
the query

    y_l = Y_l W_lᵀ + b_l - K_l δ_l,    K_l = (α_l Y_l X_lᵀ + β_l) where query and support row are of one task, else 0;

in layer 0 a part of x that is the same in all rows of a task adds its ‖u‖² to Y_0 X_0ᵀ. Rows of several tasks may
therefore stand in one slot (`slots.py`), which needs little padding. With P_l = ȳ_l δ_lᵀ, 0 where K_l is, the gradient
is

    δ̄_l = -K_lᵀ ȳ_l,    X̄_l = -α P_lᵀ Y_l,    Ȳ_l = ȳ_l W_l - α P_l X_l,    W̄_l = ȳ_lᵀ Y_l,

and from δ̄ and X̄ on that of `low_rank_gradient.py`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from metarec.algorithms.low_rank import Query, Rates, Support, add_product, beside, through_relu_
from metarec.algorithms.low_rank_gradient import RowGradient, Shared


class Layers(NamedTuple):
    """What a pass through the layers leaves behind on support or query.

    Attributes:
        inputs: X or Y of the later layers.
        kernels: on the query, K of all layers without its sign; empty on the support.
        scores: what the last layer gives, with the direct path.
    """

    inputs: list[Float[Tensor, "slots rows _"]]
    kernels: list[Float[Tensor, "slots query support"]]
    scores: Float[Tensor, "slots rows heads"]


class OneStep:
    """The scores of slots after one step, and the gradient through it.

    Args:
        support: what the tasks of a slot adapt on; its `norm` is that of each query row's task.
        query: what they are judged on.
        same: 1 where a query row and a support row are of one task, else 0.
        weights, biases: of the later layers, the head last.
        rate: of the step.
    """

    def __init__(
        self,
        support: Support,
        query: Query,
        same: Float[Tensor, "slots query support"],
        *,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor],
        rate: Rates,
    ) -> None:
        self.support, self.query, self.same, self.rate = support, query, same, rate
        self.weights, self.biases = weights, biases
        self.layers = range(len(weights))
        self.width = weights[0].shape[1] if weights else support.rest.shape[-1]
        self.has_direct = support.outputs.shape[-1] > self.width
        self.cross = torch.baddbmm(support.norm, query.inputs, support.inputs.mT).mul_(same)
        self.deltas, self.of_support = self._slopes()
        self.of_query = self._judge()

    @property
    def scores(self) -> Float[Tensor, "slots query heads"]:
        """What the query's scores are after the step, less the base."""
        return self.of_query.scores

    def _slopes(self) -> tuple[list[Tensor], Layers]:
        """δ of all layers, and the pass through the support."""
        outputs, inputs = self.support.outputs[..., : self.width], []
        for weight, bias in zip(self.weights, self.biases, strict=True):
            inputs.append(outputs.relu())
            outputs = F.linear(inputs[-1], weight, bias)
        if self.has_direct:
            outputs = outputs + self.support.outputs[..., self.width :]
        deltas = [(outputs - self.support.rest).mul_(self.support.slope)]
        for weight, x in zip(reversed(self.weights), reversed(inputs), strict=True):
            deltas.append(through_relu_(deltas[-1] @ weight, x))
        return deltas[::-1], Layers(inputs, [], outputs)

    def _judge(self) -> Layers:
        """The pass through the query, in which the step is taken."""
        rate, deltas, inputs = self.rate, self.deltas, []
        kernels = [torch.add(self.cross * rate.weight[0], self.same, alpha=rate.bias[0])]
        outputs = torch.baddbmm(self.query.outputs[..., : self.width], kernels[0], deltas[0], alpha=-1)
        for layer in self.layers:
            inputs.append(outputs.relu_())
            kernels.append(
                torch.baddbmm(
                    self.same,
                    inputs[-1],
                    self.of_support.inputs[layer].mT,
                    beta=rate.bias[layer + 1],
                    alpha=rate.weight[layer + 1],
                ).mul_(self.same)
            )
            outputs = F.linear(inputs[-1], self.weights[layer], self.biases[layer])
            outputs.baddbmm_(kernels[-1], deltas[layer + 1], alpha=-1)
        if self.has_direct:
            outputs = torch.baddbmm(outputs, self.cross, deltas[-1], alpha=-rate.direct)
            outputs = outputs.add_(self.query.outputs[..., self.width :])
        return Layers(inputs, kernels, outputs)

    def gradient(
        self, scores_bar: Float[Tensor, "slots query heads"], shared: Shared, *, first_order: bool
    ) -> RowGradient:
        """The gradient by a group's rows, with `norm` by that of each query row; the rest is added to `shared`.

        Args:
            scores_bar: the gradient by the scores.
            shared: where to add.
            first_order: take the gradients of the support loss as constants.
        """
        rate, support, query = self.rate, self.support, self.query
        bar, deltas_bar, inputs_bar = scores_bar, [], []
        for layer in reversed(self.layers):
            x, y, delta = self.of_support.inputs[layer], self.of_query.inputs[layer], self.deltas[layer + 1]
            product = torch.bmm(bar, delta.mT).mul_(self.same)
            inputs_bar.append(torch.bmm(product.mT, y))
            deltas_bar.append(torch.bmm(self.of_query.kernels[layer + 1].mT, bar).neg_())
            _add_layer(shared, layer, bar, y)
            if shared.rates is not None:
                shared.rates[0, 2 * layer + 2] -= (inputs_bar[-1] * x).sum()
                shared.rates[0, 2 * layer + 3] -= product.sum()
            bar = through_relu_((bar @ self.weights[layer]).baddbmm_(product, x, alpha=-rate.weight[layer + 1]), y)
        product = torch.bmm(bar, self.deltas[0].mT).mul_(self.same)
        deltas_bar.append(torch.bmm(self.of_query.kernels[0].mT, bar).neg_())
        if shared.rates is not None:
            shared.rates[0, 0] -= (product * self.cross).sum()
            shared.rates[0, 1] -= product.sum()
        product.mul_(-rate.weight[0])
        if self.has_direct:
            straight = torch.bmm(scores_bar, self.deltas[-1].mT).mul_(self.same)
            if shared.rates is not None:
                shared.rates[0, -1] -= (straight * self.cross).sum()
            product.sub_(straight, alpha=rate.direct)
            deltas_bar[0].baddbmm_(self.cross.mT, scores_bar, alpha=-rate.direct)
        norm, query_inputs = product.sum(2, keepdim=True), torch.bmm(product, support.inputs)
        query_outputs = beside(bar, scores_bar, support.outputs.shape[-1])
        if first_order:  # of u · u, the support's u is a constant and the query's is not
            zeros = torch.zeros_like(support.inputs), torch.zeros_like(support.outputs)
            return RowGradient(*zeros, norm / 2, query_inputs, query_outputs)
        outputs = self._through_slopes(deltas_bar[::-1], inputs_bar[::-1], shared)
        return RowGradient(torch.bmm(product.mT, query.inputs), outputs, norm, query_inputs, query_outputs)

    def _through_slopes(
        self, deltas_bar: list[Tensor], inputs_bar: list[Tensor], shared: Shared
    ) -> Float[Tensor, "slots support outputs"]:
        """From δ̄ of all layers, and from X̄ of the later ones over -α, to what layer 0 gives on the support."""
        for layer, weight in enumerate(self.weights):
            bar = through_relu_(deltas_bar[layer], self.of_support.inputs[layer])
            shared.weights[layer].addmm_(self.deltas[layer + 1].flatten(0, 1).T, bar.flatten(0, 1))
            add_product(deltas_bar[layer + 1], bar, weight.mT)
        top = bar = deltas_bar[-1].mul_(self.support.slope)
        for layer in reversed(self.layers):
            x, found = self.of_support.inputs[layer], inputs_bar[layer]
            _add_layer(shared, layer, bar, x)
            alpha = self.rate.weight[layer + 1]
            found.view(-1, found.shape[-1]).addmm_(bar.flatten(0, 1), self.weights[layer], beta=-alpha)
            bar = through_relu_(found, x)
        return beside(bar, top, self.support.outputs.shape[-1])


def _add_layer(shared: Shared, layer: int, bar: Tensor, inputs: Tensor) -> None:
    """Add the gradient by a layer's weight and bias, `bar` being that by what it gives."""
    shared.weights[layer].addmm_(bar.flatten(0, 1).T, inputs.flatten(0, 1))
    shared.biases[layer].add_(bar.sum((0, 1)))
