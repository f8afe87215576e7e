"""The query losses of tasks and their gradient by the compiled kernel, which takes real support rows alone."""

import itertools
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metarec.algorithms.kernel import Kernel
from metarec.algorithms.loss_inputs import Formed, Given, Plan, add_rows, look_up, look_up_sum


class Packed(NamedTuple):
    """Real support rows, one task's behind the other's, and behind them the query rows.

    Attributes:
        starts: the first support row of each task, and behind the last task their number.
        kept: where the support rows stand among those with padding, all tasks' in a row.
        places: for each table which of its vectors a row has.
    """

    starts: Int[Tensor, " starts"]
    kept: Int[Tensor, " packed"]
    places: list[Int[Tensor, " rows"]]


def form_packed(kernel: Kernel, plan: Plan, given: Given, rates: Float[Tensor, "steps rates"], learned: bool) -> Formed:
    """The losses and their gradient.

    Args:
        kernel: for the type that all numbers have.
        plan, given: of the batch.
        rates: of each step.
        learned: whether the gradient by them is wanted.
    """
    packed = _pack(plan)
    inputs, outputs = look_up(given.tables, packed.places), look_up_sum(given.outputs, packed.places)
    layers = [*itertools.chain.from_iterable(zip(given.weights, given.biases, strict=True))]
    shared = torch.cat([tensor.flatten() for tensor in (rates.to(inputs.dtype), *layers)])
    _, num_query, num_heads = plan.query_rest.shape
    cuts = _share_out(packed.starts, num_query)
    by = {
        "losses": torch.empty_like(given.norm),
        "by_inputs": torch.empty_like(inputs),
        "by_outputs": torch.empty_like(outputs),
        "by_constant_outputs": torch.empty_like(given.constant_outputs, memory_format=torch.contiguous_format),
        "by_norm": torch.empty_like(given.norm),
        "by_shared": shared.new_zeros(len(cuts) - 1, len(shared)),
    }
    kernel(
        {
            "widths": _widths(given, num_heads),
            "cuts": cuts,
            "starts": packed.starts,
            "inputs": inputs,
            "outputs": outputs,
            "constant_outputs": given.constant_outputs.contiguous(),
            "norm": given.norm,
            "shared": shared,
            "support_rest": plan.support_rest.flatten(0, 1)[packed.kept],
            "slope": plan.slope.flatten(0, 1)[packed.kept],
            "query_rest": plan.query_rest.contiguous(),
            "query_weight": plan.query_weight.contiguous(),
            "query_observed": plan.query_observed.contiguous(),
            "absolute": plan.absolute,
            **by,
        },
        num_steps=len(rates),
        first_order=plan.first_order,
        wants_gradient=plan.wants_gradient,
    )
    sizes = [rates.numel(), *(layer.numel() for layer in layers)]
    by_rates, *by_layers = torch.split(by["by_shared"].sum(0), sizes)
    found = [part.view_as(layer) for part, layer in zip(by_layers, layers, strict=True)]
    tables, table_outputs = ([torch.zeros_like(table) for table in side] for side in (given.tables, given.outputs))
    gradient = Given(by["by_constant_outputs"], by["by_norm"], tables, table_outputs, found[::2], found[1::2])
    if plan.wants_gradient:
        add_rows(gradient, packed.places, by["by_inputs"], by["by_outputs"])
    return Formed(by["losses"], gradient, by_rates.view_as(rates) if learned else None)


def _pack(plan: Plan) -> Packed:
    num_tasks, num_rows = plan.mask.shape
    starts = torch.zeros(num_tasks + 1, dtype=torch.long)
    torch.cumsum(plan.mask.sum(1), 0, out=starts[1:])
    kept = plan.mask.flatten().nonzero().squeeze(1)
    places = [torch.cat([place[:, :num_rows].flatten()[kept], place[:, num_rows:].flatten()]) for place in plan.places]
    return Packed(starts, kept, places)


def _share_out(starts: Int[Tensor, " starts"], num_query: int) -> Int[Tensor, " cuts"]:
    """The first task of each thread, and behind the last thread the number of tasks: about as many rows for each."""
    num_tasks = len(starts) - 1
    rows = starts + num_query * torch.arange(num_tasks + 1)
    num_threads = min(torch.get_num_threads(), num_tasks)
    cuts = torch.searchsorted(rows, torch.arange(num_threads + 1) * int(rows[-1]) // num_threads)
    cuts[-1] = num_tasks  # the last tasks may have no rows
    return cuts


def _widths(given: Given, num_heads: int) -> Int[Tensor, " layers"]:
    """How much each layer gives, the first one without the direct path."""
    first = given.weights[0].shape[1] if given.weights else num_heads
    return torch.tensor([first, *(len(weight) for weight in given.weights)])
