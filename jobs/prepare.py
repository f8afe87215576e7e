"""Turn raw ratings into a dataset of user tasks, or say what was prepared before.

python -m jobs.prepare [--config FILE.toml] [--set key=value …] [--audit]
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jobs import command
from metarec import storage
from metarec.config import Config
from metarec.schema import USER_TASKS, TaskWords

if TYPE_CHECKING:
    from metarec.data.audit import AuditCheck
    from metarec.data.dataset import Dataset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this job."""
    parser.add_argument(
        "--audit", action="store_true", help="check again that nothing leaks into training, and print each claim"
    )


def run(config: Config, arguments: argparse.Namespace) -> None:
    """Prepare, and print what went in, what came out and what was put aside.

    Raises:
        DataError: a file, a column or too many rows cannot be used.
        LeakError: the audit found a violation.
    """
    from metarec.data.sources import check_source

    storage.check_writable(config.output.uri)
    check_source(config)
    with command.ray_session():
        from metarec.data.prepare import prepare
        from metarec.train.room import check_free_to_prepare

        check_free_to_prepare()
        dataset = prepare(config, progress=command.say)
    for line in describe(dataset, config.words):
        print(line)
    if arguments.audit:
        from metarec.data.audit import audit, require_clean

        checks = audit(dataset)
        for line in describe_audit(checks):
            print(line)
        require_clean(checks)


def describe(dataset: "Dataset", words: TaskWords = USER_TASKS) -> Iterator[str]:
    """The lines of the summary."""
    from metarec.data.quarantine import FOLDER

    counts: Mapping[str, Any] = dataset.manifest["counts"]
    yield f"{dataset.name}  {dataset.uri}"
    yield f"  rows read       {counts['rows']:>11,}"
    yield f"  rows kept       {counts['ratings']:>11,}"
    for split, total in counts["splits"].items():
        yield f"  {split:<15} {total['ratings']:>11,} ratings of {total['tasks']:,} {words.tasks}"
    yield f"  {words.rows:<15} {counts['items']:>11,}"
    yield from _left_out(counts, words)
    yield f"  quarantined     {sum(counts['quarantined'].values()):>11,}"
    for reason, count in counts["quarantined"].items():
        users = f" ({counts['left_out_users']:,} {words.tasks})" if "too few" in reason else ""
        yield f"    {count:>13,}  {reason}{users}"
    if counts["quarantined"]:
        yield f"    in {storage.join(dataset.uri, FOLDER)}"


def _left_out(counts: Mapping[str, Any], words: TaskWords) -> Iterator[str]:
    """What the protocol has no use for."""
    if counts["unplaced_ratings"]:
        yield f"  in no split     {counts['unplaced_ratings']:>11,} ratings, {counts['unplaced_users']:,} {words.tasks}"
    for split, tasks in counts["left_out_tasks"].items():
        if tasks:
            yield f"  left out        {tasks:>11,} {split} tasks with too few or too many ratings or without a role"


def describe_audit(checks: Sequence["AuditCheck"]) -> Iterator[str]:
    """One line a claim."""
    yield "audit"
    for check in checks:
        verdict = "FAILED" if check.num_violations else "holds"
        found = f": {check.num_violations:,} violations, {check.example}" if check.num_violations else ""
        yield f"  {verdict}  {check.claim} ({check.num_checked:,} checked{found})"


if __name__ == "__main__":
    command.main(__doc__, run, add_arguments)
