"""The stream of task batches that one worker trains on, executed by Ray Data.

The schedule says which tasks a step has; Ray Data turns steps into batches: read the users' histories, draw support and
query, pad, and hand the tensors over as one row a step. The stream spans all epochs, so that its start-up is paid once,
and can start at any step. Ray's own splitting is not used: it drops rows to make shards equal.
"""

import contextlib
import functools
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import ray.data
import safetensors.torch
import torch
from jaxtyping import Int64

from metarec.config import TaskConfig
from metarec.data.cpus import CPUS_PER_READER
from metarec.data.dataset import Part, read_part
from metarec.data.histories import Histories, concatenate
from metarec.data.negatives import Negatives
from metarec.data.schedule import Schedule
from metarec.data.tasks import draw_training_tasks, training_support_sizes
from metarec.task import Rows, TaskBatch

STEPS_PER_BLOCK = 16
RAY_DATA_THREADS = ("iter_threaded", "StreamingExecutor", "ray-data")
"""How the names of the threads start that ask Ray for something for a stream, in the process that reads it."""
SECONDS_TO_END = 10.0


@dataclass(frozen=True)
class BatchBuilder:
    """Turns steps of the schedule into one worker's task batches; runs inside Ray Data.

    Attributes:
        parts: the training split's files, in order.
        schedule: which tasks each step has.
        task: how a history becomes a task.
        seed: where the draws of support and query start.
        negatives: what each row of a task is followed by.
        rank: this worker, from 0.
        world_size: workers.
        in_time: whether a support is what came first.
    """

    parts: Sequence[Part]
    schedule: Schedule
    task: TaskConfig
    seed: int
    negatives: Negatives
    rank: int
    world_size: int
    in_time: bool = False

    def build(self, step: int) -> TaskBatch:
        """The worker's tasks of one step; may be none."""
        indices = self.schedule.share_of(step, rank=self.rank, world_size=self.world_size)
        return draw_training_tasks(
            read_tasks(self.parts, indices),
            seed=self.seed,
            epoch=self.schedule.epoch_of(step),
            task=self.task,
            negatives=self.negatives,
            in_time=self.in_time,
        )


@dataclass(frozen=True)
class SupportSizes:
    """How many support rows each training task has in an epoch; reads the files where it is asked, once a process.

    Attributes:
        parts: the training split's files, in order.
        seed: where the draws of support and query start.
        task: how a history becomes a task.
    """

    parts: Sequence[Part]
    seed: int
    task: TaskConfig

    def __call__(self, epoch: int) -> Int64[np.ndarray, " tasks"]:
        """By the task's index."""
        histories = [_cached_part(part) for part in self.parts]
        return np.concatenate(
            [
                training_support_sizes(each.user, each.lengths, seed=self.seed, epoch=epoch, task=self.task)
                for each in histories
            ]
        )


class Reader:
    """A process of Ray Data that stays for the whole stream, so that it imports and reads the files once.

    Args:
        builder: what turns a step into this worker's batch.
    """

    def __init__(self, builder: BatchBuilder) -> None:
        self.builder = builder

    def __call__(self, steps: pa.Table) -> pa.Table:
        """One row a step: its number and its batch as safetensors."""
        numbers = steps["step"].to_pylist()
        batches = [to_bytes(self.builder.build(step)) for step in numbers]
        return pa.table({"step": pa.array(numbers, pa.int64()), "batch": pa.array(batches, pa.large_binary())})


def stream_batches(builder: BatchBuilder, first_step: int) -> Generator[TaskBatch]:
    """One batch for each step from `first_step` to the end of the schedule, in order.

    Close it when it is left early: Ray ends the process, with code 1, if one of a stream's threads still asks for
    something after `ray.shutdown`.

    Args:
        builder: what turns a step into this worker's batch.
        first_step: where to start; 0 in a new run.
    """
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    due = np.arange(first_step, builder.schedule.num_steps)
    blocks = [pa.table({"step": due[start : start + STEPS_PER_BLOCK]}) for start in range(0, len(due), STEPS_PER_BLOCK)]
    if not blocks:
        return
    # not from_arrow, which asks for a whole CPU to look at each block and waits for ever where workers left less
    batches = ray.data.from_blocks(blocks).map_batches(
        Reader,
        fn_constructor_args=(builder,),
        batch_format="pyarrow",
        batch_size=STEPS_PER_BLOCK,
        num_cpus=CPUS_PER_READER,
        concurrency=1,  # one process builds batches faster than a worker trains on them
    )
    expected = first_step
    with _tables(batches) as tables:
        for table in tables:
            for step, batch in zip(table["step"].to_pylist(), table["batch"], strict=True):
                assert step == expected, f"step {step} arrived where step {expected} was due"
                expected += 1
                yield from_bytes(batch.as_buffer().to_pybytes())
    assert expected == builder.schedule.num_steps, f"the stream ended before step {expected}"


@contextlib.contextmanager
def _tables(batches: ray.data.Dataset) -> Iterator[Iterator[pa.Table]]:
    """A dataset's blocks; when they are left, Ray Data's threads have ended."""
    others = set(threading.enumerate())
    tables = iter(batches.iter_batches(batch_size=None, batch_format="pyarrow"))
    try:
        with contextlib.closing(tables):
            yield tables
    finally:
        del tables
        for thread in set(threading.enumerate()) - others:
            if thread.name.startswith(RAY_DATA_THREADS):
                thread.join(SECONDS_TO_END)


def read_tasks(parts: Sequence[Part], indices: Int64[np.ndarray, " tasks"]) -> Histories:
    """The histories with the given global indices, in that order; files stay in memory between calls."""
    ends = np.cumsum([part.num_tasks for part in parts])
    owner = np.searchsorted(ends, indices, side="right")
    by_part = np.argsort(owner, kind="stable")
    taken = []
    for index in np.unique(owner) if len(indices) else [0]:
        mine = indices[by_part[owner[by_part] == index]]
        taken.append(_cached_part(parts[index]).take(mine - ends[index] + parts[index].num_tasks))
    return taken[0] if len(taken) == 1 else concatenate(taken).take(np.argsort(by_part))


@functools.cache
def _cached_part(part: Part) -> Histories:
    return read_part(part)


def to_bytes(batch: TaskBatch) -> bytes:
    """A batch as safetensors, to travel through Arrow."""
    tensors = {f"support.{name}": leaf for name, leaf in batch.support._asdict().items()}
    tensors |= {f"query.{name}": leaf for name, leaf in batch.query._asdict().items()}
    tensors["task_seed"] = batch.task_seed
    return safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()})


def from_bytes(content: bytes) -> TaskBatch:
    """The inverse of `to_bytes`."""
    tensors = safetensors.torch.load(content)

    def rows(prefix: str) -> Rows:
        return Rows(**{name: tensors[f"{prefix}.{name}"] for name in Rows._fields})

    return TaskBatch(rows("support"), rows("query"), torch.as_tensor(tensors["task_seed"]))
