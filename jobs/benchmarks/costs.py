"""How the benchmarks measure: time in alternating rounds, products of matrices counted, memory from its log."""

import contextlib
import itertools
import statistics
import time
import unittest.mock
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from metarec.algorithms.kernel import Costs, Kernel

_PRODUCTS = {"mm": 0, "bmm": 0, "addmm": 1, "addmm_": 1, "baddbmm": 1, "baddbmm_": 1}
"""Operations that multiply matrices, and which of their arguments is the first factor."""


def seconds_in_rounds(
    work: Mapping[str, Callable[[], Any]], *, rounds: int, least_seconds: float, device: torch.device
) -> dict[str, float]:
    """The median over rounds of the seconds that each takes; in a round each has its turn, for a while.

    Args:
        work: by name.
        rounds: how many.
        least_seconds: each turn repeats the work until so much time has gone by, and is its mean.
        device: is waited for.
    """
    for do in work.values():
        do()
    turns: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, do in work.items():
            turns[name].append(_mean_seconds(do, least_seconds, device))
    return {name: statistics.median(seconds) for name, seconds in turns.items()}


def _mean_seconds(do: Callable[[], Any], least_seconds: float, device: torch.device) -> float:
    _wait(device)
    began, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - began < least_seconds:
        do()
        count += 1
        _wait(device)
    return (time.perf_counter() - began) / count


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class CountProducts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the floating-point operations of matrix products, 2 m n k each, and of nothing else."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count and do."""
        place = _PRODUCTS.get(function.overloadpacket.__name__)
        if place is not None:
            first, second = args[place], args[place + 1]
            self.operations += 2 * first.numel() * second.shape[-1]
        return function(*args, **(kwargs or {}))


def products_of(do: Callable[[], Any]) -> int:
    """Floating-point operations that go into matrix products, those of the compiled kernel among them."""
    with CountProducts() as counted, _calls_of_the_kernel() as calls:
        do()
    return counted.operations + sum(costs.operations for costs in calls)


@contextlib.contextmanager
def _calls_of_the_kernel() -> Iterator[list[Costs]]:
    """What each call of the compiled kernel costs meanwhile."""
    calls: list[Costs] = []
    call = Kernel.__call__

    def recorded(kernel: Kernel, arrays: Mapping[str, torch.Tensor], **settings: Any) -> Costs:
        calls.append(call(kernel, arrays, **settings))
        return calls[-1]

    with unittest.mock.patch.object(Kernel, "__call__", recorded):
        yield calls


def product_rate(device: torch.device, size: int = 1024) -> float:
    """Floating-point operations a second in the product of two square float32 matrices, the best of several tries."""
    first, second = torch.randn(2, size, size, device=device)
    tries = [_mean_seconds(lambda: first @ second, 0.05, device) for _ in range(5)]
    return float(2 * size**3 / min(tries))


def peak_bytes(do: Callable[[], Any], device: torch.device) -> int:
    """The most bytes that the work holds at a time: of tensors, as torch's log has it, and of the compiled kernel."""
    do()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        do()
        return torch.cuda.max_memory_allocated(device) - before
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with _calls_of_the_kernel() as calls, torch.profiler.profile(activities=cpu, profile_memory=True) as log:
        do()
    events = [event for event in log.profiler.kineto_results.events() if event.name() == "[memory]"]
    sizes = (event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
    return max(itertools.accumulate(sizes, initial=0)) + max((costs.bytes for costs in calls), default=0)
