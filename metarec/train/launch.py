"""Start a run's workers, watch over them, and say in one sentence why they failed if they do."""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import ray.train
from ray.train.torch import TorchConfig, TorchTrainer

from metarec import storage
from metarec.config import Config, config_to_dict
from metarec.data.dataset import Dataset
from metarec.errors import MetarecError, TrainingError
from metarec.train.preflight import check_resources
from metarec.train.run import RunFolder
from metarec.train.worker import run_worker

SECONDS_BETWEEN_LOOKS = 0.2
CONTROLLER_POLL_SECONDS = "0.2"


@runtime_checkable
class Watch(Protocol):
    """Called now and then while the workers train, and once with `last` when they are done."""

    def __call__(self, *, last: bool = False) -> None:
        """Look at what has come since the last call."""
        ...


def launch(
    config: Config,
    dataset: Dataset,
    folder: RunFolder,
    *,
    watch: Watch,
    stop: threading.Event,
) -> dict[str, Any]:
    """Train until the schedule is done, or until `stop` is set; a stopped run has saved where it stands.

    Args:
        config: of the run.
        dataset: the prepared tasks.
        folder: where the run keeps its checkpoints and journal.
        watch: called in the calling thread.
        stop: set it to ask the workers to save and return.

    Returns:
        What `run_worker` returns.

    Raises:
        ClusterError: the cluster cannot give what the run asks for.
        TrainingError: the workers failed more often than `train.max_failures`; the first cause is named.
    """
    each = check_resources(config)
    storage.delete(folder.stop_request)
    settings = {"config": config_to_dict(config), "dataset": dataset.uri, "run": folder.uri}
    outcome: dict[str, Any] = {}

    def work() -> None:
        try:
            outcome["value"] = run_worker(settings) if each == 0 else _fit(config, settings, folder, each)
        except BaseException as error:  # handed to the calling thread, which raises it
            outcome["error"] = error

    thread = threading.Thread(target=work, name="training", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(SECONDS_BETWEEN_LOOKS)
        if stop.is_set() and not storage.exists(folder.stop_request):
            storage.write_bytes(folder.stop_request, b"")
        watch()
    watch(last=True)
    if "error" in outcome:
        raise outcome["error"]
    return dict(outcome["value"])


def _fit(config: Config, settings: dict[str, Any], folder: RunFolder, cpus: float) -> dict[str, Any]:
    shown = "1" if "RAY_ADDRESS" in os.environ else "0"  # on the dashboard of a cluster; a Ray of our own has none
    with _environment(RAY_TRAIN_HEALTH_CHECK_INTERVAL_S=CONTROLLER_POLL_SECONDS, RAY_TRAIN_ENABLE_STATE_TRACKING=shown):
        trainer = TorchTrainer(
            run_worker,
            train_loop_config=settings,
            torch_config=TorchConfig(backend="nccl" if config.train.use_gpu else "gloo", timeout_s=300),
            scaling_config=ray.train.ScalingConfig(
                num_workers=config.train.num_workers,
                use_gpu=config.train.use_gpu,
                resources_per_worker={"CPU": cpus, **({"GPU": 1} if config.train.use_gpu else {})},
            ),
            run_config=ray.train.RunConfig(
                name=config.run.name,
                storage_path=storage.join(config.output.uri, "ray-train"),
                failure_config=ray.train.FailureConfig(max_failures=config.train.max_failures),
                logging_config=ray.train.LoggingConfig(log_level="WARNING"),
            ),
        )
        try:
            return dict(trainer.fit().return_value)
        except ray.train.WorkerGroupError as error:
            raise _first_cause(error, config) from error
        except ray.train.TrainingFailedError as error:
            raise TrainingError(f"run {config.run.name!r} failed: {error}") from error


def _first_cause(error: ray.train.WorkerGroupError, config: Config) -> MetarecError:
    """What the first failed worker said; its own error where that is one of ours."""
    rank, failure = min(error.worker_failures.items())
    cause = getattr(failure, "cause", failure)
    if isinstance(cause, MetarecError):
        return cause
    return TrainingError(
        f"worker {rank} of run {config.run.name!r} failed {config.train.max_failures + 1} times, last with "
        f"{type(cause).__name__}: {cause}; run the same command again to go on from the last checkpoint"
    )


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set what is not set yet, for as long as a trainer is built and run."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
