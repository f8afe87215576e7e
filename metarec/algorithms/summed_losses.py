"""The query losses of a batch of tasks, summed, with a gradient that is formed together with them.

As soon as the losses of some tasks are there, so is what their gradient needs: it is formed then, while the numbers are
at hand, and none are kept until backward, which only scales what was formed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from metarec.algorithms.loss_inputs import Formed, Given

Former = Callable[[Given, Float[Tensor, "steps rates"], bool], Formed]
"""Forms losses and gradient of a batch, given the rates and whether these are learned."""


def sum_losses(
    form: Former,
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
        form: how they and their gradient are formed.
        rates: of each step, in the order α_0, β_0, α_1, β_1, … of the layers and α of the direct path last.
        constant_outputs: what the first layer gives on the part of x that all rows of a task share.
        norm: ‖u‖² of that part.
        tables: the vectors that rows have beside it.
        outputs: what the first layer gives on them.
        weights, biases: of the layers after the first.
    """
    tensors = [constant_outputs, norm, *tables, *outputs, *weights, *biases]
    total, losses = _Sum.apply(form, rates, len(tables), *tensors)  # type: ignore[no-untyped-call]
    return total, losses


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, form: Former, rates: Tensor, num_tables: int, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        formed = form(_by_name(tensors, num_tables), rates, ctx.needs_input_grad[1])
        by = formed.gradient
        ctx.by_rates = formed.rates
        ctx.gradient = [by.constant_outputs, by.norm, *by.tables, *by.outputs, *by.weights, *by.biases]
        ctx.mark_non_differentiable(formed.losses)
        return formed.losses.sum(), formed.losses

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_sum: Tensor, by_losses: Tensor) -> tuple[Tensor | None, ...]:
        del by_losses
        by_rates = None if ctx.by_rates is None else ctx.by_rates * by_sum
        return None, by_rates, None, *torch._foreach_mul(ctx.gradient, by_sum)


def _by_name(tensors: Sequence[Tensor], num_tables: int) -> Given:
    constant_outputs, norm, *rest = tensors
    tables, outputs, layers = rest[:num_tables], rest[num_tables : 2 * num_tables], rest[2 * num_tables :]
    later = len(layers) // 2
    return Given(constant_outputs, norm, tables, outputs, layers[:later], layers[later:])
