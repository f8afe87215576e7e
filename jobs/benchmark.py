"""Measure metarec against its peers, as ratios in one run.

python -m jobs.benchmark WHAT [--report FILE.json] [--quick] [--threads N]
"""

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

from jobs import command
from metarec.config import Config

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
"""Each has a module of its name in `jobs/benchmarks/`, with `measure` (→ a report) and `describe` (→ lines of it)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this job."""
    parser.add_argument("what", choices=BENCHMARKS, metavar="WHAT", help=f"one of {', '.join(BENCHMARKS)}")
    parser.add_argument("--report", metavar="FILE.json", help="write all numbers there")
    parser.add_argument("--quick", action="store_true", help="in its smallest form, to see that it runs")
    parser.add_argument(
        "--threads", type=int, metavar="N", help="of torch, in `engine` and of each worker of `scaling`"
    )


def run(config: Config, arguments: argparse.Namespace) -> None:
    """Measure, print the tables, and write the report."""
    del config
    benchmark = importlib.import_module(f"jobs.benchmarks.{arguments.what}")
    report: dict[str, Any] = benchmark.measure(quick=arguments.quick, threads=arguments.threads)
    for line in benchmark.describe(report):
        print(line)
    if arguments.report:
        Path(arguments.report).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    command.main(__doc__, run, add_arguments)
