"""What it costs that several workers meta-train together: efficiency, the all-reduce, and a model of many machines.

Processes over gloo on the loopback, one thread each, take the steps of the training loop on MeLU's network, all in one
run and in alternating rounds: one of them alone while the others wait; all at the same time, each for itself, which
shows what sharing the machine costs; all together with the gradient reduced by DDP, as `jobs.train` does it; and all
together with one all-reduce of the whole gradient after the backward pass, which cannot overlap with it.

Efficiency by the clock holds for the machine as it is, with all that runs on it. Efficiency with a core for each worker
is put together from what others' load does not touch: CPU seconds of the steps, and all-reduces timed alone, none of
which is taken as hidden behind the backward pass. From the same follows, on paper, what 8, 64 and 512 workers would do
(`scaling_model.py`).
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
from torch._C._distributed_c10d import GradBucket
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
ALONE, OWN, APART, TOGETHER, AFTERWARDS = "alone", "own", "apart", "together", "afterwards"
"""One worker while the others wait, with all tasks and with its share; all at once, each for itself; with DDP; with one
all-reduce after backward."""


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


FULL = Scale((Case(1, 32, 32), Case(1, 32, 16), Case(5, 32, 32), Case(1, 256, 256)), num_batches=8, rounds=9)
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
        f"{'inner steps':>11}{'tasks a worker':>16}{'1 worker':>10}{'2 workers':>11}{'efficiency':>12}{'CPU alone':>11}"
        f"{'together':>10}{'all-reduces':>13}{'share':>7}{'efficiency with a core each':>29}",
    ]
    for case in report["cases"]:
        lines.append(
            f"{case['inner_steps']:>11}{case['each']:>16}{case['rate_alone']:>10,.0f}{case['rate_together']:>11,.0f}"
            f"{case['efficiency']:>12.0%}{1e3 * case['cpu_seconds'][ALONE]:>11.2f}"
            f"{1e3 * case['cpu_seconds'][TOGETHER]:>10.2f}{1e3 * case['moving_seconds']:>13.2f}"
            f"{case['moving_share']:>7.1%}{case['efficiency_with_cores']:>29.0%}"
        )
    case = report["cases"][0]
    lines += [
        "",
        f"the meta-gradient is reduced once a step: {case['gradient_bytes']:,} bytes in {case['num_buckets']} buckets "
        f"of DDP, which alone take {1e3 * case['reduce_seconds']:.2f} ms, and {model.VOTES_BYTES} bytes of votes, "
        f"{1e3 * case['votes_seconds']:.2f} ms; a step by the clock with DDP, and with one all-reduce after "
        "backward: "
        + ", ".join(
            f"{1e3 * each['seconds'][TOGETHER]:.1f} and {1e3 * each['seconds'][AFTERWARDS]:.1f}"
            for each in report["cases"]
        )
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
    return lines


def _modelled(case: dict[str, Any]) -> dict[str, Any]:
    """The model's efficiencies, by algorithm and workers, and the link that this machine's loopback amounts to."""
    compute = case["cpu_seconds"][OWN]
    step = model.Step(compute, case["spread"] * compute, case["gradient_bytes"])
    found: dict[str, Any] = {
        algorithm: {str(each): model.efficiency(step, each, model.ETHERNET, algorithm) for each in MODELLED}
        for algorithm in ("ring", "halving")
    }
    loopback = model.link_of(case["votes_seconds"], case["reduce_seconds"], case["gradient_bytes"], WORKERS)
    return {**found, "loopback": loopback._asdict()}


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
    ways: dict[str, Callable[[], list[Seconds]]] = {
        ALONE: lambda: [own.step(batch) for batch in all_alone] if team.rank == 0 else [],
        OWN: lambda: [own.step(batch) for batch in all_each] if team.rank == 0 else [],
        APART: lambda: [own.step(batch) for batch in all_each],
        TOGETHER: lambda: [ours.step(batch) for batch in all_each],
        AFTERWARDS: lambda: [flat.step(batch) for batch in all_each],
    }
    gradient, votes = torch.zeros(flat.num_bytes() // 4), torch.zeros(3, dtype=torch.float64)
    ways["reduce"] = lambda: [_seconds_of(dist.all_reduce, gradient) for _ in range(scale.num_batches)]
    ways["votes"] = lambda: [_seconds_of(dist.all_reduce, votes) for _ in range(scale.num_batches)]
    turns = _take_turns(ways, scale.rounds, team)
    return _findings(case, turns, _bucket_bytes(case, team, all_each[0]))


def _take_turns(
    ways: dict[str, Callable[[], list["Seconds"]]], rounds: int, team: Team
) -> dict[str, list[list["Seconds"]]]:
    """For each way and batch the seconds of its quickest round, of each worker that took part."""
    for do in ways.values():
        team.wait()
        do()
    found: dict[str, list[list[Seconds]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, do in ways.items():
            team.wait()
            found[name].append(do())
    everyone = team.from_all(
        {name: [_least(each) for each in zip(*turns, strict=True)] for name, turns in found.items()}
    )
    return {name: [each[name] for each in everyone if each[name]] for name in ways}


def _findings(case: Case, turns: dict[str, list[list["Seconds"]]], bucket_bytes: list[int]) -> dict[str, Any]:
    """What the seconds say; of several workers the slower one counts."""
    seconds = {name: max(statistics.fmean(each.clock for each in worker) for worker in turns[name]) for name in turns}
    cpu = {name: max(statistics.fmean(each.cpu for each in worker) for worker in turns[name]) for name in turns}
    moving = seconds["reduce"] + seconds["votes"]
    whole = cpu[TOGETHER] + moving
    return {
        **case._asdict(),
        "seconds": {name: seconds[name] for name in (ALONE, OWN, APART, TOGETHER, AFTERWARDS)},
        "cpu_seconds": {name: cpu[name] for name in (ALONE, OWN, APART, TOGETHER, AFTERWARDS)},
        "spread": statistics.pstdev(each.cpu for each in turns[OWN][0]) / cpu[OWN],
        "rate_alone": case.alone / seconds[ALONE],
        "rate_together": WORKERS * case.each / seconds[TOGETHER],
        "efficiency": case.each * seconds[ALONE] / (case.alone * seconds[TOGETHER]),
        "efficiency_with_cores": case.each * cpu[ALONE] / (case.alone * whole),
        "moving_seconds": moving,
        "moving_share": moving / whole,
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


class Seconds(NamedTuple):
    """What something took.

    Attributes:
        clock: by the clock.
        cpu: of the thread that did it.
    """

    clock: float
    cpu: float


def _least(rounds: tuple[Seconds, ...]) -> Seconds:
    return Seconds(*(min(each) for each in zip(*rounds, strict=True)))


def _seconds_of(do: Callable[..., Any], *arguments: Any) -> Seconds:
    clock, cpu = time.perf_counter(), time.thread_time()
    do(*arguments)
    return Seconds(time.perf_counter() - clock, time.thread_time() - cpu)


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

    def step(self, batch: TaskBatch) -> Seconds:
        """Take one step and time it."""
        return _seconds_of(self._take, batch)

    def _take(self, batch: TaskBatch) -> None:
        workers = 1 if self.how is None else self.team.world_size
        num_tasks = workers * batch.num_tasks
        losses = meta_step(self.learner, self.catalogue, batch, num_tasks=num_tasks, world_size=workers)
        if self.how == "flat":
            self._reduce_in_one_piece()
        if self.how is not None:
            self.team.sum(torch.stack([losses.sum().double(), *torch.zeros(2, dtype=torch.float64)])).tolist()
        self.optimisation.step(0.0, num_tasks, num_tasks)

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


def _counted_reduce(counted: list[int], bucket: GradBucket) -> torch.futures.Future[Tensor]:
    """DDP's own mean of a bucket, its bytes written down."""
    counted.append(bucket.buffer().numel() * bucket.buffer().element_size())
    whole = bucket.buffer().div_(dist.get_world_size())
    return dist.all_reduce(whole, async_op=True).get_future().then(lambda done: done.value()[0])
