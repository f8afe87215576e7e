"""The journal of a run: one JSON line a step, written where the run lives, read by whoever shows or tracks it."""

import json
import time
from collections.abc import Callable
from typing import NamedTuple

from metarec import storage
from metarec.errors import StorageError

REST_PER_WRITING = 100.0
"""Seconds without a write for each second that one took."""


class JournalLine(NamedTuple):
    """What is known of one step.

    Attributes:
        step: counting from 0.
        time: when it ended, in unix seconds.
        metrics: name → value.
    """

    step: int
    time: float
    metrics: dict[str, float]


class Journal:
    """Collects metrics by step and writes them, whole and atomically, to `metrics.jsonl`.

    A line is `{"step": 24, "time": <unix seconds>, "metrics": {"train.loss": 0.93}}`. A run that goes on from an
    earlier step drops the lines after it, so that each step stands in the journal once.

    Args:
        uri: the file.
        first_step: lines of this step and later ones are dropped.
        flush_seconds: how long lines may wait before they are written; longer where writing takes long, so that it
            costs a training at most a hundredth of its time.
    """

    def __init__(self, uri: str, *, first_step: int = 0, flush_seconds: float = 1.0) -> None:
        self.uri = uri
        self.flush_seconds = flush_seconds
        self._lines = [json.dumps(line._asdict()) for line in read_journal(uri) if line.step < first_step]
        self._written = time.monotonic()
        self._rest = flush_seconds

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Add the metrics of a step; they reach the file at `flush`, or at a call after `flush_seconds`."""
        self._lines.append(json.dumps(JournalLine(step, time.time(), metrics)._asdict()))
        if time.monotonic() - self._written > self._rest:
            self.flush()

    def flush(self) -> None:
        """Write what was added."""
        began = time.monotonic()
        storage.write_bytes(self.uri, "".join(f"{line}\n" for line in self._lines).encode())
        self._written = time.monotonic()
        self._rest = max(self.flush_seconds, REST_PER_WRITING * (self._written - began))


def read_journal(uri: str, warn: Callable[[str], None] = lambda text: None) -> list[JournalLine]:
    """The lines of a journal, in order; none where there is no file yet.

    Args:
        uri: the file.
        warn: is told of each line that is no entry, which is left out; the last one counts once its newline is there.
    """
    try:
        content = storage.read_bytes(uri)
    except StorageError:
        return []
    lines = []
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            lines.append(JournalLine(**json.loads(line)))
        except (ValueError, TypeError):
            warn(f"line {number} of {uri} is no journal entry and is left out")
    return lines
