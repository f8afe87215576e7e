"""The MLflow store, opened safely: found, made once, and refused within seconds where it does not answer."""

import contextlib
import fcntl
import http.client
import logging
import os
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from metarec import storage
from metarec.config import Config
from metarec.errors import ConfigError, TrackingError

_SQLITE = "sqlite:///"
_REACH_SECONDS = 5
_HTTP_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_CHATTY = ("mlflow.store.db.utils", "mlflow.store.model_registry.abstract_store", "mlflow.pyfunc")


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
        if isinstance(error, MlflowException) and error.get_http_status_code() in (401, 403):
            raise TrackingError(
                f"the MLflow server {shown(uri)} refuses these credentials ({_reason(error)}); set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            ) from error
        if answer := re.search(r"too many (\d+) error responses", str(error)):
            raise TrackingError(
                f"the MLflow server {shown(uri)} answers {answer[1]}; look at its log, or change tracking.uri "
                "(MLFLOW_TRACKING_URI)"
            ) from error
        if " failed with exception " in str(error):  # what MLflow says of any fault on the way to a server
            raise TrackingError(_no_answer(uri, "the connection failed")) from error
        raise TrackingError(
            f"the MLflow store {shown(uri)} refuses: {_reason(error)}; check tracking.uri, or move a damaged store away"
        ) from error
    except OSError as error:
        raise TrackingError(
            f"the files of the MLflow store {shown(uri)} cannot be written: {_reason(error)}; free space or set "
            "tracking.uri to a store that can be written"
        ) from error


def shown(text: str) -> str:
    """A text as messages show it: its URIs without user, password and options."""
    return re.sub(r"(://)[^/@\s]*@|(://[^\s?]*)\?\S*password=\S*", r"\1\2", text)


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
            f"cannot write the MLflow store {shown(uri)}: {error.strerror}; set output.root or tracking.uri to a place "
            "that can be written"
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
        raise TrackingError(_no_answer(uri, reason)) from error


def _no_answer(uri: str, reason: object) -> str:
    return (
        f"the MLflow server {shown(uri)} does not answer: {reason}; start it or change tracking.uri "
        "(MLFLOW_TRACKING_URI)"
    )


def _reason(error: Exception) -> str:
    """What an error says, up to its first line that is no heading of what follows."""
    said = []
    for line in str(error).splitlines():
        said.append(line.strip("#: "))
        if not line.endswith((":", "#")):
            break
    return shown(": ".join(said)).rstrip(".")
