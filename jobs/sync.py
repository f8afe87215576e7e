"""Send to MLflow what runs have kept while the server did not answer: metrics, and how they ended.

python -m jobs.sync [--config FILE.toml] [--set key=value …] [--run NAME]
"""

import argparse
import contextlib
from typing import TYPE_CHECKING

from jobs import command
from metarec import storage
from metarec.config import Config
from metarec.errors import ConfigError, MetarecError, TrackingError
from metarec.search.trials import STATUS, Trial, record_of
from metarec.train.run import RunFolder, locked, run_names

if TYPE_CHECKING:
    from metarec.tracking import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this job."""
    parser.add_argument("--run", metavar="NAME", help="of this run alone; of all under output.root if left out")


def run(config: Config, arguments: argparse.Namespace) -> None:
    """Send what is left of each run, and say how much that was.

    Raises:
        ConfigError: there is no run of that name.
        TrackingError: the server does not answer, or a run is not in this store.
    """
    from metarec.tracking import open_store

    names = run_names(config.output.uri)
    if arguments.run is not None and arguments.run not in names:
        raise ConfigError(f"there is no run {arguments.run!r} in {config.output.uri}; {_listing(names)}")
    store, failures = open_store(config), list[str]()
    chosen = names if arguments.run is None else [arguments.run]
    for name in chosen:
        try:
            line = send(RunFolder(storage.join(config.output.uri, "runs", name)), store)
        except MetarecError as error:  # of this run; the others are sent
            failures.append(str(error))
            line = f"not sent: {error}"
        print(f"{name}: {line}", flush=True)
    if failures:
        raise TrackingError(f"{len(failures)} of {len(chosen)} runs could not be sent; {failures[0]}")


def send(folder: RunFolder, store: "Store") -> str:
    """Send a run's metrics and its status, unless somebody works on it; says what was done.

    Raises:
        StorageError: what the folder says of the run cannot be read.
        TrackingError: its MLflow run is not in the store, or the server does not answer.
    """
    search, trial = record_of(folder) or (None, None)
    with contextlib.ExitStack() as held:
        try:
            for each in filter(None, (search, folder)):
                held.enter_context(locked(each))
        except ConfigError:
            return "is being worked on, and sends by itself"
        return _send(folder, trial, store)


def _send(folder: RunFolder, trial: Trial | None, store: "Store") -> str:
    from metarec import tracking

    state = folder.read_state()
    run_id = state.get("mlflow_run_id")
    if run_id is None:
        return "has never been tracked"
    with tracking.talking_to(store.uri):
        found = tracking.find_run(store.client, run_id)
    if found is None:
        place = tracking.shown(store.uri)
        raise TrackingError(f"its MLflow run {run_id} is not in {place}; set tracking.uri to where it was started")
    num_lines = sum(tracking.Outbox(store, run_id, journal, warn=command.say).send() for journal in folder.journals)
    # Of a trial the search's record counts: a search that was killed had no time to hand it on.
    kept = STATUS[trial.result.ending] if trial and trial.result else state.get("status")
    status = found.info.status
    if kept in tracking.STATUS:
        status = tracking.STATUS[kept]
    elif status == "RUNNING" and folder.can_be_locked:  # nobody does, so that whoever did was killed
        status = "KILLED"
    if status != found.info.status:
        tracking.Run(store, run_id, found.info.run_name).finish(status)
    return f"{num_lines:,} lines sent, 0 left; {status}"


def _listing(names: list[str]) -> str:
    return f"there are {', '.join(names)}" if names else "there is none yet: python -m jobs.train makes one"


if __name__ == "__main__":
    command.main(__doc__, run, add_arguments)
