"""Steps whose backward pass computes them again, so that memory does not grow with their number.

With w_{j+1} = step(j, w_j, shared), an ordinary backward pass keeps what every step computed. Here only w_0 is kept:
to go back through step j its w_j is computed again from w_0, without a graph, and then that one step with a graph. The
gradient is the same to the last bit of the arithmetic; memory is that of one step, the time grows by k (k - 1) / 2
steps without a graph. `torch.utils.checkpoint` cannot do this around `torch.func.grad`.

Source: recursive checkpointing with a single snapshot, Griewank & Walther, "Evaluating Derivatives" (2008), chapter 12.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Step = Callable[[int, tuple[Tensor, ...], tuple[Tensor, ...]], tuple[Tensor, ...]]
"""(j, w_j, shared) → w_{j+1}, made of these alone: a tensor that it closes over would get no gradient."""


def recomputed_steps(
    step: Step, num_steps: int, weights: Sequence[Tensor], shared: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """The weights after all steps.

    Args:
        step: one step, differentiable once more than the step itself needs.
        num_steps: k.
        weights: w_0.
        shared: everything else that the steps use and that may need a gradient.
    """
    after: tuple[Tensor, ...] = _Recomputed.apply(step, num_steps, len(weights), *weights, *shared)  # type: ignore[no-untyped-call]
    return after


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, step: Step, num_steps: int, num_weights: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.step, ctx.num_steps, ctx.num_weights = step, num_steps, num_weights
        ctx.save_for_backward(*tensors)
        return _run(step, num_steps, tensors[:num_weights], tensors[num_weights:])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        start, shared = ctx.saved_tensors[: ctx.num_weights], ctx.saved_tensors[ctx.num_weights :]
        wanted = ctx.needs_input_grad[3 + ctx.num_weights :]
        leaves = tuple(
            tensor.detach().requires_grad_() if need else tensor for tensor, need in zip(shared, wanted, strict=True)
        )
        totals = [torch.zeros_like(leaf) if need else None for leaf, need in zip(leaves, wanted, strict=True)]
        for number in reversed(range(ctx.num_steps)):
            with torch.no_grad():
                before = _run(ctx.step, number, start, shared)
            gradients, found = _back_through(ctx.step, number, before, leaves, gradients)
            totals = [
                total if total is None or more is None else total + more
                for total, more in zip(totals, found, strict=True)
            ]
        return (None, None, None, *gradients, *totals)


def _run(step: Step, num_steps: int, weights: tuple[Tensor, ...], shared: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    for number in range(num_steps):
        weights = step(number, weights, shared)
    return tuple(weights)


def _back_through(
    step: Step, number: int, before: tuple[Tensor, ...], shared: tuple[Tensor, ...], gradients: Sequence[Tensor]
) -> tuple[tuple[Tensor, ...], list[Tensor | None]]:
    """The gradients of one step by its weights and by what it shares; None where that needs none or plays no part."""
    weights = tuple(tensor.detach().requires_grad_() for tensor in before)
    with torch.enable_grad():
        after = step(number, weights, shared)
    inputs = [*weights, *(tensor for tensor in shared if tensor.requires_grad)]
    found = torch.autograd.grad(after, inputs, gradients, allow_unused=True)
    own = tuple(
        torch.zeros_like(weight) if gradient is None else gradient
        for weight, gradient in zip(weights, found, strict=False)
    )
    rest = iter(found[len(weights) :])
    return own, [next(rest) if tensor.requires_grad else None for tensor in shared]
