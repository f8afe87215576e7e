"""Measure metarec against its peers, as ratios in one run.

python -m jobs.benchmark WHAT [--report FILE.json] [--quick] [--threads N]

Each has settings of its own, so that figures compare. METAREC_HOME says where it writes, METAREC_DATA where ratings
lie.
"""

import argparse
import importlib
import json
from typing import Any

from jobs import command
from metarec import storage
from metarec.config import Config
from metarec.errors import ConfigError, StorageError

BENCHMARKS = (
    "engine",
    "feedback",
    "prepare",
    "stream",
    "recovery",
    "checkpoints",
    "quality",
    "questions",
    "recommend",
    "scaling",
    "tracking",
    "tune",
)
"""Each has a module of its name in `jobs/benchmarks/`: `measure` (→ a report), `describe` (→ its lines) and, where a
picture says more, `draw` (→ a PNG)."""
REPORT, PICTURE = ".json", ".png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this job."""
    parser.add_argument("what", choices=BENCHMARKS, metavar="WHAT", help=f"one of {', '.join(BENCHMARKS)}")
    parser.add_argument("--report", metavar="FILE.json", help="write all numbers there, and a picture beside them")
    parser.add_argument("--quick", action="store_true", help="in its smallest form, to see that it runs")
    parser.add_argument(
        "--threads", type=int, metavar="N", help="of torch; of each worker of `scaling`, CPUs of `prepare`"
    )


def run(config: Config, arguments: argparse.Namespace) -> None:
    """Measure, print the tables, and write the report.

    Raises:
        ConfigError: settings are given, which would have no effect.
        StorageError: the report cannot be written.
    """
    del config
    if arguments.config or arguments.set:
        raise ConfigError(
            f"jobs.benchmark {arguments.what} has settings of its own; leave --config and --set out (METAREC_HOME says "
            "where it writes, METAREC_DATA where ratings lie)"
        )
    if arguments.report:
        check_report(arguments.report)
    benchmark = importlib.import_module(f"jobs.benchmarks.{arguments.what}")
    report: dict[str, Any] = benchmark.measure(quick=arguments.quick, threads=arguments.threads)
    for line in benchmark.describe(report):
        print(line)
    if arguments.report:
        storage.write_bytes(arguments.report, (json.dumps(report, indent=2) + "\n").encode())
        if hasattr(benchmark, "draw"):
            storage.write_bytes(arguments.report.removesuffix(REPORT) + PICTURE, benchmark.draw(report))


def check_report(place: str) -> None:
    """Refuse a place where no report can be written, before there is anything to write.

    Raises:
        StorageError: the name has another ending, or nothing can be written there.
    """
    if not place.endswith(REPORT):
        raise StorageError(f"cannot write a report to {place}; name a file that ends in {REPORT}")
    storage.check_replaceable(place)


if __name__ == "__main__":
    command.main(__doc__, run, add_arguments)
