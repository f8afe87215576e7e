"""MLflow, opened safely: the store, and the run that a job writes into.

Only `MlflowClient` and run ids are used, never MLflow's active run or experiment, which live in the environment that
worker processes inherit. Workers do not talk to MLflow: rank 0 appends lines to a journal,
`{"step": …, "metrics": {…}, "time": …}`, and the job sends what has not been sent yet (`Run.sync_journal`).
"""

import contextlib
import fcntl
import http.client
import importlib.metadata
import io
import json
import logging
import os
import platform
import re
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from metarec import storage
from metarec.config import Config, flatten, to_toml
from metarec.errors import ConfigError, TrackingError

Status = Literal["FINISHED", "FAILED", "KILLED"]

_SQLITE = "sqlite:///"
_REACH_SECONDS = 5
_HTTP_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_CHATTY = ("mlflow.store.db.utils", "mlflow.store.model_registry.abstract_store", "mlflow.pyfunc")
_MAX_PARAM_LENGTH = 6000
_MAX_TAG_LENGTH = 8000
_MAX_DIGEST_LENGTH = 36
_PARAMS_PER_BATCH = 100
_METRICS_PER_BATCH = 1000
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Store:
    """An MLflow store that answered.

    Attributes:
        uri: its tracking URI, absolute.
        client: talks to it, and to the registry beside it.
        experiment_id: the experiment that holds the runs.
    """

    uri: str
    client: MlflowClient
    experiment_id: str


def store_uri(config: Config) -> str:
    """The tracking URI in force: `tracking.uri`, else `$MLFLOW_TRACKING_URI`, else sqlite under `output.root`.

    Raises:
        ConfigError: it is none that MLflow can write to, or sqlite would have to live on a storage URI.
    """
    uri = config.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        if "://" in config.output.uri:
            raise ConfigError(
                f"output.root is {config.output.uri!r}, where a sqlite store cannot live; set tracking.uri to an "
                "MLflow server, or to sqlite:////absolute/path/mlflow.db"
            )
        return f"{_SQLITE}{config.output.uri}/mlflow.db"
    if uri.startswith(_SQLITE):
        return _SQLITE + str(Path(uri.removeprefix(_SQLITE)).absolute())
    if "://" not in uri or uri.startswith("file:"):
        raise ConfigError(
            f"tracking.uri is {uri!r}, a folder, which MLflow no longer writes to; use http://HOST:PORT or "
            "sqlite:////absolute/path/mlflow.db"
        )
    return uri


def open_store(config: Config) -> Store:
    """The store of a config with its experiment, both made where they are missing; safe from many processes at once.

    Raises:
        ConfigError: the URI in force cannot hold a store.
        TrackingError: a server does not answer within seconds, or the store refuses.
        StorageError: the folder of the sqlite file cannot be made.
    """
    uri = store_uri(config)
    location = _artifacts(config, uri) if uri.startswith(_SQLITE) else None
    with talking_to(uri), _alone(uri):
        client = connect(uri)
        return Store(uri, client, _experiment(client, config.tracking.experiment, location))


def connect(uri: str) -> MlflowClient:
    """A client of a store that is there: a server must answer at once instead of after minutes of retries.

    Raises:
        TrackingError: the server does not answer, or the store refuses.
    """
    if uri.startswith(("http://", "https://")):
        for name, value in _HTTP_SETTINGS.items():
            os.environ.setdefault(name, value)
        _check_reachable(uri)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    with talking_to(uri):
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
        return client


@contextlib.contextmanager
def talking_to(uri: str) -> Iterator[None]:
    """Turn what MLflow raises into a `TrackingError` that names the store."""
    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        reason = str(error).split("\n", 1)[0]
        raise TrackingError(
            f"the MLflow store {_shown(uri)} refuses: {reason}; check tracking.uri, or move a damaged store away"
        ) from error


