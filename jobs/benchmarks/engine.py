"""The engine: second-order meta-training of MeLU's network, in tasks a second, against loops over tasks.

A turn is one meta-batch from parameters to the gradient in `grad`; the outer optimiser is left out for all alike. All
peers take turns in rounds and see the same tasks, and each one's gradient is compared with the engine's.
"""

import platform
import unittest.mock
from collections.abc import Callable, Iterator
from typing import Any

import torch

from jobs.benchmarks.costs import peak_bytes, product_rate, products_of, seconds_in_rounds
from jobs.benchmarks.meta_batches import make_batch, make_catalogue, make_learner
from jobs.benchmarks.task_loops import make_loops
from metarec.algorithms import stacked
from metarec.algorithms.kernel import load_kernel
from metarec.algorithms.meta_learner import MetaLearner
from metarec.contracts import Examples, encode_examples
from metarec.task import Catalogue, TaskBatch

KERNEL, GROUPS, BUCKETS = "metarec", "metarec, no C compiler", "metarec, no kernel"
PADDED, REFERENCE = "vmap, padded", "learn2learn's loop"
"""The engine; what it does on a CPU without a compiler; its generic way, which lifts one task over groups of like
length; the same without groups; the loop that ratios are to."""
FULL: dict[str, Any] = {
    "cases": [(32, 1), (32, 5), (256, 1), (256, 5)],
    "rounds": 5,
    "seconds": 0.3,
    "steps": (1, 5, 20),
}
QUICK: dict[str, Any] = {"cases": [(4, 1)], "rounds": 1, "seconds": 0.0, "steps": (1, 2)}


def measure(*, quick: bool, threads: int | None) -> dict[str, Any]:
    """Speed of each case on each device, and memory.

    Args:
        quick: in its smallest form.
        threads: of torch on the CPU; None = as it is.
    """
    if threads:
        torch.set_num_threads(threads)
    scale = QUICK if quick else FULL
    devices = [torch.device("cpu"), *([torch.device("cuda")] if torch.cuda.is_available() else [])]
    report: dict[str, Any] = {
        "benchmark": "engine",
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "lengths": make_batch(1)[1],
        "compiled": load_kernel(torch.float32) is not None,
        "devices": {},
    }
    for device in devices:
        speed = [_case(size, steps, scale, device) for size, steps in scale["cases"]]
        report["devices"][device.type] = {"speed": speed, "memory": _memory(scale, device)}
    report["devices"].setdefault("cuda", "untested: there is none here")
    return report


