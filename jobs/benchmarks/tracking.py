"""What a tracker costs a training beside it: healthy, gone, slow and failing, against none at all.

A step is a meta-step of MeLU on 32 tasks with its line in the journal, as a worker takes it; the delivery runs in the
same process, as it does with `train.num_workers=0`, where it could cost the most. Conditions take turns in rounds.
On a busy machine the clock hides so little; the processor time of the thread that sends tells it.
"""

import contextlib
import http.server
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from mlflow import MlflowClient

from jobs.benchmarks.meta_batches import make_batch, make_catalogue, make_learner
from metarec.config import load_config
from metarec.tracking import Delivery, Outbox, Store, open_store
from metarec.train.journal import Journal

NONE, HEALTHY, GONE, SLOW, FAILING = "no tracker", "healthy", "gone", "10 s a call", "answers 500"
FULL = {"rounds": 5, "seconds": 12.0, "num_tasks": 32}
QUICK = {"rounds": 1, "seconds": 0.3, "num_tasks": 4}
SECONDS_OF_SLOW = 10.0


def measure(*, quick: bool, threads: int | None) -> dict[str, Any]:
    """The seconds of a step beside each tracker, and the share that the tracker costs.

    Args:
        quick: in its smallest form.
        threads: of torch; None = as it is.
    """
    if threads:
        torch.set_num_threads(threads)
    scale = QUICK if quick else FULL
    step = make_step(int(scale["num_tasks"]))
    turns: dict[str, list[Turn]] = {}
    with tempfile.TemporaryDirectory(prefix="metarec-tracking-") as folder, all_stores(folder) as stores:
        take_turn(step, f"{folder}/warm-up.jsonl", None, scale["seconds"])
        for number in range(int(scale["rounds"])):
            for name, store in stores.items():
                turn = take_turn(step, f"{folder}/{name}-{number}.jsonl", store, scale["seconds"])
                turns.setdefault(name, []).append(turn)
    alone = turns[NONE]
    return {
        "benchmark": "tracking",
        "threads": torch.get_num_threads(),
        "seconds_a_step": {name: statistics.median(turn.wall for turn in each) for name, each in turns.items()},
        "cost": {name: _cost(each, alone, "wall") for name, each in turns.items()},
        "cost_in_processor_time": {name: _cost(each, alone, "processor") for name, each in turns.items()},
        "sending": {name: statistics.median(turn.sending for turn in each) for name, each in turns.items()},
        "spread_without_tracker": max(turn.wall for turn in alone) / min(turn.wall for turn in alone) - 1,
    }


class Turn(NamedTuple):
    """The seconds of a step, and what sending took.

    Attributes:
        wall: by the clock.
        processor: of processors in the whole process, which others disturb less.
        sending: the share of the turn's time by the clock that the tracker's thread computed.
    """

    wall: float
    processor: float
    sending: float


def _cost(turns: Sequence[Turn], alone: Sequence[Turn], of: str) -> float:
    """The median over rounds of what is added to the turn without a tracker, as a share of it."""
    return statistics.median(
        getattr(mine, of) / getattr(other, of) - 1 for mine, other in zip(turns, alone, strict=True)
    )


def take_turn(step: Callable[[], None], journal: str, store: Store | None, seconds: float) -> Turn:
    """The mean seconds of a step, for so long, beside a delivery to a store."""
    delivery = None
    if store is not None:
        run_id = "0" * 32 if store.experiment_id == "" else store.client.create_run(store.experiment_id).info.run_id
        delivery = Delivery([Outbox(store, run_id, journal)], say=lambda text: None)
    kept, count, began, used = Journal(journal), 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        step()
        kept.write(count, {"train.loss": 1.0, "train.gradient_norm": 1.0, "train.tasks_seen": float(count)})
        count += 1
    elapsed, processor = time.perf_counter() - began, time.process_time() - used
    sending = 0.0 if delivery is None else delivery.computed_seconds / elapsed
    if delivery is not None:
        delivery.close(seconds=0.0)
    return Turn(elapsed / count, processor / count, sending)


def make_step(num_tasks: int) -> Callable[[], None]:
    """A meta-step, outer update included."""
    learner, catalogue, batch = make_learner(1), make_catalogue(), make_batch(num_tasks)[0]
    optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-6)

    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(learner(catalogue, batch).surrogate)
        optimizer.step()

    return step


@contextlib.contextmanager
def all_stores(folder: str) -> Iterator[dict[str, Store | None]]:
    """A store of each kind by name; the healthy one is sqlite, which costs more in this process than a server."""
    healthy = open_store(load_config(overrides=[f'output.root="{folder}"']))
    with socket.create_server(("127.0.0.1", 0)) as free:
        gone = f"http://127.0.0.1:{free.getsockname()[1]}"
    with _answering(SECONDS_OF_SLOW) as slow, _answering(0.0) as failing:
        others = {GONE: gone, SLOW: slow, FAILING: failing}
        stores = {name: Store(uri, MlflowClient(uri), "") for name, uri in others.items()}
        yield {NONE: None, HEALTHY: healthy, **stores}


@contextlib.contextmanager
def _answering(seconds: float) -> Iterator[str]:
    """A server that answers everything with 500 after so many seconds."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(seconds)
            with contextlib.suppress(OSError):  # the caller did not wait
                self.send_error(500)

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def describe(report: dict[str, Any]) -> Iterator[str]:
    """The report as a table in Markdown."""
    yield "| tracker | ms a step | cost | in processor time | computed by the tracker's thread |"
    yield "|---|---|---|---|---|"
    for name, seconds in report["seconds_a_step"].items():
        wall, processor = report["cost"][name], report["cost_in_processor_time"][name]
        sending = report["sending"][name]
        yield f"| {name} | {1000 * seconds:.2f} | {wall:+.1%} | {processor:+.1%} | {sending:.2%} |"
    yield f"rounds without a tracker differ by up to {report['spread_without_tracker']:.1%}"
