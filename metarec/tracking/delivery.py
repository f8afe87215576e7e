"""Brings journals to the server in a thread of its own, so that nothing else ever waits for the tracker.

What the thread computes is bounded by how long it then rests: a hundred times as long, so that it takes at most a
hundredth of one core from those who train beside it. Its waiting costs them nothing.
"""

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from metarec.errors import MetarecError
from metarec.tracking.outbox import Outbox

SECONDS_BETWEEN_LOOKS = 2.0
REST_PER_COMPUTING = 100.0
"""Seconds of rest for each second of computing."""
MOST_SECONDS_AFTER_FAILURE = 60.0
SECONDS_AT_THE_END = 20.0
"""How long the end of a job may wait for the rest to be sent."""


class Delivery:
    """Sends what comes into some outboxes until it is closed; a `with` block closes it.

    Args:
        outboxes: what to send.
        say: is told when the server fails and when it is back.
        seconds_between_looks: the shortest rest after a look.
    """

    def __init__(
        self,
        outboxes: Sequence[Outbox],
        *,
        say: Callable[[str], None],
        seconds_between_looks: float = SECONDS_BETWEEN_LOOKS,
    ) -> None:
        self._outboxes = tuple(outboxes)
        self._say = say
        self._seconds_between_looks = seconds_between_looks
        self._failures = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="delivery", daemon=True)
        self._thread.start()

    def close(self, seconds: float = SECONDS_AT_THE_END) -> int:
        """Send what is left, waiting at most so many seconds.

        Returns:
            How many lines the server may not have; `jobs.sync` sends them.
        """
        self._closing.set()
        self._thread.join(seconds)
        return sum(len(outbox.waiting()) for outbox in self._outboxes)

    @property
    def computed_seconds(self) -> float:
        """Processor time that the thread has taken so far; only while this is open."""
        assert self._thread.ident is not None
        return time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident))

    def __enter__(self) -> "Delivery":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        left = self.close()
        if left:
            self._say(
                f"warning: {left:,} lines of metrics are not on the MLflow server; python -m jobs.sync sends them"
            )

    def _work(self) -> None:
        rest = 0.0
        while not self._closing.wait(rest):
            rest = self._look()
        self._look()

    def _look(self) -> float:
        """Send what waits; returns how long to rest."""
        began = time.thread_time()
        least = self._send()
        return max(least, REST_PER_COMPUTING * (time.thread_time() - began))

    def _send(self) -> float:
        """Send what waits; returns how long to rest at the least."""
        try:
            for outbox in self._outboxes:
                outbox.send()
        except MetarecError as error:
            self._failures += 1
            if self._failures == 1:
                self._say(f"warning: {error}; the work goes on, and its metrics wait in the run's journal")
            return min(self._seconds_between_looks * 2**self._failures, MOST_SECONDS_AFTER_FAILURE)
        if self._failures:
            self._say("the MLflow server answers again and has all metrics so far")
            self._failures = 0
        return self._seconds_between_looks
