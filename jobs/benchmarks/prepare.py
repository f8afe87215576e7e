"""How fast, and in how much memory, generated interactions become user tasks; beside it one process with pyarrow."""

import itertools
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jobs import command
from jobs.benchmarks.interactions import write_interactions
from jobs.benchmarks.plain_grouping import group_plainly
from jobs.benchmarks.process_memory import Measured, run_measured
from metarec.config import Config, with_values

NUM_CPUS = 2
MEMORY_LIMIT_BYTES = 8 * 2**30
SLOWDOWN_LIMIT = 2.0
FULL = {"num_rows": 20_000_000, "num_users": 200_000, "num_items": 50_000}
QUICK = {"num_rows": 200_000, "num_users": 2_000, "num_items": 5_000}
_STEPS = ("listing and hashing", "reading and cleaning", "grouping by user", "writing tasks", "fitting and audit")
"""What lies between the start and the messages of `prepare`."""
_OBJECT_STORE_BYTES = 200 * 2**20
"""Tasks pass files, not tables: the store holds results of some megabytes."""


def measure(*, quick: bool, threads: int | None) -> dict[str, Any]:
    """Generate interactions, prepare them through Ray Data, and group them plainly.

    Args:
        quick: a hundredth of them.
        threads: CPUs of Ray; None = 2.

    Returns:
        The report, plain values.
    """
    return measure_size(**(QUICK if quick else FULL), num_cpus=threads or NUM_CPUS)


def measure_size(*, num_rows: int, num_users: int, num_items: int, num_cpus: int = NUM_CPUS) -> dict[str, Any]:
    """`measure` for any number of interactions; what is generated lies in a temporary folder meanwhile."""
    place = Path(tempfile.mkdtemp(prefix="metarec-benchmark-"))
    try:
        start = time.monotonic()
        write_interactions(place / "log", num_rows=num_rows, num_users=num_users, num_items=num_items)
        generating_seconds = time.monotonic() - start
        prepared = _entry(run_measured(_prepare, str(place), num_cpus))
        plain = _entry(run_measured(_group_plainly, str(place)))
    finally:
        shutil.rmtree(place)
    return {
        "num_interactions": num_rows,
        "num_cpus": num_cpus,
        "generating_seconds": generating_seconds,
        "metarec": prepared,
        "pyarrow": plain,
        "slowdown": prepared["seconds"] / plain["seconds"],
    }


def describe(report: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the report."""
    yield f"{report['num_interactions']:,} interactions, {report['num_cpus']} CPUs"
    yield f"{'':<10} {'users':>9} {'seconds':>9} {'users/s':>9} {'peak GiB':>9}"
    for name in ("metarec", "pyarrow"):
        entry = report[name]
        speed, gib = entry["users_per_second"], entry["peak_bytes"] / 2**30
        yield f"{name:<10} {entry['num_users']:>9,} {entry['seconds']:>9.1f} {speed:>9,.0f} {gib:>9.2f}"
    entry = report["metarec"]
    yield f"start-up of Ray and its workers, not counted above: {entry['ray_seconds']:.1f} s"
    for step, seconds in entry["steps"].items():
        yield f"  {seconds:>6.1f} s  {step}"
    speed = "within" if report["slowdown"] <= SLOWDOWN_LIMIT else "ABOVE"
    yield f"{report['slowdown']:.2f} x the time of plain pyarrow, {speed} the {SLOWDOWN_LIMIT:g} x aimed at"
    memory = "within" if entry["peak_bytes"] <= MEMORY_LIMIT_BYTES else "ABOVE"
    yield f"peak memory {memory} the {MEMORY_LIMIT_BYTES / 2**30:g} GiB aimed at"


def config_for(place: str) -> Config:
    """The config that prepares what `measure` generated below a folder."""
    return with_values(
        Config(),
        {
            "data.source": "tables",
            "data.path": place,
            "tables.ratings": "log",
            "output.root": f"{place}/out",
        },
    )


def _entry(measured: Measured) -> dict[str, Any]:
    value = measured.value
    speed = value["num_users"] / value["seconds"]
    return {**value, "users_per_second": speed, "peak_bytes": measured.peak_bytes}


def _prepare(place: str, num_cpus: int) -> dict[str, Any]:
    """Prepare on a Ray of this process's own; the time between two of its messages is that of a step."""
    command.quieten()
    start = time.monotonic()
    import ray

    from metarec.data.parallel import run_step
    from metarec.data.prepare import prepare

    ray.init(
        address="local",
        num_cpus=num_cpus,
        object_store_memory=_OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    try:
        run_step(_nothing, [{}] * num_cpus)
        ready = time.monotonic()
        moments: list[tuple[float, str]] = []
        dataset = prepare(config_for(place), progress=lambda line: moments.append((time.monotonic(), line)))
        done = time.monotonic()
    finally:
        ray.shutdown()
    # each message but the last tells what comes next
    times = [ready, *(moment for moment, _ in moments)]
    seconds = [end - begin for begin, end in itertools.pairwise(times)]
    steps = dict(zip(_STEPS, seconds, strict=True))
    return {
        "num_users": dataset.manifest["counts"]["users"],
        "seconds": done - ready,
        "ray_seconds": ready - start,
        "steps": steps,
    }


def _nothing() -> dict[str, Any]:
    """A step that starts the workers."""
    return {}


def _group_plainly(place: str) -> dict[str, Any]:
    start = time.monotonic()
    num_users = group_plainly(Path(place, "log"), Path(place, "plain.parquet"), min_ratings=Config().data.min_ratings)
    return {"num_users": num_users, "seconds": time.monotonic() - start}
