"""How data-parallel meta-training scales to machines that are not there: a model on paper, with its assumptions.

A step of W workers takes

    T(W) = compute + spread · m(W) + reduce(W, bytes) + reduce(W, votes),

where `compute` is a step of one worker's own tasks and `spread` its standard deviation over batches (all wait for the
slowest: m(W) is the expected largest of W standard normal numbers), and an all-reduce of so many bytes takes

    reduce(W, bytes) = hops(W) · latency + 2 · (W - 1) / W · bytes / bandwidth,

with 2 · (W - 1) hops in a ring and 2 · log2 W by halving and doubling. Each worker has a core and memory bandwidth of
its own and the same number of tasks whatever W is; nothing of the all-reduce is hidden behind the backward pass; tasks
arrive in time. The efficiency is compute / T(W). Source of the costs: Thakur et al., "Optimization of collective
communication operations in MPICH" (2005), section 4.
"""

import math
from statistics import NormalDist
from typing import Literal, NamedTuple

Algorithm = Literal["ring", "halving"]
VOTES_BYTES = 24
"""The three numbers that workers add up in each step: loss, tasks left out, wish to stop."""


class Link(NamedTuple):
    """What stands between two workers.

    Attributes:
        latency_seconds: of a message without content.
        bytes_per_second: in one direction.
    """

    latency_seconds: float
    bytes_per_second: float


ETHERNET = Link(latency_seconds=50e-6, bytes_per_second=1.25e9)
"""10 Gbit/s between machines; assumed, not measured."""


class Step(NamedTuple):
    """What one worker's step costs, as measured.

    Attributes:
        compute_seconds: forward, backward and outer update of its tasks.
        spread_seconds: the standard deviation of it over batches.
        gradient_bytes: of an all-reduce of the meta-gradient.
    """

    compute_seconds: float
    spread_seconds: float
    gradient_bytes: int


def reduce_seconds(num_bytes: int, workers: int, link: Link, algorithm: Algorithm) -> float:
    """Seconds of an all-reduce."""
    hops = 2 * (workers - 1) if algorithm == "ring" else 2 * math.ceil(math.log2(workers))
    return hops * link.latency_seconds + 2 * (workers - 1) / workers * num_bytes / link.bytes_per_second


def link_of(small_seconds: float, large_seconds: float, large_bytes: int, workers: int) -> Link:
    """The link that makes the model's ring take as long as an all-reduce of next to nothing and a large one took."""
    latency = small_seconds / (2 * (workers - 1))
    moving = max(large_seconds - small_seconds, 1e-9)
    return Link(latency, 2 * (workers - 1) / workers * large_bytes / moving)


def largest_of(workers: int) -> float:
    """The expected largest of so many standard normal numbers, by Blom's approximation (1958)."""
    return 0.0 if workers == 1 else NormalDist().inv_cdf((workers - 0.375) / (workers + 0.25))


def step_seconds(step: Step, workers: int, link: Link, algorithm: Algorithm) -> float:
    """T(W)."""
    moved = sum(reduce_seconds(size, workers, link, algorithm) for size in (step.gradient_bytes, VOTES_BYTES))
    return step.compute_seconds + step.spread_seconds * largest_of(workers) + moved


def efficiency(step: Step, workers: int, link: Link, algorithm: Algorithm) -> float:
    """The tasks per second of W workers as a share of W times those of one."""
    return step.compute_seconds / step_seconds(step, workers, link, algorithm)
