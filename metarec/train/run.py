"""A named run: its folder under the output root, who may work on it, and where it stands.

The same name and config go on or answer with the finished result; the same name and another config are refused.
"""

import contextlib
import fcntl
import json
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyarrow import fs

from metarec import storage
from metarec.config import Config, config_from_dict, config_to_dict, differences
from metarec.errors import ConfigError, StorageError
from metarec.schema import FORMAT_VERSION

FREE_TO_CHANGE = (
    "train.num_workers",
    "train.cpus_per_worker",
    "train.use_gpu",
    "train.max_failures",
    "search.max_at_once",
    "train.max_wait_minutes",
    "output.root",
    "tracking.uri",
)
"""Settings that do not change what a run computes: machines may differ from one start to the next."""


@dataclass(frozen=True)
class RunFolder:
    """The places in a run's folder.

    Attributes:
        uri: the folder.
    """

    uri: str

    @property
    def checkpoints(self) -> str:
        """The folder of checkpoints."""
        return storage.join(self.uri, "checkpoints")

    @property
    def journal(self) -> str:
        """The metrics of each step, a JSON line each."""
        return storage.join(self.uri, "metrics.jsonl")

    @property
    def machine_journal(self) -> str:
        """How busy the machine of the job was, sample by sample."""
        return storage.join(self.uri, "machine.jsonl")

    @property
    def results_journal(self) -> str:
        """The metrics on the test users, in one line."""
        return storage.join(self.uri, "results.jsonl")

    @property
    def journals(self) -> tuple[str, str, str]:
        """All that goes to the tracker as metrics."""
        return self.journal, self.machine_journal, self.results_journal

    @property
    def can_be_locked(self) -> bool:
        """Whether `locked` tells that somebody works on it; an object store has no locks that end with a process."""
        return isinstance(storage.open_filesystem(self.uri)[0], fs.LocalFileSystem)

    @property
    def report(self) -> str:
        """The evaluation of the finished run."""
        return storage.join(self.uri, "report.json")

    @property
    def stop_request(self) -> str:
        """The file whose presence asks the workers to save and stop."""
        return storage.join(self.uri, "stop-request")

    @property
    def state(self) -> str:
        """What is known of the run between one start and the next."""
        return storage.join(self.uri, "run.json")

    def identity(self) -> str:
        """What tells this run from all others, those of its name too; kept before anybody makes use of it."""
        known: str | None = self.read_state().get("identity")
        if known is None:
            known = uuid.uuid4().hex
            self.update_state(identity=known)
        return known

    def read_state(self) -> dict[str, Any]:
        """The facts that `update_state` wrote; none for a new run."""
        if not storage.exists(self.state):
            return {}
        try:
            return dict(json.loads(storage.read_bytes(self.state)))
        except ValueError as error:
            raise StorageError(f"{self.state} is damaged: {error}; choose another run.name") from error

    def update_state(self, **facts: Any) -> None:
        """Add facts (JSON values) to what is known of the run."""
        document = {"format_version": FORMAT_VERSION, **self.read_state(), **facts}
        storage.write_bytes(self.state, json.dumps(document, indent=1).encode())


def run_folder(config: Config) -> RunFolder:
    """The folder of the run that a config names, whether it is there or not."""
    return RunFolder(storage.join(config.output.uri, "runs", config.run.name))


def open_run(config: Config) -> RunFolder:
    """The folder of the run that a config names, new or to go on with.

    Args:
        config: with `run.name` set (see `name_run`).

    Raises:
        ConfigError: the name stands for a run with another config; the keys that differ are named.
    """
    folder = run_folder(config)
    state = folder.read_state()
    if not state:
        folder.update_state(config=config_to_dict(config), status="new")
        return folder
    if state.get("format_version") != FORMAT_VERSION:
        raise StorageError(
            f"{folder.state} has format_version {state.get('format_version')}, this metarec reads {FORMAT_VERSION}; "
            "choose another run.name"
        )
    changed = differences(config_from_dict(state["config"]), config, ignore=FREE_TO_CHANGE)
    if changed:
        raise ConfigError(
            f"run {config.run.name!r} was started with other settings: {', '.join(changed)} differ; "
            "choose another run.name, or leave it out for a new run"
        )
    return folder


def name_run(config: Config) -> str:
    """The configured name, or a new one from the dataset and the time."""
    return config.run.name or f"{config.dataset_name}-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"


def run_names(root: str) -> list[str]:
    """The runs under an output root."""
    return storage.list_names(storage.join(root, "runs"))


@contextlib.contextmanager
def keeping_status(folder: RunFolder) -> Iterator[None]:
    """Keep in the run's folder how the work on it ended where that was in an error; `finished` is for the caller."""
    folder.update_state(status="running")
    try:
        yield
    except BaseException as error:
        folder.update_state(status="failed" if isinstance(error, Exception) else "killed")
        raise


@contextlib.contextmanager
def locked(folder: RunFolder) -> Iterator[None]:
    """Hold a run for this process; on a local or shared disk the lock ends with the process, however it ends.

    Raises:
        ConfigError: another process works on the run.
    """
    _, path = storage.open_filesystem(folder.uri)
    if not folder.can_be_locked:
        yield
        return
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, "lock"), "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            name = os.path.basename(folder.uri)
            raise ConfigError(
                f"run {name!r} is being worked on by another process; wait for it or choose another run.name"
            ) from error
        yield
