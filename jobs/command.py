"""What every command shares: its arguments, its exit codes, its Ray, and how it ends when something is wrong."""

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from metarec.config import Config, load_config
from metarec.errors import ClusterError, MetarecError
from metarec.train.run import run_folder

_STARTED = time.monotonic()
INTERRUPTED = 130
"""Exit code after Ctrl-C or SIGTERM, as shells have it for Ctrl-C."""


class Interrupted(KeyboardInterrupt):
    """The job was asked to stop and has saved what it could."""


def main(
    doc: str | None,
    run: Callable[[Config, argparse.Namespace], None],
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> None:
    """Run one command: parse, do, and end with exit code 0, or with one sentence and another code.

    Args:
        doc: the command's module docstring; its help text.
        run: the work, given the config and the parsed arguments.
        add_arguments: adds the command's own arguments.
    """
    arguments = make_parser(doc, add_arguments).parse_args()
    quieten()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        run(load_config(arguments.config, arguments.set), arguments)
    except MetarecError as error:
        sys.stdout.flush()
        sys.exit(f"error: {error}")
    except KeyboardInterrupt as error:
        sys.stdout.flush()
        print(f"stopped: {str(error) or 'interrupted'}", file=sys.stderr)
        sys.exit(INTERRUPTED)


def make_parser(
    doc: str | None, add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None
) -> argparse.ArgumentParser:
    """The parser of one command: what all share, and its own arguments."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--config", metavar="FILE.toml", help="a named run, such as jobs/configs/movielens-100k.toml; a path or a URI"
    )
    parser.add_argument(
        "--set", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help="settings that override the config"
    )
    add_arguments(parser)
    return parser


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """SIGTERM ends a job as Ctrl-C does: what is open is closed with its true status."""
    del frame
    raise Interrupted(signal.Signals(signum).name)


def say(text: str) -> None:
    """Print a progress line with the seconds since the command started."""
    print(f"[{time.monotonic() - _STARTED:5.1f} s] {text}", flush=True)


def quieten() -> None:
    """Leave on the terminal what a person must act on; the libraries' own news goes nowhere."""
    for name, value in {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }.items():
        os.environ.setdefault(name, value)
    if not joins_cluster():
        os.environ.setdefault(
            "RAY_AUTH_MODE", "disabled"
        )  # a Ray of this process's own; a token in HOME would outlive it
    for library in ("mlflow", "alembic"):
        logging.getLogger(library).setLevel(logging.ERROR)


def joins_cluster() -> bool:
    """Whether `RAY_ADDRESS` names a cluster; without one a job starts a Ray of its own."""
    return os.environ.get("RAY_ADDRESS", "local") != "local"


@contextlib.contextmanager
def room_for(config: Config, check: Callable[[Config], None]) -> Iterator[bool]:
    """Before anything is opened or written, refuse a run that the machines cannot give what it asks for.

    A cluster is asked, and stays connected for the length of the block; a Ray of this process's own is not started for
    it, since what it would have is known. A run that is finished asks for nothing.

    Args:
        config: of the run.
        check: raises a `ClusterError`.

    Yields:
        Whether anything of the run is left to do.
    """
    due = run_folder(config).read_state().get("summary") is None
    with contextlib.ExitStack() as stack:
        if due:
            if joins_cluster():
                stack.enter_context(ray_session())
            check(config)
        yield due


@contextlib.contextmanager
def ray_session() -> Iterator[None]:
    """Ray for the length of a job: the cluster that `RAY_ADDRESS` names, or one of this process's own.

    Within another session it is that one.
    """
    import ray
    import ray.data

    if ray.is_initialized():
        yield
        return
    for library in ("ray", "ray.data", "ray.train"):  # after the import, which sets levels of its own
        logging.getLogger(library).setLevel(logging.ERROR)
    address = os.environ.get("RAY_ADDRESS", "local")
    own = {"include_dashboard": False} if address == "local" else {}  # it costs seconds and ends with the job
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ClusterError(
            f"cannot reach Ray at {address}: {error}; set RAY_ADDRESS to a running cluster or unset it"
        ) from error
    signal.signal(signal.SIGTERM, handler)  # Ray's own ends the process without a word
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; the second ends the process as usual."""
    stop = threading.Event()

    def ask(signum: int, frame: FrameType | None) -> None:
        del frame
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        name = signal.Signals(signum).name
        # not print: the signal may have come in the middle of one, which must not be entered twice
        os.write(1, f"{name}: saving a checkpoint and stopping; once more to stop at once\n".encode())

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
