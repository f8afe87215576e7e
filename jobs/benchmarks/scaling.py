"""What it costs that several workers meta-train together: efficiency, the all-reduce, and a model of many machines.

Processes over gloo on the loopback, one thread each, take the steps of the training loop on MeLU's network, all in one
run and in alternating rounds: one of them alone while the others wait; all at the same time, each for itself, which
shows what sharing the machine costs; all together with the gradient reduced by DDP, as `jobs.train` does it; and all
together with one all-reduce of the whole gradient after the backward pass, which cannot overlap with it. What follows
for 8, 64 and 512 workers is a model on paper (`scaling_model.py`).
"""

import json
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from jobs.benchmarks import scaling_model as model
from jobs.benchmarks.meta_batches import make_batch, make_catalogue, make_learner
from metarec.task import TaskBatch, select_tasks
from metarec.train.loop import Optimisation, meta_step
from metarec.train.team import Team

WORKERS = 2
MODELLED = (8, 64, 512)
TORCHOPT_AT_8 = 0.65
"""What TorchOpt reports of its distributed MAML on 8 workers; read, not measured here."""
ALONE, APART, TOGETHER, AFTERWARDS = "alone", "apart", "together", "afterwards"
"""One worker while the others wait; all at once, each for itself; with DDP; with one all-reduce after backward."""


class Case(NamedTuple):
    """What is measured.

    Attributes:
        inner_steps: of MAML.
        alone: tasks of a step of one worker alone.
        each: tasks of a step of each of several workers.
    """

    inner_steps: int
    alone: int
    each: int


class Scale(NamedTuple):
    """How much is measured.

    Attributes:
        cases: one after the other.
        num_batches: different batches of a worker, one after the other in a turn.
        rounds: turns of each way, of which the quickest counts for each batch: other load only ever adds.
    """

    cases: tuple[Case, ...]
    num_batches: int
    rounds: int


FULL = Scale((Case(1, 32, 32), Case(1, 32, 16), Case(5, 32, 32), Case(1, 256, 256)), num_batches=8, rounds=15)
QUICK = Scale((Case(1, 4, 4),), num_batches=2, rounds=1)


def measure(*, quick: bool, threads: int | None) -> dict[str, Any]:
    """The report; `threads` of each worker, 1 unless given."""
    scale = QUICK if quick else FULL
    with socket.socket() as free, tempfile.TemporaryDirectory(prefix="metarec-scaling-") as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        file = Path(folder, "report.json")
        free.close()
        spawn(_work, (port, scale, threads or 1, file), nprocs=WORKERS)  # type: ignore[no-untyped-call]
        cases = json.loads(file.read_text(encoding="utf-8"))
    return {
        "workers": WORKERS,
        "threads_a_worker": threads or 1,
        "cpus": os.cpu_count(),
        "ethernet": model.ETHERNET._asdict(),
        "cases": [{**case, "model": _modelled(case)} for case in cases],
    }


def describe(report: dict[str, Any]) -> list[str]:
    """The report as lines for a terminal."""
    lines = [
        f"{report['workers']} workers on {report['cpus']} CPUs, {report['threads_a_worker']} thread(s) each; tasks a "
        "second, and milliseconds of a step",
        f"{'inner steps':>11}{'tasks a worker':>16}{'1 worker':>10}{'2 workers':>11}{'efficiency':>12}{'apart':>9}"
        f"{'together':>10}{'all-reduce':>12}{'share':>7}",
    ]
    for case in report["cases"]:
        seconds = case["seconds"]
        lines.append(
            f"{case['inner_steps']:>11}{case['each']:>16}{case['rate_alone']:>10,.0f}{case['rate_together']:>11,.0f}"
            f"{case['efficiency']:>12.0%}{1e3 * seconds[APART]:>9.2f}{1e3 * seconds[TOGETHER]:>10.2f}"
            f"{1e3 * case['exposed_seconds']:>12.2f}{case['exposed_share']:>7.1%}"
        )
    case = report["cases"][0]
    lines += [
        "",
        f"the meta-gradient is reduced once a step: {case['gradient_bytes']:,} bytes in {case['num_buckets']} buckets "
        f"of DDP, which alone take {1e3 * case['reduce_seconds']:.2f} ms, and {model.VOTES_BYTES} bytes of votes, "
        f"{1e3 * case['votes_seconds']:.2f} ms; a whole step together with one all-reduce after backward: "
        + ", ".join(f"{1e3 * each['seconds'][AFTERWARDS]:.2f}" for each in report["cases"])
        + " ms",
        "",
        "on paper (not measured): efficiency at so many workers with a core and memory bandwidth of their own, 10 "
        "Gbit/s and 50 us between them,",
        "the same tasks a worker whatever their number, nothing hidden behind backward, waiting for the slowest",
        f"{'inner steps':>11}{'tasks a worker':>16}{'all-reduce':>12}" + "".join(f"{each:>8}" for each in MODELLED),
    ]
    for case in report["cases"]:
        for algorithm in ("ring", "halving"):
            shares = "".join(f"{case['model'][algorithm][str(each)]:>8.0%}" for each in MODELLED)
            lines.append(f"{case['inner_steps']:>11}{case['each']:>16}{algorithm:>12}{shares}")
    lines.append(f"beside it: TorchOpt reports {TORCHOPT_AT_8:.0%} at 8 workers; the limit is 100 %")
    first = report["cases"][0]
    lines.append(
        f"the same model of 2 workers on this machine's loopback, for the first row: {first['model']['here']:.0%}; "
        f"measured {first['efficiency']:.0%}"
    )
    return lines