def _case(num_tasks: int, num_steps: int, scale: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """One meta-batch size and number of inner steps."""
    learner, catalogue = make_learner(num_steps).to(device), make_catalogue().to(device)
    batch = make_batch(num_tasks)[0].to(device)
    work = {KERNEL: _turn(learner, catalogue, batch)}
    if device.type == "cpu":
        work[GROUPS] = _without_compiler(work[KERNEL])
    work.update(_generic_ways(learner, catalogue, batch))
    missing = {}
    for name, loop in make_loops(learner, catalogue, batch, num_steps).items():
        if isinstance(loop, str):
            missing[name] = loop
        else:
            work[name] = _from_nothing(learner, loop)
    expected = _gradient(learner, work[KERNEL])
    differences = {name: _difference(_gradient(learner, do), expected) for name, do in work.items()}
    seconds = seconds_in_rounds(work, rounds=scale["rounds"], least_seconds=scale["seconds"], device=device)
    operations, rate = products_of(work[KERNEL]) / num_tasks, product_rate(device)
    return {
        "meta_batch": num_tasks,
        "inner_steps": num_steps,
        "support_ratings_a_task": float(batch.support.mask.sum()) / num_tasks,
        "tasks_per_second": {name: num_tasks / value for name, value in seconds.items()},
        "ratio": {name: seconds[REFERENCE] / value for name, value in seconds.items()},
        "gradient_difference": differences,
        "missing": missing,
        "operations_a_task": operations,
        "operations_a_task_of_the_loop": products_of(work[REFERENCE]) / num_tasks,
        "product_rate": rate,
        "share_of_the_machine": operations * num_tasks / seconds[KERNEL] / rate,
    }


def _generic_ways(learner: MetaLearner, catalogue: Catalogue, batch: TaskBatch) -> dict[str, Callable[[], None]]:
    """The inner loop lifted by vmap: as the engine does where it has no kernel, and over the whole padded batch."""

    def one_task(support: Examples, query: Examples, seed: torch.Tensor) -> torch.Tensor:
        return learner.algorithm.meta_loss(learner.model, support, query, seed, 1.0)[0]

    def in_buckets() -> None:
        surrogates, _ = learner.task_by_task(catalogue, batch, 1.0)
        torch.autograd.backward(surrogates.sum())

    def padded() -> None:
        lifted = torch.func.vmap(one_task)
        support, query = (encode_examples(learner.model, catalogue, rows) for rows in (batch.support, batch.query))
        torch.autograd.backward(lifted(support, query, batch.task_seed).sum())

    return {BUCKETS: _from_nothing(learner, in_buckets), PADDED: _from_nothing(learner, padded)}


def _turn(learner: MetaLearner, catalogue: Catalogue, batch: TaskBatch) -> Callable[[], None]:
    return _from_nothing(learner, lambda: torch.autograd.backward(learner(catalogue, batch).surrogate))


def _without_compiler(do: Callable[[], None]) -> Callable[[], None]:
    """The same where there is none."""

    def turn() -> None:
        with unittest.mock.patch.object(stacked, "load_kernel", return_value=None):
            do()

    return turn


def _from_nothing(learner: MetaLearner, do: Callable[[], Any]) -> Callable[[], None]:
    """The same after clearing gradients."""

    def turn() -> None:
        learner.zero_grad()
        do()

    return turn


def _gradient(learner: MetaLearner, do: Callable[[], None]) -> torch.Tensor:
    do()
    return torch.cat([parameter.grad.flatten() for parameter in learner.parameters() if parameter.grad is not None])


def _difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The length of the difference, as a share of the length of what was expected."""
    return float((found - expected).norm() / expected.norm())


def _memory(scale: dict[str, Any], device: torch.device) -> list[dict[str, Any]]:
    """Peak bytes of one meta-batch: over its size, and over the number of inner steps for each way of adapting."""
    catalogue, sizes, steps = make_catalogue().to(device), sorted({size for size, _ in scale["cases"]}), scale["steps"]
    ways: list[tuple[str, tuple[str, ...], bool]] = [
        (KERNEL, (), True),
        (BUCKETS, (), False),
        ("metarec, steps recomputed", ("algorithm.recompute=true",), True),
        ("iMAML", ("algorithm.name=imaml",), True),
    ]
    rows = []
    for name, overrides, by_kernel in ways:
        for size, num_steps in [(sizes[0], number) for number in steps] + [(size, steps[0]) for size in sizes[1:]]:
            learner, batch = make_learner(num_steps, *overrides).to(device), make_batch(size)[0].to(device)
            do = _turn(learner, catalogue, batch) if by_kernel else _generic_ways(learner, catalogue, batch)[BUCKETS]
            rows.append(
                {"way": name, "meta_batch": size, "inner_steps": num_steps, "peak_bytes": peak_bytes(do, device)}
            )
    return rows


def describe(report: dict[str, Any]) -> Iterator[str]:
    """The report as tables in Markdown."""
    compiler = "with a C compiler" if report["compiled"] else "without a C compiler"
    yield f"torch {report['torch']}, {report['threads']} threads, {report['machine']}, {compiler}"
    yield f"lengths: {report['lengths']}"
    for device, found in report["devices"].items():
        yield ""
        if isinstance(found, str):
            yield f"{device}: {found}"
            continue
        yield from _describe_speed(device, found["speed"])
        yield ""
        yield from _describe_memory(found["memory"])


def _describe_speed(device: str, cases: list[dict[str, Any]]) -> Iterator[str]:
    heads = [f"{case['meta_batch']} tasks, {case['inner_steps']} steps" for case in cases]
    yield f"| tasks a second on {device} (ratio) | " + " | ".join(heads) + " |"
    yield "|---" * (len(cases) + 1) + "|"
    for name in cases[0]["tasks_per_second"]:
        cells = (f"{case['tasks_per_second'][name]:,.0f} ({case['ratio'][name]:.1f} ×)" for case in cases)
        yield f"| {name} | " + " | ".join(cells) + " |"
    for name, reason in cases[0]["missing"].items():
        yield f"| {name} | {reason}" + " | " * len(cases) + "|"
    for title, key, form in (
        ("matrix products, operations a task", "operations_a_task", "{:,.0f}"),
        ("the same in the loop", "operations_a_task_of_the_loop", "{:,.0f}"),
        ("share of the machine's rate", "share_of_the_machine", "{:.0%}"),
    ):
        yield f"| {title} | " + " | ".join(form.format(case[key]) for case in cases) + " |"
    worst = max(value for case in cases for value in case["gradient_difference"].values())
    yield f"gradients agree within {worst:.0e} of their length (float32)"


def _describe_memory(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "| peak memory of a meta-batch | tasks | inner steps | MiB |"
    yield "|---|---|---|---|"
    for row in rows:
        yield f"| {row['way']} | {row['meta_batch']} | {row['inner_steps']} | {row['peak_bytes'] / 2**20:,.1f} |"
