"""How fast, and in how much memory, generated interactions become user tasks; beside it one process with pyarrow."""

import argparse
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs import command
from jobs.benchmarks.interactions import write_interactions
from jobs.benchmarks.measured import Measured, run_measured
from jobs.benchmarks.plain_grouping import group_plainly
from metarec.config import Config, with_values

NUM_CPUS = 2
MEMORY_LIMIT_BYTES = 8 * 2**30
SLOWDOWN_LIMIT = 2.0
_OBJECT_STORE_BYTES = 200 * 2**20
"""Tasks pass files, not tables: the store holds results of some megabytes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this measurement."""
    parser.add_argument("--interactions", type=int, default=20_000_000, help="rows to generate")
    parser.add_argument("--users", type=int, default=200_000, help="users to generate")
    parser.add_argument("--items", type=int, default=50_000, help="items to generate")


def measure(*, num_rows: int, num_users: int, num_items: int, folder: Path | None = None) -> dict[str, Any]:
    """Generate interactions, prepare them through Ray Data, and group them plainly.

    Args:
        num_rows: interactions.
        num_users, num_items: whom and what they are of.
        folder: for what is generated and prepared, in a folder of its own that is removed afterwards; None = the
            system's.

    Returns:
        The report, plain values.
    """
    place = Path(tempfile.mkdtemp(prefix="metarec-benchmark-", dir=folder))
    try:
        start = time.monotonic()
        write_interactions(place / "log", num_rows=num_rows, num_users=num_users, num_items=num_items)
        generating_seconds = time.monotonic() - start
        prepared = _entry(run_measured(_prepare, str(place)))
        plain = _entry(run_measured(_group_plainly, str(place)))
    finally:
        shutil.rmtree(place)
    return {
        "num_interactions": num_rows,
        "num_cpus": NUM_CPUS,
        "generating_seconds": generating_seconds,
        "metarec": prepared,
        "pyarrow": plain,
        "slowdown": prepared["seconds"] / plain["seconds"],
    }


def describe(report: Mapping[str, Any]) -> str:
    """The report as text."""
    lines = [
        f"{report['num_interactions']:,} interactions on {report['num_cpus']} cores",
        f"{'':<10} {'users':>9} {'seconds':>9} {'users/s':>9} {'peak GiB':>9}",
    ]
    for name in ("metarec", "pyarrow"):
        entry = report[name]
        speed, gib = entry["users_per_second"], entry["peak_bytes"] / 2**30
        lines.append(f"{name:<10} {entry['num_users']:>9,} {entry['seconds']:>9.1f} {speed:>9,.0f} {gib:>9.2f}")
    entry = report["metarec"]
    lines.append(f"start-up of Ray and its workers, not counted above: {entry['ray_seconds']:.1f} s")
    lines += [f"  {seconds:>6.1f} s  {step}" for step, seconds in entry["steps"].items()]
    memory = "within" if entry["peak_bytes"] <= MEMORY_LIMIT_BYTES else "ABOVE"
    time_ = "within" if report["slowdown"] <= SLOWDOWN_LIMIT else "ABOVE"
    lines.append(f"{report['slowdown']:.2f} x the time of plain pyarrow, {time_} the {SLOWDOWN_LIMIT:g} x aimed at")
    lines.append(f"peak memory {memory} the {MEMORY_LIMIT_BYTES / 2**30:g} GiB aimed at")
    return "\n".join(lines)


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


def _prepare(place: str) -> dict[str, Any]:
    """Prepare on a Ray of this process's own; the time between two of its messages is that of a step."""
    command.quieten()
    start = time.monotonic()
    import ray

    from metarec.data.parallel import run_step
    from metarec.data.prepare import prepare

    ray.init(
        address="local",
        num_cpus=NUM_CPUS,
        object_store_memory=_OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    try:
        run_step(_nothing, [{}] * NUM_CPUS)
        ready = time.monotonic()
        moments: list[tuple[float, str]] = []
        dataset = prepare(config_for(place), progress=lambda line: moments.append((time.monotonic(), line)))
        done = time.monotonic()
    finally:
        ray.shutdown()
    ends = [moment for moment, _ in moments[1:]] + [done]
    steps = {line.split(":")[0].split(";")[0]: end - at for (at, line), end in zip(moments, ends, strict=True)}
    return {
        "num_users": dataset.manifest["counts"]["users"],
        "seconds": done - ready,
        "ray_seconds": ready - start,
        "steps": {"listing and hashing files": moments[0][0] - ready} | steps,
    }


def _nothing() -> dict[str, Any]:
    """A step that starts the workers."""
    return {}


def _group_plainly(place: str) -> dict[str, Any]:
    start = time.monotonic()
    num_users = group_plainly(Path(place, "log"), Path(place, "plain.parquet"), min_ratings=Config().data.min_ratings)
    return {"num_users": num_users, "seconds": time.monotonic() - start}
