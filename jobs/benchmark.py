"""Measure what metarec claims of itself, and print a table.

python -m jobs.benchmark {checkpoints,recovery,stream} [--report FILE.json]
"""

import argparse
import importlib
import json
from pathlib import Path

from jobs import command
from metarec.config import Config

SUBJECTS = ("checkpoints", "recovery", "stream")
"""Each is a module of `jobs.benchmarks` with `run() -> report` and `table(report) -> text`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this job."""
    parser.add_argument("what", choices=SUBJECTS, help="what to measure")
    parser.add_argument("--report", metavar="FILE.json", help="where to write the figures as JSON")


def run(config: Config, arguments: argparse.Namespace) -> None:
    """Measure one subject."""
    del config
    subject = importlib.import_module(f"jobs.benchmarks.{arguments.what}")
    report = subject.run()
    print(subject.table(report))
    if arguments.report:
        Path(arguments.report).write_text(json.dumps(report, indent=1), encoding="utf-8")


if __name__ == "__main__":
    command.main(__doc__, run, add_arguments)
