"""A learner becomes a registered version, the candidate, or nothing is left of the attempt."""

import contextlib
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from metarec.errors import TrackingError
from metarec.evaluate.interval import Interval
from metarec.registry.mlflow_model import MODEL, save_model
from metarec.registry.versions import CANDIDATE, Version, version_of
from metarec.serving.learner import Learner
from metarec.tracking import Run, talking_to


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

    The version is made when all its files are there. Where something fails, what was made is taken back; where that
    fails too, or the process was killed, the version is found again by the run that made it, and gets the tags and the
    alias that it should have.

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
    client, tags = run.store.client, _version_tags(run, learner, metrics, verdict)
    with talking_to(run.store.uri):
        earlier = _made_by(client, name, run.run_id)
        if not earlier:
            return version_of(_make(run, learner, name, tags, report))
        made = str(earlier[0].version)
        for tag, value in tags.items():
            client.set_model_version_tag(name, made, tag, value)
        client.set_registered_model_alias(name, CANDIDATE, made)
        return version_of(client.get_model_version(name, made))


def _make(run: Run, learner: Learner, name: str, tags: Mapping[str, str], report: bytes) -> ModelVersion:
    client = run.store.client
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as on_failure:

        def undo(call: Callable[..., object], *arguments: object) -> None:
            on_failure.callback(_try, run.store.uri, call, *arguments)

        logged = client.create_logged_model(run.store.experiment_id, name=MODEL, source_run_id=run.run_id)
        undo(client.delete_logged_model, logged.model_id)
        model = Model(run_id=run.run_id, model_id=logged.model_id, model_uuid=logged.model_id)
        save_model(learner, Path(folder), model, report)
        client.log_model_artifacts(logged.model_id, f"{folder}/{MODEL}")
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(run.run_id, [LoggedModelOutput(logged.model_id, step=0)])
        if _is_new(client, name):
            undo(_delete_without_versions, client, name)
        elif before := client.get_registered_model(name).aliases.get(CANDIDATE):
            undo(client.set_registered_model_alias, name, CANDIDATE, before)
        undo(_delete_made_by, client, name, run.run_id)
        made = client.create_model_version(
            name,
            source=logged.artifact_location,  # models:/<id> would be looked up in the store of the working directory
            run_id=run.run_id,
            model_id=logged.model_id,
            tags=dict(tags),
        )
        client.set_registered_model_alias(name, CANDIDATE, made.version)
        on_failure.pop_all()
    return made


def _try(store_uri: str, call: Callable[..., object], *arguments: object) -> None:
    """Take something back if the store lets us; the fault in flight is the one to show."""
    with contextlib.suppress(TrackingError), talking_to(store_uri):
        call(*arguments)


def _made_by(client: MlflowClient, name: str, run_id: str) -> list[ModelVersion]:
    """The versions of a model that a run made, the newest first."""
    found = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    return sorted(found, key=lambda version: -int(version.version))


def _delete_made_by(client: MlflowClient, name: str, run_id: str) -> None:
    for version in _made_by(client, name, run_id):
        client.delete_model_version(name, version.version)


def _delete_without_versions(client: MlflowClient, name: str) -> None:
    if not client.search_model_versions(f"name = '{name}'"):  # else another run has made one meanwhile
        client.delete_registered_model(name)


def _is_new(client: MlflowClient, name: str) -> bool:
    """Make a registered model where there is none of the name; whether there was none."""
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return False
    return True


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
