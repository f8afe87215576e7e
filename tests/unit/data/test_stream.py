"""The stream: what Ray Data hands to a worker is what the schedule says, batch for batch."""

import threading

import numpy as np
import pytest
import torch

from metarec.config import TaskConfig
from metarec.data.cpus import CPUS_PER_READER
from metarec.data.dataset import Part
from metarec.data.histories import task_schema
from metarec.data.negatives import NO_NEGATIVES, Negatives
from metarec.data.parquet import write_parquet
from metarec.data.schedule import Schedule
from metarec.data.stream import (
    RAY_DATA_THREADS,
    BatchBuilder,
    SupportSizes,
    from_bytes,
    read_tasks,
    stream_batches,
    to_bytes,
)

NUM_USERS, USERS_PER_FILE = 23, 10
NEGATIVES = Negatives(np.arange(0, 50, 2), 2)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """23 users in files of 10, 10 and 3; user u has u + 2 ratings, of items u, u + 1, …"""
    import pyarrow as pa

    folder = tmp_path_factory.mktemp("tasks")
    found = []
    for start in range(0, NUM_USERS, USERS_PER_FILE):
        users = range(start, min(start + USERS_PER_FILE, NUM_USERS))
        items = [list(range(user, 2 * user + 2)) for user in users]
        rows = {
            "user": list(users),
            "item": items,
            "timestamp": [[None] * len(each) for each in items],
            "target.rating": [[float(item % 5 + 1) for item in each] for each in items],
        }
        uri = str(folder / f"part-{start:05d}.parquet")
        facts = write_parquet(uri, pa.table(rows, schema=task_schema(["rating"])), rows_per_group=4)
        found.append(Part(uri, len(items), facts["sha256"]))
    return found


def builder(parts, *, rank=0, world_size=1, num_epochs=2):
    schedule = Schedule(NUM_USERS, meta_batch=5, num_epochs=num_epochs, seed=3)
    task = TaskConfig(num_query=2, max_query=4, max_support=6, subsample_support=False)
    return BatchBuilder(parts, schedule, task, 3, NEGATIVES, rank, world_size)


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(leaves(first), leaves(second), strict=True))


def leaves(batch):
    return (*batch.support, *batch.query, batch.task_seed)


def test_tasks_are_read_by_global_index_across_files_in_the_order_asked_for(parts):
    histories = read_tasks(parts, np.array([22, 0, 11, 9]))
    assert histories.user.tolist() == [22, 0, 11, 9]
    assert histories.lengths.tolist() == [24, 2, 13, 11]
    assert histories.item[:3].tolist() == [22, 23, 24]


def test_no_task_at_all_is_an_empty_batch(parts):
    batch = builder(parts, rank=7, world_size=8).build(4)
    assert batch.num_tasks == 0


def test_a_batch_survives_the_trip_through_bytes(parts):
    batch = builder(parts).build(0)
    assert equal(from_bytes(to_bytes(batch)), batch)


def test_ray_data_delivers_every_batch_in_order(ray_cluster, parts):
    worker = builder(parts, rank=1, world_size=2)
    streamed = list(stream_batches(worker, 0))
    assert len(streamed) == worker.schedule.num_steps == 10
    assert all(equal(batch, worker.build(step)) for step, batch in enumerate(streamed))


def test_a_stream_needs_no_more_than_the_share_of_a_cpu_that_a_reader_is_given(ray_cluster, parts):
    import ray

    @ray.remote
    class Worker:
        def ready(self):
            return True

    rest = ray.cluster_resources()["CPU"] - CPUS_PER_READER
    workers = [Worker.options(num_cpus=share).remote() for share in (int(rest), rest - int(rest)) if share]
    assert all(ray.get([worker.ready.remote() for worker in workers], timeout=60))
    try:
        assert len(list(stream_batches(builder(parts), 0))) == 10
    finally:
        for worker in workers:
            ray.kill(worker)


def test_the_workers_together_see_every_user_once_an_epoch(ray_cluster, parts):
    shares = [list(stream_batches(builder(parts, rank=rank, world_size=2), 0)) for rank in range(2)]
    for epoch in range(2):
        batches = [batch for share in shares for batch in share[5 * epoch : 5 * epoch + 5]]
        users = torch.cat([batch.query.user[:, 0] for batch in batches])
        assert sorted(users.tolist()) == list(range(NUM_USERS))


def test_a_stream_that_starts_later_goes_on_where_the_other_would_be(ray_cluster, parts):
    whole, rest = list(stream_batches(builder(parts), 0)), list(stream_batches(builder(parts), 7))
    assert len(rest) == 3
    assert all(equal(a, b) for a, b in zip(whole[7:], rest, strict=True))


def test_a_stream_that_is_at_its_end_gives_nothing(parts):
    assert list(stream_batches(builder(parts), 10)) == []


def test_when_a_stream_is_left_early_no_thread_is_left_that_asks_ray_for_something(ray_cluster, parts):
    before = set(threading.enumerate())
    batches = stream_batches(builder(parts, num_epochs=2000), 0)
    next(batches)
    asking = {t for t in set(threading.enumerate()) - before if t.name.startswith(RAY_DATA_THREADS)}
    assert asking
    batches.close()
    assert not {thread for thread in asking if thread.is_alive()}


def test_a_stream_in_windows_of_like_size_holds_less_padding_and_the_sizes_that_were_foretold(ray_cluster, parts):
    task = TaskConfig(num_query=2, max_query=4, max_support=20)
    sizes = SupportSizes(parts, 3, task)
    padding = []
    for window in (1, 4):
        schedule = Schedule(NUM_USERS, 5, 2, 3, window, sizes)
        batches = list(stream_batches(BatchBuilder(parts, schedule, task, 3, NO_NEGATIVES, 0, 1), 0))
        masks = [batch.support.mask for batch in batches]
        padding.append(1 - sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks))
        for step, mask in enumerate(masks):
            foretold = sizes(schedule.epoch_of(step))[schedule.tasks_of(step)]
            assert mask.sum(1).tolist() == foretold.tolist()
    assert padding[1] < 0.3 < 0.5 < padding[0]
