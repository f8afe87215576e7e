"""The schedule: every task once an epoch, whatever the number of workers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarec.data.schedule import Schedule

counts = st.integers(1, 70)
seeds = st.integers(0, 2**31)


@given(num_tasks=counts, meta_batch=counts, num_epochs=st.integers(1, 4), seed=seeds)
def test_each_epoch_visits_every_task_once(num_tasks, meta_batch, num_epochs, seed):
    schedule = Schedule(num_tasks, meta_batch, num_epochs, seed)
    steps = np.arange(schedule.num_steps).reshape(num_epochs, schedule.steps_per_epoch)
    for epoch in steps:
        visited = np.concatenate([schedule.tasks_of(int(step)) for step in epoch])
        assert sorted(visited) == list(range(num_tasks))


@given(num_tasks=counts, meta_batch=counts, world_size=st.integers(1, 9), seed=seeds, data=st.data())
def test_the_workers_shares_of_a_step_partition_it(num_tasks, meta_batch, world_size, seed, data):
    schedule = Schedule(num_tasks, meta_batch, num_epochs=2, seed=seed)
    step = data.draw(st.integers(0, schedule.num_steps - 1))
    shares = [schedule.share_of(step, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert sorted(np.concatenate(shares)) == sorted(schedule.tasks_of(step))
    assert sum(map(len, shares)) == schedule.size_of(step)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_worker_may_have_no_task():
    schedule = Schedule(num_tasks=3, meta_batch=2, num_epochs=1, seed=0)
    assert [len(schedule.share_of(1, rank=rank, world_size=2)) for rank in (0, 1)] == [1, 0]


@given(seed=seeds, step=st.integers(0, 19))
def test_a_step_does_not_depend_on_what_was_asked_before(seed, step):
    asked_in_order = Schedule(23, 5, 4, seed)
    for earlier in range(step):
        asked_in_order.tasks_of(earlier)
    assert asked_in_order.tasks_of(step).tolist() == Schedule(23, 5, 4, seed).tasks_of(step).tolist()


def test_a_longer_run_starts_with_the_same_steps():
    short, long = Schedule(23, 5, 2, seed=1), Schedule(23, 5, 6, seed=1)
    assert all(short.tasks_of(step).tolist() == long.tasks_of(step).tolist() for step in range(short.num_steps))


@pytest.mark.parametrize(("first", "second"), [((0, 0), (0, 1)), ((0, 0), (1, 0)), ((0, 1), (1, 0))])
def test_epochs_and_seeds_have_orders_of_their_own(first, second):
    """A pair is (seed, epoch); the third case would agree if the two were merely added."""
    orders = [Schedule(50, 50, 2, seed=seed).tasks_of(epoch).tolist() for seed, epoch in (first, second)]
    assert orders[0] != orders[1]


def test_steps_and_epochs_are_counted_as_by_hand():
    """10 tasks by 4 make steps of 4, 4 and 2; three epochs make 9 steps."""
    schedule = Schedule(num_tasks=10, meta_batch=4, num_epochs=3, seed=0)
    assert (schedule.steps_per_epoch, schedule.num_steps) == (3, 9)
    assert [schedule.size_of(step) for step in range(4)] == [4, 4, 2, 4]
    assert [schedule.epoch_of(step) for step in range(9)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [schedule.ends_epoch(step) for step in range(4)] == [False, False, True, False]


def in_windows(num_tasks, meta_batch, window, seed=0, num_epochs=2):
    """Task t has the size t."""
    sizes = np.arange(num_tasks)
    return Schedule(num_tasks, meta_batch, num_epochs, seed, window, lambda epoch: sizes)


@given(num_tasks=counts, meta_batch=counts, window=st.integers(1, 9), seed=seeds)
def test_a_window_of_like_sizes_still_visits_every_task_once_an_epoch(num_tasks, meta_batch, window, seed):
    schedule = in_windows(num_tasks, meta_batch, window, seed)
    steps = np.arange(schedule.num_steps).reshape(2, -1)
    for epoch in steps:
        visited = [schedule.tasks_of(int(step)) for step in epoch]
        assert [len(tasks) for tasks in visited] == [schedule.size_of(int(step)) for step in epoch]
        assert sorted(np.concatenate(visited)) == list(range(num_tasks))


def test_over_a_window_of_the_whole_epoch_each_step_holds_neighbours_by_size_in_random_order_of_steps():
    """40 tasks of sizes 0 to 39 by 5: a step holds 5k to 5k + 4, and k does not simply count up."""
    schedule = in_windows(40, 5, window=8)
    steps = [schedule.tasks_of(step) for step in range(8)]
    assert all(sorted(tasks) == list(range(min(tasks), min(tasks) + 5)) for tasks in steps)
    assert [min(tasks) for tasks in steps] != sorted(min(tasks) for tasks in steps)


def test_what_is_left_of_an_epoch_is_a_random_part_of_all_sizes():
    """7 of 107 tasks are left by 10; the largest ones would be 100 to 106."""
    left = in_windows(107, 10, window=10).tasks_of(10)
    assert len(left) == 7
    assert left.min() < 90


def test_a_window_of_one_step_is_the_order_without_sizes():
    assert in_windows(23, 5, 1).tasks_of(1).tolist() == Schedule(23, 5, 2, seed=0).tasks_of(1).tolist()


def test_sorted_steps_too_do_not_depend_on_what_was_asked_before():
    asked_in_order = in_windows(23, 5, 2, num_epochs=4)
    for earlier in range(17):
        asked_in_order.tasks_of(earlier)
    assert asked_in_order.tasks_of(3).tolist() == in_windows(23, 5, 2, num_epochs=4).tasks_of(3).tolist()
