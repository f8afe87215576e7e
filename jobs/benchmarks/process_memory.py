"""Work in a process of its own, with the memory of all its descendants."""

import contextlib
import multiprocessing
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

_SECONDS_BETWEEN_SAMPLES = 0.2


class Measured(NamedTuple):
    """What became of the work.

    Attributes:
        value: what it returned.
        peak_bytes: the largest sum of the proportional set sizes (PSS: shared pages count once) of the process and
            all its descendants, sampled five times a second.
    """

    value: Any
    peak_bytes: int


def run_measured(work: Callable[..., Any], *arguments: Any) -> Measured:
    """Run a function of a module in a new process and watch the memory of the tree below it.

    Raises:
        RuntimeError: the process ended without a result.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_result, args=(sender, work, arguments))
    process.start()
    sender.close()
    peak, done = [0], threading.Event()
    assert process.pid is not None
    watch = threading.Thread(target=_watch, args=(process.pid, peak, done))
    watch.start()
    try:
        value = receiver.recv()
    except EOFError as error:
        raise RuntimeError(f"{work.__name__} ended without a result") from error
    finally:
        done.set()
        watch.join()
        process.join()
    return Measured(value, peak[0])


def tree_bytes(root: int) -> int:
    """The proportional set size of a process and its descendants; a process that has ended counts nothing."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    total, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, [])
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def _watch(root: int, peak: list[int], done: threading.Event) -> None:
    while not done.wait(_SECONDS_BETWEEN_SAMPLES):
        peak[0] = max(peak[0], tree_bytes(root))


def _send_result(sender: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    sender.send(work(*arguments))
