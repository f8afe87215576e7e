"""A run in MLflow: its params, its lineage, its files, and its true status.

Only `MlflowClient` and run ids are used, never MLflow's active run or experiment, which live in the environment that
worker processes inherit. Workers do not talk to MLflow: rank 0 keeps a journal, and `delivery` brings it to the server.
"""

import io
import json
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException

from metarec.config import Config, flatten, to_toml
from metarec.errors import TrackingError
from metarec.tracking.outbox import as_metrics
from metarec.tracking.provenance import provenance
from metarec.tracking.store import Store, shown, talking_to
from metarec.train.journal import JournalLine
from metarec.train.run import RunFolder

Status = Literal["FINISHED", "FAILED", "KILLED"]
STATUS: dict[str, Status] = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}
"""By what a run's folder says of its ending; before it has ended that says `new` or `running`."""

_IDENTITY = "metarec.identity"
"""The tag by which a run is found again whose id nobody noted."""
_FINGERPRINT = "dataset.fingerprint"
_MAX_PARAM_LENGTH = 6000
_MAX_TAG_LENGTH = 8000
_MAX_DIGEST_LENGTH = 36
_PARAMS_PER_BATCH = 100
_LOG = logging.getLogger(__name__)


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

    def log_metrics(self, step: int, metrics: Mapping[str, float], *, time_seconds: float | None = None) -> None:
        """Send metrics of one step now; those of a training go by its journal, which nobody waits for.

        Args:
            step: the outer step or epoch they belong to.
            metrics: name → value; in names `@` becomes `_at_` and other characters that MLflow refuses `_`.
            time_seconds: when they were measured, in unix seconds; now if not given.
        """
        line = JournalLine(step, time.time() if time_seconds is None else time_seconds, dict(metrics))
        with talking_to(self.store.uri):
            self.store.client.log_batch(self.run_id, metrics=as_metrics(line))

    def log_artifact_bytes(self, name: str, content: bytes) -> None:
        """Keep a file among the run's artifacts, under a name such as `report.json` or `plots/curve.png`."""
        with talking_to(self.store.uri):
            self.store.client.log_stream(self.run_id, io.BytesIO(content), name)

    def log_dataset(self, manifest: Mapping[str, Any]) -> None:
        """Record, once, which dataset the run used: its lineage, its manifest as an artifact, and no rating.

        Args:
            manifest: of a prepared dataset; `name`, `fingerprint`, `counts` and `source` are used.
        """
        with talking_to(self.store.uri):
            logged = self.store.client.get_run(self.run_id).data.tags
        if logged.get(_FINGERPRINT) == manifest["fingerprint"]:  # the tag comes last
            return
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
        self.log_artifact_bytes("dataset/manifest.json", json.dumps(dict(manifest), indent=1).encode())
        self.set_tags({"dataset.name": dataset.name, _FINGERPRINT: manifest["fingerprint"]})

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set tags; a longer text than MLflow takes is cut."""
        entries = [RunTag(name, _cut(str(value), _MAX_TAG_LENGTH)) for name, value in tags.items()]
        with talking_to(self.store.uri):
            for batch in _batches(entries):
                self.store.client.log_batch(self.run_id, tags=batch)

    def finish(self, status: Status = "FINISHED") -> None:
        """End the run with a status."""
        with talking_to(self.store.uri):
            self.store.client.set_terminated(self.run_id, status)

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failed = kind is not None and issubclass(kind, Exception)
        try:
            self.finish("FINISHED" if kind is None else "FAILED" if failed else "KILLED")
        except TrackingError as unreachable:  # what was done is done, and an error in flight is the one to show
            _LOG.warning("run %s keeps the status RUNNING until python -m jobs.sync: %s", self.name, unreachable)


def start_run(
    store: Store,
    name: str,
    config: Config,
    *,
    resume_run_id: str | None = None,
    identity: str | None = None,
    tags: Mapping[str, object] | None = None,
) -> Run:
    """Start an MLflow run, or go on with one, and log its config: each setting a param under its own name.

    Params cannot change: on resume a setting that differs becomes the tag `changed.<setting>`. The whole config is the
    artifact `config.toml`.

    Args:
        store: where the run is kept.
        name: the run's name.
        config: the settings in force.
        resume_run_id: the run to go on with.
        identity: what tells the work from all other. A start that was killed before it could note the id of the run
            that it had made left a run of this identity, which is gone on with.
        tags: further tags.

    Raises:
        TrackingError: the run to go on with is not there, or the store refuses.
    """
    with talking_to(store.uri):
        known = resume_run_id or _made_for(store, identity)
        run = Run(store, _reopen(store, known) if known else _make(store, name, identity), name)
        run.set_tags({**provenance(), **(tags or {})})
        _log_params(run, config)
    run.log_artifact_bytes("config.toml", to_toml(config).encode())
    return run


def track(
    store: Store,
    folder: RunFolder,
    config: Config,
    noted: str | None = None,
    *,
    tags: Mapping[str, object] | None = None,
) -> Run:
    """The run in MLflow of a run's folder, which keeps its id: started, or gone on with.

    Args:
        store: where the run is kept.
        folder: of the run.
        config: the settings in force.
        noted: the id to go on with where the folder has none, such as a checkpoint's.
        tags: further tags.

    Raises:
        TrackingError: the run to go on with is not there, or the store refuses.
    """
    known = folder.read_state().get("mlflow_run_id") or noted
    run = start_run(store, config.run.name, config, resume_run_id=known, identity=folder.identity(), tags=tags)
    folder.update_state(mlflow_run_id=run.run_id)
    return run


def _make(store: Store, name: str, identity: str | None) -> str:
    tags = {} if identity is None else {_IDENTITY: identity}
    return str(store.client.create_run(store.experiment_id, run_name=name, tags=tags).info.run_id)


def _made_for(store: Store, identity: str | None) -> str | None:
    """The run that was made for some work, or None."""
    if identity is None:
        return None
    found = store.client.search_runs([store.experiment_id], f"tags.`{_IDENTITY}` = '{identity}'", max_results=1)
    return str(found[0].info.run_id) if found else None


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
            f"MLflow run {run_id} {fault} {shown(store.uri)}, so that it cannot go on; choose another run.name"
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


def _as_text(value: object) -> str:
    return json.dumps(value) if isinstance(value, list | dict) else str(value)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _batches(entries: list[Any]) -> Iterable[list[Any]]:
    return (entries[start : start + _PARAMS_PER_BATCH] for start in range(0, len(entries), _PARAMS_PER_BATCH))
