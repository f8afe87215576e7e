"""How fast tasks arrive at the workers, and how much of a batch is padding.

Tasks per second at which 1 and 2 workers take their batches off the stream, without training on them, beside one
process that reads the same Parquet files with plain pyarrow and draws, pads and builds nothing, and beside what the
engine consumes: outer steps of the same config, in one process and one thread, as many times as there are workers. The
first epoch pays for starting Ray Data, later ones must not; they are taken together, for the stream runs ahead of who
reads it. Padding is that of supports, with and without tasks sorted by size over some steps (`train.size_window`): of
whole batches, and of the groups of like length in which they are worked on.
"""

import statistics
import tempfile
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset
import ray
import torch

from jobs import command
from metarec import storage
from metarec.algorithms.buckets import bucket_tasks
from metarec.algorithms.stacked import OVERHEAD
from metarec.build import build_learner
from metarec.config import Config, load_config, with_values
from metarec.data.dataset import Dataset
from metarec.data.negatives import NO_NEGATIVES
from metarec.task import TaskBatch

if TYPE_CHECKING:
    from metarec.data.stream import BatchBuilder

MOST_PADDING_STEPS = 200
NUM_EPOCHS = 10
WINDOWS = (1, 32)
ENGINE_STEPS = 10
"""Different steps of which the engine's time is taken, the median of some rounds over all of them."""
ENGINE_ROUNDS = 5


def measure(*, quick: bool, threads: int | None) -> dict[str, Any]:
    """The report, of MovieLens-1M; `quick` of the built-in ratings, `threads` as they are."""
    del threads
    return run(()) if quick else run()


def run(settings: tuple[str, ...] = ("data.source=movielens-1m",)) -> dict[str, Any]:
    """Measure on the dataset of a config, MovieLens-1M unless another is given."""
    with tempfile.TemporaryDirectory(prefix="metarec-stream-") as root, command.ray_session():
        from metarec.data.prepare import prepare

        config = load_config(None, [*settings, f"output.root={root}"])
        dataset = prepare(config, progress=command.say)
        streams = []
        for meta_batch in (32, 256):
            plain, engine = read_plainly(dataset, meta_batch), train_plainly(config, dataset, meta_batch)
            for workers in (1, 2):
                command.say(f"streaming batches of {meta_batch} to {workers} worker(s)")
                rates = stream(config, dataset, meta_batch=meta_batch, workers=workers)
                streams.append(
                    {"meta_batch": meta_batch, "workers": workers, "plain": plain, "engine": engine, **rates}
                )
        padding = [padding_of(config, dataset, size, window) for size in (32, 256) for window in WINDOWS]
    return {"dataset": dataset.name, "tasks": dataset.num_tasks("train"), "streams": streams, "padding": padding}


def describe(report: dict[str, Any]) -> list[str]:
    """The report as lines for a terminal."""
    lines = [
        f"{report['tasks']:,} training tasks of {report['dataset']}; tasks per second",
        f"{'batch':>5}{'workers':>9}{'first batch':>13}{'1st epoch':>11}{'later ones':>12}{'plain pyarrow':>15}"
        f"{'share':>8}{'engine':>9}{'stream : engine':>17}",
    ]
    for row in report["streams"]:
        lines.append(
            f"{row['meta_batch']:>5}{row['workers']:>9}{row['first_batch_seconds']:>11.1f} s{row['first']:>11,.0f}"
            f"{row['later']:>12,.0f}{row['plain']:>15,.0f}{row['later'] / row['plain']:>8.1%}"
            f"{row['workers'] * row['engine']:>9,.0f}{row['later'] / (row['workers'] * row['engine']):>17.1f}"
        )
    lines += [
        "",
        f"{'batch':>5}{'window':>8}{'steps':>7}{'padding of supports':>21}{'in groups of like length':>27}"
        f"{'groups':>9}",
    ]
    for row in report["padding"]:
        lines.append(
            f"{row['meta_batch']:>5}{row['window']:>8}{row['steps']:>7}{row['whole']:>21.1%}{row['grouped']:>27.1%}"
            f"{row['groups_a_batch']:>9.1f}"
        )
    return lines


def read_plainly(dataset: Dataset, meta_batch: int) -> float:
    """Tasks per second of pyarrow's scanner over the training files, in batches."""
    files = []
    for part in dataset.parts("train"):
        _, path = storage.open_filesystem(part.uri)
        files.append(path)
    rates = []
    for _ in range(3):
        began = time.perf_counter()
        scanner = pa.dataset.dataset(files, format="parquet").scanner(batch_size=meta_batch)
        tasks = sum(batch.num_rows for batch in scanner.to_batches())
        rates.append(tasks / (time.perf_counter() - began))
    return sorted(rates)[1]