@contextlib.contextmanager
def _alone(uri: str) -> Iterator[None]:
    """One process at a time: parallel first uses of a sqlite store leave it broken for good."""
    if not uri.startswith(_SQLITE):
        yield
        return
    database = Path(uri.removeprefix(_SQLITE))
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        lock = (database.parent / f".{database.name}.lock").open("a")
    except OSError as error:
        raise TrackingError(
            f"cannot write the MLflow store {uri}: {error.strerror}; set output.root or tracking.uri to a place that "
            "can be written"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _artifacts(config: Config, uri: str) -> str:
    """Where a sqlite store keeps its files: under `output.root`, or beside it where the root is on an object store.

    MLflow has clients of its own for object stores, which know nothing of the options in a root's URI.
    """
    root = str(Path(uri.removeprefix(_SQLITE)).parent) if "://" in config.output.uri else config.output.uri
    return storage.join(root, "mlflow-artifacts")


def _experiment(client: MlflowClient, name: str, location: str | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage != "active":
        raise TrackingError(f"the MLflow experiment {name!r} was deleted; restore it or set tracking.experiment")
    return str(found.experiment_id)


def _check_reachable(uri: str) -> None:
    """Any HTTP answer will do, an error and a certificate of one's own included: MLflow has its settings for those."""
    place = urllib.parse.urlsplit(uri)
    probe = urllib.parse.urlunsplit(place._replace(netloc=place.netloc.rpartition("@")[2], path=f"{place.path}/health"))
    try:
        urllib.request.urlopen(probe, timeout=_REACH_SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):
            return
        raise TrackingError(
            f"the MLflow server {_shown(uri)} does not answer: {reason}; start it or change tracking.uri "
            "(MLFLOW_TRACKING_URI)"
        ) from error


def _shown(uri: str) -> str:
    """A URI as messages show it: without the password."""
    return re.sub(r"//[^/@]*@", "//", uri)


@dataclass
class Run:
    """One MLflow run, open until `finish`; a `with` block finishes it with its true status.

    Attributes:
        store: where it is kept.
        run_id: MLflow's id of it.
        name: its name.
    """

    store: Store
    run_id: str
    name: str
    _waiting: list[Metric] = field(default_factory=list)

    def log_metrics(self, step: int, metrics: Mapping[str, float], *, time_seconds: float | None = None) -> None:
        """Take note of metrics at a step; they are sent by `flush`, `finish`, or when a thousand wait.

        Args:
            step: the outer step or epoch they belong to.
            metrics: name → value; in names `@` becomes `_at_` and other characters that MLflow refuses `_`.
            time_seconds: when they were measured, in unix seconds; now if not given.
        """
        stamp = int(1000 * (time.time() if time_seconds is None else time_seconds))
        self._waiting += [Metric(_metric_name(name), float(value), stamp, step) for name, value in metrics.items()]
        if len(self._waiting) >= _METRICS_PER_BATCH:
            self.flush()

    def flush(self) -> None:
        """Send the metrics that wait."""
        with talking_to(self.store.uri):
            while self._waiting:
                self.store.client.log_batch(self.run_id, metrics=self._waiting[:_METRICS_PER_BATCH])
                del self._waiting[:_METRICS_PER_BATCH]

    def sync_journal(self, path: str) -> int:
        """Send the lines of a journal that were not sent yet; how many were is kept beside it, in `<path>.sent`.

        A line counts once its newline is written. A line that is no journal entry, such as one cut short by a crash,
        is skipped with a warning.

        Returns:
            How many lines were sent.
        """
        if not storage.exists(path):
            return 0
        mark = storage.beside(path, ".sent")
        sent = int(storage.read_bytes(mark)) if storage.exists(mark) else 0
        lines = storage.read_bytes(path).split(b"\n")[:-1]
        for number, line in enumerate(lines[sent:], start=sent + 1):
            try:
                entry = json.loads(line)
                self.log_metrics(int(entry["step"]), entry["metrics"], time_seconds=float(entry["time"]))
            except (ValueError, KeyError, TypeError):
                _LOG.warning("line %d of %s is no journal entry and is left out", number, path)
        self.flush()
        if len(lines) > sent:
            storage.write_bytes(mark, str(len(lines)).encode())
        return max(len(lines) - sent, 0)

    def log_artifact_bytes(self, name: str, content: bytes) -> None:
        """Keep a file among the run's artifacts, under a name such as `report.json` or `plots/curve.png`."""
        with talking_to(self.store.uri):
            self.store.client.log_stream(self.run_id, io.BytesIO(content), name)

    def log_dataset(self, manifest: Mapping[str, Any]) -> None:
        """Record which dataset the run used: its lineage, its manifest as an artifact, and no rating.

        Args:
            manifest: of a prepared dataset; `name`, `fingerprint`, `counts` and `source` are used.
        """
        dataset = Dataset(
            name=str(manifest["name"]),
            digest=str(manifest["fingerprint"])[:_MAX_DIGEST_LENGTH],
            source_type="metarec",
            source=json.dumps({"source": manifest.get("source")}),
            profile=json.dumps(manifest.get("counts", {})),
        )
        context = [InputTag("mlflow.data.context", "training")]
        with talking_to(self.store.uri):
            self.store.client.log_inputs(self.run_id, datasets=[DatasetInput(dataset, tags=context)])
        self.set_tags({"dataset.name": dataset.name, "dataset.fingerprint": manifest["fingerprint"]})
        self.log_artifact_bytes("dataset/manifest.json", json.dumps(dict(manifest), indent=1).encode())

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set tags; a longer text than MLflow takes is cut."""
        entries = [RunTag(name, _cut(str(value), _MAX_TAG_LENGTH)) for name, value in tags.items()]
        with talking_to(self.store.uri):
            for batch in _batches(entries):
                self.store.client.log_batch(self.run_id, tags=batch)

    def finish(self, status: Status = "FINISHED") -> None:
        """Send what waits and end the run with a status."""
        self.flush()
        with talking_to(self.store.uri):
            self.store.client.set_terminated(self.run_id, status)

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            return self.finish("FINISHED")
        try:
            self.finish("FAILED" if issubclass(kind, Exception) else "KILLED")
        except TrackingError as unreachable:  # the error in flight is the one to show
            _LOG.warning("run %s keeps the status RUNNING: %s", self.name, unreachable)


def start_run(
    store: Store, name: str, config: Config, resume_run_id: str | None = None, tags: Mapping[str, object] | None = None
) -> Run:
    """Start an MLflow run, or go on with one, and log its config: each setting a param under its own name.

    Params cannot change: on resume a setting that differs becomes the tag `changed.<setting>`. The whole config is the
    artifact `config.toml`.

    Args:
        store: where the run is kept.
        name: the run's name.
        config: the settings in force.
        resume_run_id: the run to go on with.
        tags: further tags.

    Raises:
        TrackingError: the run to go on with is not there, or the store refuses.
    """
    with talking_to(store.uri):
        if resume_run_id is None:
            run_id = store.client.create_run(store.experiment_id, run_name=name).info.run_id
        else:
            run_id = _reopen(store, resume_run_id)
        run = Run(store, run_id, name)
        run.set_tags({**_provenance(), **(tags or {})})
        _log_params(run, config)
    run.log_artifact_bytes("config.toml", to_toml(config).encode())
    return run


def find_run(client: MlflowClient, run_id: str) -> MlflowRun | None:
    """A run by its id, or None."""
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _reopen(store: Store, run_id: str) -> str:
    found = find_run(store.client, run_id)
    if found is None or found.info.lifecycle_stage != "active":
        fault = "is not in" if found is None else "was deleted from"
        raise TrackingError(
            f"MLflow run {run_id} {fault} {_shown(store.uri)}, so that it cannot go on; choose another run.name"
        )
    store.client.update_run(run_id, status="RUNNING")
    return run_id


def _log_params(run: Run, config: Config) -> None:
    values = {name: _cut(_as_text(value), _MAX_PARAM_LENGTH) for name, value in flatten(config).items()}
    logged = run.store.client.get_run(run.run_id).data.params
    new = [Param(name, value) for name, value in values.items() if name not in logged]
    for batch in _batches(new):
        run.store.client.log_batch(run.run_id, params=batch)
    run.set_tags({f"changed.{name}": v for name, v in values.items() if logged.get(name, v) != v})


def _provenance() -> dict[str, str]:
    """Tags that say which code and which versions made a run."""
    tags = {"version.python": platform.python_version()}
    for name in ("metarec", "torch", "ray", "mlflow", "pyarrow"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # metarec may run from a checkout
            tags[f"version.{name}"] = importlib.metadata.version(name)
    commit = _git_commit()
    return {**tags, "git.commit": commit} if commit else tags


def _git_commit() -> str | None:
    """The commit of the checkout that this code lies in, with `-dirty` where files differ; None outside of one."""
    folder = Path(__file__).parent
    git = ["git", "-C", str(folder)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", __file__], check=True, capture_output=True, timeout=5)
        described = subprocess.run(
            [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            check=True, capture_output=True, timeout=5, text=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()


def _as_text(value: object) -> str:
    return json.dumps(value) if isinstance(value, list | dict) else str(value)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _metric_name(name: str) -> str:
    return re.sub(r"[^\w.\- :/]", "_", name.replace("@", "_at_"))


def _batches(entries: list[Any]) -> Iterable[list[Any]]:
    return (entries[start : start + _PARAMS_PER_BATCH] for start in range(0, len(entries), _PARAMS_PER_BATCH))
