"""The model registry: log and register a learner, move its aliases, and pull it back without running its code.

A registered model is an MLflow pyfunc model, which `mlflow models serve` can run, around a bundle of safetensors and
JSON, which is all that `pull` reads. Two aliases move: `candidate` to the newest version, `champion` to the version
that passed the gate.
"""

import importlib.metadata
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.artifacts
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array

from metarec import storage
from metarec.config import Config, to_toml
from metarec.errors import RegistryError, StorageError
from metarec.evaluate.interval import Interval
from metarec.serving.learner import BUNDLE, Learner
from metarec.tracking import Run, Store, connect, find_run, store_uri, talking_to

CANDIDATE, CHAMPION = "candidate", "champion"
RECORD = "record"
"""The folder of an MLflow model's artifacts that says how it came about: `config.toml` and `report.json`."""

_MODEL = "model"
_REQUIREMENTS = ("torch", "pyarrow", "safetensors", "jaxtyping", "tomli-w", "numpy", "pandas", "mlflow")
_MODEL_URI = re.compile(r"models:/(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<number>\d+))")
_RUN_URI = re.compile(rf"runs:/(?P<run_id>[^/]+)/{_MODEL}")
_MAKE = "python -m jobs.train registers a model as candidate and promotes it where the gate passes"


@dataclass(frozen=True)
class Version:
    """A registered version of a model.

    Attributes:
        name: the registered model.
        number: its version, counting from 1.
        run_id: the MLflow run that made it.
        tags: what is kept with it: `dataset.fingerprint`, `run.name`, `metric.<name>` with `.low` and `.high`, `gate`
            (the verdict, with the difference to every floor), `forced` where the gate was overruled.
    """

    name: str
    number: int
    run_id: str
    tags: Mapping[str, str]

    @property
    def uri(self) -> str:
        """`models:/<name>/<number>`."""
        return f"models:/{self.name}/{self.number}"

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the dataset that it was trained on."""
        return self.tags.get("dataset.fingerprint", "")

    @property
    def verdict(self) -> dict[str, Any]:
        """The gate's verdict when it was trained: `passed`, `reasons`, `opponents`.

        Raises:
            RegistryError: none is kept with it, because it was registered by something else.
        """
        if "gate" not in self.tags:
            raise RegistryError(f"{self.uri} carries no verdict of the gate; {_MAKE}")
        return dict(json.loads(self.tags["gate"]))


def log_and_register(
    run: Run,
    learner: Learner,
    *,
    name: str,
    metrics: Mapping[str, Interval],
    verdict: Mapping[str, Any],
    report: bytes,
) -> Version:
    """Log a learner as the run's model, register it as a new version of `name` and make that the `candidate`.

    The version is made last, when all its files are there: where something fails before, none is registered.

    Args:
        run: the run that made it.
        learner: its `facts` may name the `dataset` and its `fingerprint`.
        name: the registered model.
        metrics: its results with their intervals, kept as tags of the version.
        verdict: the gate's verdict, which `promote` goes by later.
        report: the JSON report of its evaluation beside the floors; travels with it, as its config does.

    Raises:
        TrackingError: the store refuses, or its files cannot be written.
    """
    client = run.store.client
    with talking_to(run.store.uri), tempfile.TemporaryDirectory() as folder:
        logged = client.create_logged_model(run.store.experiment_id, name=_MODEL, source_run_id=run.run_id)
        model = Model(run_id=run.run_id, model_id=logged.model_id, model_uuid=logged.model_id)
        _save(learner, Path(folder), model, report)
        client.log_model_artifacts(logged.model_id, f"{folder}/{_MODEL}")
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(run.run_id, [LoggedModelOutput(logged.model_id, step=0)])
        _ensure_registered(client, name)
        made = client.create_model_version(
            name,
            source=logged.artifact_location,  # models:/<id> would be looked up in the store of the working directory
            run_id=run.run_id,
            model_id=logged.model_id,
            tags=_version_tags(run, learner, metrics, verdict),
        )
        client.set_registered_model_alias(name, CANDIDATE, made.version)
    return _version(made)


def candidate(store: Store, name: str) -> Version | None:
    """The newest version of a model, or None."""
    return _aliased(store, name, CANDIDATE)


def champion(store: Store, name: str) -> Version | None:
    """The version that passed the gate last, or None."""
    return _aliased(store, name, CHAMPION)


def promote(store: Store, name: str, version: int, *, forced: bool = False) -> Version:
    """Make a version the champion; whether it passed the gate is the caller's business.

    Args:
        store: where it is registered.
        name: the registered model.
        version: its number.
        forced: record that the gate was overruled, as the version's tag `forced`.

    Raises:
        RegistryError: there is no such version.
    """
    with talking_to(store.uri):
        _find(store.client, f"models:/{name}/{version}", name=name, number=str(version))
        if forced:
            store.client.set_model_version_tag(name, str(version), "forced", "true")
        store.client.set_registered_model_alias(name, CHAMPION, str(version))
        return _version(store.client.get_model_version(name, str(version)))


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
            path = mlflow.artifacts.download_artifacts(artifact_uri=location, dst_path=folder, tracking_uri=store)
        return _read(uri, path)


def _read(uri: str, bundle: str) -> Learner:
    try:
        _, files = storage.read_bundle(bundle, "model")
        return Learner.from_files(files)
    except StorageError as error:
        raise type(error)(f"model {uri} cannot be used: {error.message}") from error


def _locate(client: MlflowClient, uri: str) -> str:
    """Where the files of a model lie."""
    if match := _MODEL_URI.fullmatch(uri):
        found = _find(client, uri, **match.groupdict())
        return str(client.get_model_version_download_uri(found.name, found.version))
    match = _RUN_URI.fullmatch(uri)
    if not match:
        raise RegistryError(
            f"{uri!r} is no model URI; use models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN_ID/{_MODEL} or a folder"
        )
    run = find_run(client, match["run_id"])
    outputs = None if run is None else run.outputs
    if outputs is None or not outputs.model_outputs:
        fault = "is not in this store" if run is None else "has logged no model"
        raise RegistryError(f"there is no model {uri}: the run {fault}; {_MAKE}")
    return str(client.get_logged_model(outputs.model_outputs[-1].model_id).artifact_location)


def _find(
    client: MlflowClient, uri: str, *, name: str, alias: str | None = None, number: str | None = None
) -> ModelVersion:
    """A version by alias or number; the error says what there is instead."""
    versions = {str(each.version): each for each in client.search_model_versions(f"name = '{name}'")}
    if not versions:
        names = [each.name for each in client.search_registered_models()]
        raise RegistryError(f"there is no model {uri}; registered: {', '.join(names) or 'none'}; {_MAKE}")
    aliases = {each: str(v) for each, v in client.get_registered_model(name).aliases.items()}
    version = number if number is not None else aliases.get(str(alias))
    if version not in versions:
        there = [f"@{each} (version {v})" for each, v in aliases.items()]
        raise RegistryError(
            f"there is no {uri}; {name} has versions {', '.join(sorted(versions, key=int))} and aliases "
            f"{', '.join(there) or 'none'}; python -m jobs.promote makes the candidate champion"
        )
    return versions[version]


def _require_sqlite_file(uri: str, store: str) -> None:
    database = store.removeprefix("sqlite:///")
    if database != store and not Path(database).exists():
        raise RegistryError(f"there is no model {uri}: nothing is registered in {store} yet; {_MAKE}")


def _aliased(store: Store, name: str, alias: str) -> Version | None:
    try:
        with talking_to(store.uri):
            return _version(_find(store.client, f"models:/{name}@{alias}", name=name, alias=alias))
    except RegistryError:
        return None


def _version(found: ModelVersion) -> Version:
    return Version(found.name, int(found.version), found.run_id, dict(found.tags))


def _ensure_registered(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _version_tags(
    run: Run, learner: Learner, metrics: Mapping[str, Interval], verdict: Mapping[str, Any]
) -> dict[str, str]:
    ends = {f"metric.{name}{end}": number for name, found in metrics.items() for end, number in _parts(found)}
    return {
        "dataset.name": str(learner.facts.get("dataset", "")),
        "dataset.fingerprint": str(learner.facts.get("fingerprint", "")),
        "run.name": run.name,
        "gate": json.dumps(dict(verdict)),
        **{name: repr(float(number)) for name, number in ends.items()},
    }


def _parts(interval: Interval) -> list[tuple[str, float]]:
    return [("", interval.value), (".low", interval.low), (".high", interval.high)]


def _save(learner: Learner, folder: Path, model: Model, report: bytes) -> None:
    """The learner as an MLflow model in `folder/model`: bundle, code, signature, requirements and an example."""
    import mlflow.pyfunc  # half a second that pulling does not need

    storage.write_bundle(f"{folder}/{BUNDLE}", "model", learner.to_files())
    (folder / RECORD).mkdir()
    (folder / RECORD / "config.toml").write_text(to_toml(learner.config), encoding="utf-8")
    (folder / RECORD / "report.json").write_bytes(report)
    package = Path(__file__).parent
    mlflow.pyfunc.save_model(
        path=f"{folder}/{_MODEL}",
        mlflow_model=model,
        python_model=str(package / "pyfunc.py"),
        artifacts={BUNDLE: f"{folder}/{BUNDLE}", RECORD: f"{folder}/{RECORD}"},
        code_paths=[str(package)],
        signature=_signature(),
        input_example=_example(learner),
        pip_requirements=[f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in _REQUIREMENTS],
    )


def _signature() -> ModelSignature:
    texts, numbers = Array(DataType.string), Array(DataType.double)
    return ModelSignature(
        inputs=Schema([ColSpec(texts, "support_items"), ColSpec(numbers, "support_ratings")]),
        outputs=Schema(
            [ColSpec(texts, "items"), ColSpec(texts, "titles"), ColSpec(numbers, "scores"), ColSpec(texts, "unknown")]
        ),
        params=ParamSchema([ParamSpec("k", DataType.long, 10)]),
    )


def _example(learner: Learner) -> pd.DataFrame:
    """A request of a made-up user: the first items with ratings spread evenly over the scale."""
    head = learner.schema.heads[0]
    items = list(learner.item_ids[:3])
    ratings = [float(rating) for rating in np.linspace(head.low, head.high, len(items))]
    return pd.DataFrame({"support_items": [items], "support_ratings": [ratings]})
