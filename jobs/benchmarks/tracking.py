"""What a tracker costs a training beside it: an embedded one, and a server that is well, gone, slow or failing.

A step is a meta-step of MeLU on 32 tasks, and its line goes to the journal, as a worker takes it; the delivery runs in
the same process, as it does with `train.num_workers=0`, where it could cost the most, with the settings that a job
has: it has met the server before that breaks. How the cost is found is what `touched_steps` says. Steps run on one
thread, so that none waits for another but the tracker's. A thread that computes 1 % of the time in place of a tracker
shows whether such a cost can be seen.
"""

import contextlib
import functools
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from jobs.benchmarks.breakable_server import BreakableServer, Fault
from jobs.benchmarks.meta_batches import make_batch, make_catalogue, make_learner
from jobs.benchmarks.touched_steps import Steps, lost_share, num_bursts, run_steps
from metarec.config import load_config
from metarec.tracking import Delivery, Outbox, Store, connect, open_store
from metarec.train.journal import Journal

EMBEDDED, KNOWN = "sqlite in the process", "a thread that computes 1 %"
SERVERS: dict[str, Fault | None] = {
    "a server": None,
    "a server that is gone": "gone",
    "a server that takes 10 s a call": "slow",
    "a server that answers 500": "failing",
}
FULL = {"seconds": 90.0, "num_tasks": 32, "seconds_of_slow": 10.0}
QUICK = {"seconds": 2.5, "num_tasks": 4, "seconds_of_slow": 0.5}
SECONDS_TO_END = 600.0
SECONDS_OF_A_BURST = 0.02

Clock = Callable[[], float]


def measure(*, quick: bool, threads: int | None) -> dict[str, Any]:
    """What the tracker's thread computes beside steps, and what they lose to it, for each kind of tracker.

    Args:
        quick: in its smallest form.
        threads: of torch; None = 1.
    """
    torch.set_num_threads(threads or 1)
    scale = QUICK if quick else FULL
    step = make_step(int(scale["num_tasks"]))
    for _ in range(5):
        step()
    with tempfile.TemporaryDirectory(prefix="metarec-tracking-") as folder:
        beside = dict(_all_beside(folder, scale["seconds_of_slow"]))
        cases = {name: _case(step, f"{folder}/{name}.jsonl", other, scale) for name, other in beside.items()}
    return {"benchmark": "tracking", "threads": torch.get_num_threads(), **scale, "cases": cases}


Beside = Callable[[str], contextlib.AbstractContextManager[Clock]]
"""Something that works beside steps whose journal it is given, for as long as a block; its processor time so far."""


def _case(step: Callable[[], None], journal: str, beside: Beside, scale: dict[str, float]) -> dict[str, Any]:
    kept = Journal(journal)
    with beside(journal) as computed:
        began, at_first = time.perf_counter(), computed()
        steps = run_steps(step, lambda number: _write(kept, number), computed, scale["seconds"])
        share = (computed() - at_first) / (time.perf_counter() - began)
    return _figures(steps, share)


def _figures(steps: Steps, share: float) -> dict[str, Any]:
    return {
        "num_steps": len(steps.seconds),
        "num_bursts": num_bursts(steps),
        "num_touched": int(steps.touched.sum()),
        "seconds_a_step": float(steps.seconds.mean()),
        "computed": share,
        "lost": lost_share(steps)._asdict(),
    }


def _write(journal: Journal, step: int) -> None:
    journal.write(step, {"train.loss": 1.0, "train.gradient_norm": 1.0, "train.tasks_seen": float(step)})


def make_step(num_tasks: int) -> Callable[[], None]:
    """A meta-step, outer update included."""
    learner, catalogue, batch = make_learner(1), make_catalogue(), make_batch(num_tasks)[0]
    optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-6)

    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(learner(catalogue, batch).surrogate)
        optimizer.step()

    return step


def _all_beside(folder: str, seconds_of_slow: float) -> Iterator[tuple[str, Beside]]:
    yield KNOWN, _beside_computing
    yield EMBEDDED, functools.partial(_beside_sqlite, folder)
    for name, fault in SERVERS.items():
        yield name, functools.partial(_beside_server, fault, seconds_of_slow)


@contextlib.contextmanager
def _beside_sqlite(folder: str, journal: str) -> Iterator[Clock]:
    store = open_store(load_config(overrides=[f'output.root="{folder}"']))
    run_id = store.client.create_run(store.experiment_id).info.run_id
    with _delivering(store, run_id, journal) as clock:
        yield clock


@contextlib.contextmanager
def _beside_server(fault: Fault | None, seconds_of_slow: float, journal: str) -> Iterator[Clock]:
    server = BreakableServer(seconds_of_slow)
    store = Store(server.uri, connect(server.uri), "0")
    if fault is not None:
        server.break_down(fault)
    with contextlib.closing(server), _delivering(store, "0" * 32, journal) as clock:
        yield clock
        server.mend()  # so that the delivery comes to an end


@contextlib.contextmanager
def _delivering(store: Store, run_id: str, journal: str) -> Iterator[Clock]:
    """Nothing of it is left after the block, which would disturb the next."""
    delivery = Delivery([Outbox(store, run_id, journal)], say=lambda text: None)
    yield lambda: delivery.computed_seconds
    left = delivery.close(SECONDS_TO_END)
    assert left == 0, f"{left} lines were not sent to a server that answers"


@contextlib.contextmanager
def _beside_computing(journal: str) -> Iterator[Clock]:
    """A thread that computes a hundredth of the time, on nothing."""
    del journal
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(99 * SECONDS_OF_A_BURST):
            end = time.thread_time() + SECONDS_OF_A_BURST
            while time.thread_time() < end:
                pass

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert thread.ident is not None
    clock = time.pthread_getcpuclockid(thread.ident)
    yield lambda: time.clock_gettime(clock)
    stop.set()
    thread.join()


def describe(report: dict[str, Any]) -> Iterator[str]:
    """The report as a table in Markdown."""
    yield f"steps for {report['seconds']:g} s beside each, on {report['threads']} thread(s)"
    yield "| beside | ms a step | set to work | in steps | computed by that thread | lost by steps [95 %] |"
    yield "|---|---|---|---|---|---|"
    for name, case in report["cases"].items():
        lost = case["lost"]
        cells = [
            f"{1000 * case['seconds_a_step']:.2f}",
            f"{case['num_bursts']} times",
            f"{case['num_touched']} of {case['num_steps']:,}",
            f"{case['computed']:.2%}",
            f"{lost['value']:+.2%} [{lost['low']:+.2%}, {lost['high']:+.2%}]",
        ]
        yield f"| {name} | {' | '.join(cells)} |"
