"""What steps lose to another thread, on steps whose losses are known."""

import itertools
import threading
import time

import numpy as np
import pytest

from jobs.benchmarks.touched_steps import Steps, lost_share, num_bursts, run_steps


def test_steps_that_are_alike_show_just_what_touched_ones_took_longer():
    """100 steps of 1 s and 4 touched ones, in rows of 3 and 1, of 1.5 s: 2 s of 106 are lost, and chance takes none."""
    seconds, touched = np.ones(104), np.zeros(104, bool)
    touched[[50, 51, 52, 90]] = True
    seconds[touched] = 1.5
    steps = Steps(seconds, touched)
    assert num_bursts(steps) == 2
    assert lost_share(steps) == pytest.approx((2 / 106, 2 / 106, 2 / 106))


def test_where_the_other_thread_never_computed_nothing_is_lost():
    assert lost_share(Steps(np.arange(1.0, 51.0), np.zeros(50, bool))) == (0.0, 0.0, 0.0)


def test_a_machine_that_gets_slower_costs_nothing():
    """Steps of rising length lie in the middle of their neighbours."""
    touched = np.zeros(1000, bool)
    touched[100:900:100] = True
    assert lost_share(Steps(np.linspace(1, 2, 1000), touched)).value == pytest.approx(0, abs=1e-4)


def test_the_interval_holds_what_was_planted_in_nearly_all_runs():
    """Step lengths of a busy machine, and 50 touched steps in rows of 2 that took 20 % of a mean step longer."""
    held, width = 0, []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        seconds, touched = rng.gamma(4.0, 0.25, size=5000), np.zeros(5000, bool)
        touched[100:4900:192] = touched[101:4901:192] = True
        planted = 0.2 * touched.sum() / (seconds.sum() + 0.2 * touched.sum())
        share = lost_share(Steps(seconds + 0.2 * touched, touched))
        held += share.low <= planted <= share.high
        width.append(share.high - share.low)
    assert held >= 34
    assert max(width) < 0.01


def test_a_step_is_touched_when_the_other_thread_computes_in_it():
    clock, taken = itertools.chain([0.0, 0.0, 0.0], itertools.repeat(0.5)), []
    steps = run_steps(lambda: time.sleep(0.01), taken.append, lambda: next(clock), 0.3)
    assert steps.touched[:3].tolist() == [False, True, False]
    assert taken == list(range(len(steps.seconds)))


def test_a_step_is_what_it_computes_and_waits_for_threads_and_not_what_comes_between():
    """20 ms of computing and 50 of waiting for another thread at least, and no more than the clock says."""
    go, done, clock = threading.Semaphore(0), threading.Semaphore(0), []

    def work():
        while go.acquire():
            time.sleep(0.05)
            done.release()

    threading.Thread(target=work, daemon=True).start()

    def step():
        began, end = time.perf_counter(), time.thread_time() + 0.02
        while time.thread_time() < end:
            pass
        go.release()
        done.acquire()
        clock.append(time.perf_counter() - began)

    steps = run_steps(step, lambda number: time.sleep(0.03), lambda: 0.0, 0.5)
    assert steps.seconds.min() > 0.069
    assert (steps.seconds < np.array(clock) + 0.001).all()