def stream(config: Config, dataset: Dataset, *, meta_batch: int, workers: int) -> dict[str, Any]:
    """Some epochs into so many workers at once: tasks per second, from the start and from the end of the first."""
    config = with_values(config, {"train.meta_batch": meta_batch, "outer.epochs": NUM_EPOCHS})
    num_tasks = NUM_EPOCHS * dataset.num_tasks("train")
    took = ray.remote(_take_all).options(num_cpus=0.25)
    began = time.time()
    seen = ray.get([took.remote(config, dataset, rank, workers) for rank in range(workers)])
    first_end, end = (max(each[name] for each in seen) for name in ("first_end", "end"))
    assert sum(each["tasks"] for each in seen) == num_tasks
    return {
        "first_batch_seconds": max(each["first"] for each in seen) - began,
        "first": dataset.num_tasks("train") / (first_end - began),
        "later": (num_tasks - dataset.num_tasks("train")) / (end - first_end),
    }


def _take_all(config: Config, dataset: Dataset, rank: int, world_size: int) -> dict[str, Any]:
    """What one worker sees: when its first batch came, its first epoch and its last ended, and how many tasks came."""
    from metarec.data.stream import stream_batches

    builder = _builder(config, dataset, rank, world_size)
    schedule = builder.schedule
    tasks, first, first_end = 0, 0.0, 0.0
    for step, batch in enumerate(stream_batches(builder, 0)):
        first = first or time.time()
        tasks += batch.num_tasks
        if step + 1 == schedule.steps_per_epoch:
            first_end = time.time()
    return {"tasks": tasks, "first": first, "first_end": first_end, "end": time.time()}


def train_plainly(config: Config, dataset: Dataset, meta_batch: int) -> float:
    """Tasks per second of the config's own outer steps in this process, on batches that are there already."""
    from metarec.train.loop import Optimisation, meta_step

    builder = _builder(with_values(config, {"train.meta_batch": meta_batch}), dataset)
    batches = [builder.build(step) for step in range(min(ENGINE_STEPS, builder.schedule.num_steps))]
    catalogue, threads = dataset.catalogue(), torch.get_num_threads()
    learner = build_learner(config, dataset.schema)
    optimisation = Optimisation(torch.optim.AdamW(learner.parameters(), lr=0.001), 0.001, "constant", config.outer.clip)
    torch.set_num_threads(1)
    seconds = []
    for _ in range(ENGINE_ROUNDS + 1):
        began = time.perf_counter()
        for batch in batches:
            meta_step(learner, catalogue, batch, num_tasks=batch.num_tasks, world_size=1)
            optimisation.step(0.0, batch.num_tasks, batch.num_tasks)
        seconds.append(time.perf_counter() - began)
    torch.set_num_threads(threads)
    return sum(batch.num_tasks for batch in batches) / statistics.median(seconds[1:])


def padding_of(config: Config, dataset: Dataset, meta_batch: int, window: int) -> dict[str, Any]:
    """The share of support rows that are padding over the first steps of an epoch on one worker."""
    sized = with_values(config, {"train.meta_batch": meta_batch, "train.size_window": window})
    builder = _builder(sized, dataset)
    steps = min(builder.schedule.steps_per_epoch, MOST_PADDING_STEPS)
    counts = torch.tensor([_rows_of(builder.build(step)) for step in range(steps)]).sum(0)
    real, whole, grouped, groups = counts.tolist()
    return {
        "meta_batch": meta_batch,
        "window": window,
        "steps": steps,
        "whole": 1 - real / whole,
        "grouped": 1 - real / grouped,
        "groups_a_batch": groups / steps,
    }


def _builder(config: Config, dataset: Dataset, rank: int = 0, world_size: int = 1) -> "BatchBuilder":
    """What builds a worker's batches of a config."""
    from metarec.data.stream import BatchBuilder
    from metarec.train.worker import schedule_of

    parts, schedule = dataset.parts("train"), schedule_of(config, dataset)
    return BatchBuilder(parts, schedule, config.task, config.run.seed, NO_NEGATIVES, rank, world_size)


def _rows_of(batch: TaskBatch) -> list[int]:
    """Real rows of the supports, rows of the whole tensor, rows of all groups, and groups."""
    mask = batch.support.mask
    buckets = bucket_tasks(mask, overhead=OVERHEAD)
    return [int(mask.sum()), mask.numel(), sum(len(each.tasks) * each.length for each in buckets), len(buckets)]
