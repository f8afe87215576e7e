"""The model of many workers, by numbers that can be worked out by hand."""

import pytest

from jobs.benchmarks.scaling_model import Link, Step, efficiency, largest_of, link_of, reduce_seconds, step_seconds


def test_a_ring_of_four_passes_every_byte_one_and_a_half_times_in_six_hops():
    """2 · 3 hops of 0.1 s and 2 · 3/4 · 100 bytes at 100 bytes a second."""
    assert reduce_seconds(100, 4, Link(0.1, 100.0), "ring") == pytest.approx(0.6 + 1.5)


def test_halving_and_doubling_needs_as_many_hops_as_twice_the_logarithm():
    """2 · log2 8 = 6 hops, and for 5 workers the 6 of 8."""
    assert reduce_seconds(0, 8, Link(0.1, 1.0), "halving") == pytest.approx(0.6)
    assert reduce_seconds(0, 5, Link(0.1, 1.0), "halving") == pytest.approx(0.6)


def test_one_worker_waits_for_nobody():
    step = Step(compute_seconds=2.0, spread_seconds=1.0, gradient_bytes=100)
    assert step_seconds(step, 1, Link(0.0, 1.0), "ring") == 2.0
    assert efficiency(step, 1, Link(0.0, 1.0), "ring") == 1.0


def test_a_step_takes_as_long_as_its_slowest_worker_and_both_all_reduces():
    """Of 2 the slower is expected at 0.55 standard deviations; 100 + 24 bytes at 124 bytes a second are 1 s."""
    step = Step(compute_seconds=2.0, spread_seconds=1.0, gradient_bytes=100)
    assert step_seconds(step, 2, Link(0.0, 124.0), "ring") == pytest.approx(3.0 + largest_of(2))
    assert largest_of(2) == pytest.approx(0.5642, abs=0.03)


def test_a_link_is_found_again_from_the_times_of_its_all_reduces():
    link = Link(0.01, 500.0)
    small, large = (reduce_seconds(size, 2, link, "ring") for size in (0, 1000))
    assert link_of(small, large, 1000, 2) == pytest.approx(link)


def test_efficiency_falls_with_workers_and_faster_in_a_ring():
    step, link = Step(0.01, 0.001, 1_000_000), Link(50e-6, 1.25e9)
    shares = {way: [efficiency(step, count, link, way) for count in (8, 64, 512)] for way in ("ring", "halving")}
    assert all(1 > first > second > third > 0 for first, second, third in shares.values())
    assert shares["ring"][2] < shares["halving"][2]
