"""A learner from the registry, a run or a folder, of which nothing is unpickled, imported or run."""

import re
import tempfile
from pathlib import Path

import mlflow.artifacts
from mlflow import MlflowClient

from metarec import storage
from metarec.config import Config
from metarec.errors import RegistryError, StorageError
from metarec.registry.mlflow_model import MODEL
from metarec.registry.versions import MAKE, find_version
from metarec.serving.learner import BUNDLE, Learner
from metarec.tracking import connect, find_run, store_uri, talking_to

_MODEL_URI = re.compile(r"models:/(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<number>\d+))")
_RUN_URI = re.compile(rf"runs:/(?P<run_id>[^/]+)/{MODEL}")


def pull(uri: str, *, tracking_uri: str | None = None) -> Learner:
    """A learner from the registry, a run or a folder; nothing in the artifact is unpickled, imported or run.

    Args:
        uri: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, `runs:/RUN_ID/model`, or the path or storage URI of a model
            or of its bundle.
        tracking_uri: the MLflow store; `$MLFLOW_TRACKING_URI` or sqlite under `$METAREC_HOME` if not given.

    Raises:
        RegistryError: there is no such model, version or alias.
        TrackingError: the store does not answer.
        StorageError: the artifact is missing or damaged; the message names the file.
    """
    if not uri.startswith(("models:", "runs:")):
        inner = storage.join(uri, "artifacts", BUNDLE)
        return _read(uri, inner if storage.exists(inner) else uri)
    store = tracking_uri or store_uri(Config())
    _require_sqlite_file(uri, store)
    client = connect(store)
    with talking_to(store):
        location = storage.join(_locate(client, uri), "artifacts", BUNDLE)
    if location.startswith(("/", "file:")):
        return _read(uri, location)
    with tempfile.TemporaryDirectory() as folder:
        with talking_to(store):
            # Of a folder that is gone a download says many things, one for each kind of store.
            if not mlflow.artifacts.list_artifacts(artifact_uri=location, tracking_uri=store):
                raise StorageError(f"model {uri} cannot be used: its files are gone from {location}")
            path = mlflow.artifacts.download_artifacts(artifact_uri=location, dst_path=folder, tracking_uri=store)
        return _read(uri, path, location)


def _read(uri: str, bundle: str, location: str | None = None) -> Learner:
    """The learner of a bundle, which messages look for in its location where it is a copy."""
    try:
        _, files = storage.read_bundle(bundle, "model")
        return Learner.from_files(files)
    except StorageError as error:
        reason = error.message.replace(bundle, location or bundle)
        raise type(error)(f"model {uri} cannot be used: {reason}") from error


def _locate(client: MlflowClient, uri: str) -> str:
    """Where the files of a model lie."""
    if match := _MODEL_URI.fullmatch(uri):
        found = find_version(client, uri, **match.groupdict())
        return str(client.get_model_version_download_uri(found.name, found.version))
    match = _RUN_URI.fullmatch(uri)
    if not match:
        raise RegistryError(
            f"{uri!r} is no model URI; use models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN_ID/{MODEL} or a folder"
        )
    run = find_run(client, match["run_id"])
    outputs = None if run is None else run.outputs
    if outputs is None or not outputs.model_outputs:
        fault = "is not in this store" if run is None else "has logged no model"
        raise RegistryError(f"there is no model {uri}: the run {fault}; {MAKE}")
    return str(client.get_logged_model(outputs.model_outputs[-1].model_id).artifact_location)


def _require_sqlite_file(uri: str, store: str) -> None:
    database = store.removeprefix("sqlite:///")
    if database != store and not Path(database).exists():
        raise RegistryError(f"there is no model {uri}: nothing is registered in {store} yet; {MAKE}")