def _modelled(case: dict[str, Any]) -> dict[str, Any]:
    """The model's efficiencies, by algorithm and workers; `here` is that of this machine with its sharing."""
    spread = case["spread"]
    step = model.Step(case["own_seconds"], spread * case["own_seconds"], case["gradient_bytes"])
    found: dict[str, Any] = {
        algorithm: {str(each): model.efficiency(step, each, model.ETHERNET, algorithm) for each in MODELLED}
        for algorithm in ("ring", "halving")
    }
    loopback = model.link_of(case["votes_seconds"], case["reduce_seconds"], case["gradient_bytes"], WORKERS)
    shared = model.Step(case["seconds"][APART], spread * case["seconds"][APART], case["gradient_bytes"])
    here = model.step_seconds(shared, WORKERS, loopback, "ring")
    return {**found, "loopback": loopback._asdict(), "here": case["own_seconds"] / here}


def _work(rank: int, port: int, scale: Scale, threads: int, file: Path) -> None:
    """One of the workers; rank 0 writes what all have found."""
    torch.set_num_threads(threads)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=WORKERS)
    cases = [_measure_case(case, scale) for case in scale.cases]
    if rank == 0:
        file.write_text(json.dumps(cases), encoding="utf-8")
    dist.destroy_process_group()


def _measure_case(case: Case, scale: Scale) -> dict[str, Any]:
    """Every way in turn, and what follows; the same on each worker."""
    team = Team.current(torch.device("cpu"))
    own, ours, flat = (_Stepper(case, team, how) for how in (None, "ddp", "flat"))
    all_alone, all_each = _batches(case.alone, scale, team), _batches(case.each, scale, team)
    ways: dict[str, Callable[[], list[float]]] = {
        ALONE: lambda: [own.step(batch) for batch in all_alone] if team.rank == 0 else [],
        "own": lambda: [own.step(batch) for batch in all_each] if team.rank == 0 else [],
        APART: lambda: [own.step(batch) for batch in all_each],
        TOGETHER: lambda: [ours.step(batch) for batch in all_each],
        AFTERWARDS: lambda: [flat.step(batch) for batch in all_each],
    }
    gradient, votes = torch.zeros(flat.num_bytes() // 4), torch.zeros(3, dtype=torch.float64)
    ways["reduce"] = lambda: [_seconds_of(dist.all_reduce, gradient) for _ in range(scale.num_batches)]
    ways["votes"] = lambda: [_seconds_of(dist.all_reduce, votes) for _ in range(scale.num_batches)]
    turns = _take_turns(ways, scale.rounds, team)
    return _findings(case, turns, _bucket_bytes(case, team, all_each[0]))


def _take_turns(ways: dict[str, Callable[[], list[float]]], rounds: int, team: Team) -> dict[str, list[list[float]]]:
    """For each way and batch the seconds of its quickest round, of each worker that took part."""
    for do in ways.values():
        team.wait()
        do()
    found: dict[str, list[list[float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, do in ways.items():
            team.wait()
            found[name].append(do())
    everyone = team.from_all({name: [min(each) for each in zip(*turns, strict=True)] for name, turns in found.items()})
    return {name: [each[name] for each in everyone if each[name]] for name in ways}


def _findings(case: Case, turns: dict[str, list[list[float]]], bucket_bytes: list[int]) -> dict[str, Any]:
    """What the seconds say; of several workers the slower one counts."""
    seconds = {name: max(statistics.fmean(each) for each in turns[name]) for name in turns}
    own, (one,) = seconds["own"], turns["own"]
    return {
        **case._asdict(),
        "seconds": {name: seconds[name] for name in (ALONE, APART, TOGETHER, AFTERWARDS)},
        "own_seconds": own,
        "spread": statistics.pstdev(one) / own,
        "rate_alone": case.alone / seconds[ALONE],
        "rate_together": WORKERS * case.each / seconds[TOGETHER],
        "efficiency": case.each * seconds[ALONE] / (case.alone * seconds[TOGETHER]),
        "exposed_seconds": seconds[TOGETHER] - seconds[APART],
        "exposed_share": 1 - seconds[APART] / seconds[TOGETHER],
        "reduce_seconds": seconds["reduce"],
        "votes_seconds": seconds["votes"],
        "gradient_bytes": sum(bucket_bytes),
        "num_buckets": len(bucket_bytes),
    }


def _batches(num_tasks: int, scale: Scale, team: Team) -> list[TaskBatch]:
    """This worker's batches: tasks that no other batch and no other worker has."""
    drawn, _ = make_batch(num_tasks * scale.num_batches * WORKERS)
    first = team.rank * scale.num_batches
    starts = [num_tasks * number for number in range(first, first + scale.num_batches)]
    return [select_tasks(drawn, torch.arange(start, start + num_tasks)) for start in starts]


def _seconds_of(do: Callable[[Tensor], Any], value: Tensor) -> float:
    began = time.perf_counter()
    do(value)
    return time.perf_counter() - began


class _Stepper:
    """Takes the outer steps of the training loop and times them.

    Args:
        case: which learner.
        team: the workers.
        how: gradients are reduced by `ddp`, in one piece after backward (`flat`), or not at all.
    """

    def __init__(self, case: Case, team: Team, how: str | None) -> None:
        learner = make_learner(case.inner_steps)
        self.team, self.how = team, how
        self.learner: nn.Module = team.wrap(learner) if how == "ddp" else learner
        self.catalogue = make_catalogue()
        self.optimisation = Optimisation(torch.optim.AdamW(learner.parameters(), lr=1e-4), 1e-4, "constant", 10.0)

    def num_bytes(self) -> int:
        """Of the whole gradient."""
        return sum(each.numel() * each.element_size() for each in self.learner.parameters())

    def step(self, batch: TaskBatch) -> float:
        """Take one step; its seconds."""
        began = time.perf_counter()
        workers = 1 if self.how is None else self.team.world_size
        num_tasks = workers * batch.num_tasks
        losses = meta_step(self.learner, self.catalogue, batch, num_tasks=num_tasks, world_size=workers)
        if self.how == "flat":
            self._reduce_in_one_piece()
        if self.how is not None:
            self.team.sum(torch.stack([losses.sum().double(), *torch.zeros(2, dtype=torch.float64)])).tolist()
        self.optimisation.step(self.learner.parameters(), 0.0, num_tasks, num_tasks)
        return time.perf_counter() - began

    def _reduce_in_one_piece(self) -> None:
        gradients = [each.grad for each in self.learner.parameters() if each.grad is not None]
        whole = torch.cat([each.flatten() for each in gradients])
        dist.all_reduce(whole)
        for each, mean in zip(gradients, torch.split(whole, [each.numel() for each in gradients]), strict=True):
            each.copy_(mean.view_as(each) / self.team.world_size)


def _bucket_bytes(case: Case, team: Team, batch: TaskBatch) -> list[int]:
    """Bytes of each all-reduce of the meta-gradient in the second step, as the first orders DDP's buckets."""
    stepper, counted = _Stepper(case, team, "ddp"), list[int]()
    assert isinstance(stepper.learner, DistributedDataParallel)
    stepper.learner.register_comm_hook(counted, _counted_reduce)
    for _ in range(2):
        counted.clear()
        stepper.step(batch)
    return counted


def _counted_reduce(counted: list[int], bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """DDP's own mean of a bucket, its bytes written down."""
    counted.append(bucket.buffer().numel() * bucket.buffer().element_size())
    whole = bucket.buffer().div_(dist.get_world_size())
    return dist.all_reduce(whole, async_op=True).get_future().then(lambda done: done.value()[0])
