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
