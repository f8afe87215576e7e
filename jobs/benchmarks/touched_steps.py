"""What steps lose to another thread of their process: those in which it computed, beside their neighbours.

A thread that rests most of the time can cost others only while it computes. So each step is measured, it is noted
whether the other thread computed meanwhile, and what such a step took longer than the untouched steps around it is what
it lost. All of this is within one run: nothing has to be the same in two of them, which it is not on a busy machine.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

NEIGHBOURS = 20
"""Untouched steps on either side that a touched one is compared with."""
NUM_RESAMPLES = 2000


class Steps(NamedTuple):
    """Some steps in a row.

    Attributes:
        seconds: of each by the clock, less what it waited for a core: computing, and waiting for other threads.
        touched: whether the other thread computed meanwhile.
    """

    seconds: Float[np.ndarray, " steps"]
    touched: Bool[np.ndarray, " steps"]


class Share(NamedTuple):
    """A share of the steps' seconds, with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def run_steps(
    step: Callable[[], None], between: Callable[[int], None], computed: Callable[[], float], seconds: float
) -> Steps:
    """Take steps for so long.

    Args:
        step: is measured.
        between: is called after each step with its number, and is not measured.
        computed: the processor time of the other thread so far.
        seconds: how long, by the clock.
    """
    lengths, touched = list[float](), list[bool]()
    end = time.perf_counter() + seconds
    with _waited_for_a_core() as waited:
        while time.perf_counter() < end:
            before, began, waiting = computed(), time.perf_counter(), waited()
            step()
            lengths.append(time.perf_counter() - began - (waited() - waiting))
            touched.append(computed() > before)
            between(len(lengths) - 1)
    return Steps(np.array(lengths), np.array(touched))


def lost_share(steps: Steps) -> Share:
    """What touched steps took longer than their untouched neighbours, as a share of the seconds of all steps.

    The interval is by what would have been found where nothing was lost: as many untouched steps, in rows of the same
    lengths at random places of the run, beside their neighbours.
    """
    untouched = np.flatnonzero(~steps.touched)
    bursts, usual = _bursts(steps.touched), steps.seconds[untouched]
    places = [int(np.searchsorted(untouched, burst[0])) for burst in bursts]
    losses = [
        float((steps.seconds[burst] - _around(usual, place, place)).sum())
        for burst, place in zip(bursts, places, strict=True)
    ]
    unusual = np.array([usual[place] - _around(usual, place, place + 1) for place in range(len(usual))])
    sums, rng, chance = np.concatenate([[0.0], np.cumsum(unusual)]), np.random.default_rng(0), np.zeros(NUM_RESAMPLES)
    for burst in bursts:
        starts = rng.integers(0, max(len(usual) - len(burst), 0) + 1, size=NUM_RESAMPLES)
        chance += sums[np.minimum(starts + len(burst), len(usual))] - sums[starts]
    low, high = np.percentile(chance, [2.5, 97.5])
    total, lost = float(steps.seconds.sum()), float(np.sum(losses))
    return Share(lost / total, (lost - float(high)) / total, (lost - float(low)) / total)


def _around(seconds: Float[np.ndarray, " steps"], start: int, stop: int) -> float:
    """The mean of the neighbours of some steps, which are left out."""
    before, after = seconds[max(start - NEIGHBOURS, 0) : start], seconds[stop : stop + NEIGHBOURS]
    return float(np.concatenate([before, after]).mean())


def num_bursts(steps: Steps) -> int:
    """How often the other thread set to work."""
    return len(_bursts(steps.touched))


def _bursts(touched: Bool[np.ndarray, " steps"]) -> list[np.ndarray]:
    """The numbers of touched steps, those of one row together."""
    numbers = np.flatnonzero(touched)
    return [row for row in np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1) if len(row)]


@contextlib.contextmanager
def _waited_for_a_core() -> Iterator[Callable[[], float]]:
    """A clock of the seconds that this thread was ready and other processes had the cores, where Linux tells them."""
    try:
        file = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
    except OSError:
        yield lambda: 0.0
        return
    try:
        yield lambda: int(os.pread(file, 100, 0).split()[1]) / 1e9
    finally:
        os.close(file)
