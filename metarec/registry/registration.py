"""A learner becomes a registered version, the candidate."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from mlflow.exceptions import MlflowException
from mlflow.models import Model

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
        logged = client.create_logged_model(run.store.experiment_id, name=MODEL, source_run_id=run.run_id)
        model = Model(run_id=run.run_id, model_id=logged.model_id, model_uuid=logged.model_id)
        save_model(learner, Path(folder), model, report)
        client.log_model_artifacts(logged.model_id, f"{folder}/{MODEL}")
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
    return version_of(made)


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
