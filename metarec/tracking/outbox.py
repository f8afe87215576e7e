"""What a journal holds and the server does not: sent line by line, none missing and none twice.

How far the server has it stands beside the journal, in `<journal>.sent`: the run, and the first step that is not known
to have arrived. A call that failed may have arrived all the same, and a process may have died before it wrote the mark,
so after either the server is asked which steps it holds before anything is sent.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence

from mlflow import MlflowClient
from mlflow.entities import Metric

from metarec import storage
from metarec.errors import StorageError
from metarec.tracking.store import Store, talking_to
from metarec.train.journal import JournalLine, read_journal

METRICS_PER_BATCH = 1000
"""As many as MLflow takes in one request."""


class Outbox:
    """The lines of a journal that its run on the server has not got.

    A metric is known by its name and step: a step that a restart repeated is sent once, as it was first measured.

    Args:
        store: where the run is.
        run_id: the run.
        journal: the journal's path or URI; it may come later.
        warn: is told, once, of lines that are damaged and left out.
    """

    def __init__(
        self, store: Store, run_id: str, journal: str, *, warn: Callable[[str], None] = lambda text: None
    ) -> None:
        self._client = store.client
        self._store_uri = store.uri
        self._run_id = run_id
        self._journal = journal
        self._warn: Callable[[str], None] = warn
        self._mark = storage.beside(journal, ".sent")
        self._next_step = self._read_mark()
        self._certain = False

    def waiting(self) -> list[JournalLine]:
        """The lines that are not known to have arrived, in order."""
        damaged: list[str] = []
        lines = read_journal(self._journal, damaged.append)
        if damaged:
            self._warn("; ".join(damaged))
            self._warn = lambda text: None
        return [line for line in lines if line.step >= self._next_step]

    def send(self) -> int:
        """Send what waits.

        Returns:
            How many lines waited; all of them are on the server now.

        Raises:
            TrackingError: the server does not take them; what it has taken is marked.
        """
        lines = self.waiting()
        if not lines:
            return 0
        with talking_to(self._store_uri):
            held = set() if self._certain else held_by(self._client, self._run_id, lines)
            for batch in batches(lines):
                self._certain = False
                metrics = [each for line in batch for each in as_metrics(line) if (each.key, each.step) not in held]
                if metrics:
                    self._client.log_batch(self._run_id, metrics=metrics)
                self._next_step = batch[-1].step + 1
                document = {"run_id": self._run_id, "next_step": self._next_step}
                storage.write_bytes(self._mark, json.dumps(document).encode())
                self._certain = True
        return len(lines)

    def _read_mark(self) -> int:
        """The first step that may not have arrived; 0 where the mark is missing, damaged or of another run."""
        try:
            mark = json.loads(storage.read_bytes(self._mark))
            return int(mark["next_step"]) if mark["run_id"] == self._run_id else 0
        except (StorageError, ValueError, KeyError, TypeError):
            return 0


def held_by(client: MlflowClient, run_id: str, lines: Sequence[JournalLine]) -> set[tuple[str, int]]:
    """Which metrics of these lines the server has, by name and step."""
    names = {metric.key for line in lines for metric in as_metrics(line)}
    return {(name, each.step) for name in sorted(names) for each in client.get_metric_history(run_id, name)}


def batches(lines: Sequence[JournalLine]) -> Iterator[list[JournalLine]]:
    """Whole lines, together as many as one request takes."""
    batch: list[JournalLine] = []
    num_metrics = 0
    for line in lines:
        if batch and num_metrics + len(line.metrics) > METRICS_PER_BATCH:
            yield batch
            batch, num_metrics = [], 0
        batch.append(line)
        num_metrics += len(line.metrics)
    if batch:
        yield batch


def as_metrics(line: JournalLine) -> list[Metric]:
    """A line as MLflow has it; in names `@` becomes `_at_` and other characters that it refuses `_`."""
    stamp = int(1000 * line.time)
    return [
        Metric(re.sub(r"[^\w.\- :/]", "_", name.replace("@", "_at_")), float(value), stamp, line.step)
        for name, value in line.metrics.items()
    ]
