"""Start a run's workers, watch over them, and say in one sentence why they failed if they do."""

import contextlib
import math
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import ray.train
from ray.train.torch import TorchConfig, TorchTrainer

from metarec import storage
from metarec.config import Config, config_to_dict
from metarec.data.dataset import Dataset
from metarec.train.failures import EndAtOnce, in_one_sentence
from metarec.train.room import RoomWatch, check_resources
from metarec.train.run import RunFolder
from metarec.train.worker import run_worker

SECONDS_BETWEEN_LOOKS = 0.2
CONTROLLER_POLL_SECONDS = "0.2"
SECONDS_A_START = 20
"""After which a start that finds no room is given up; Ray counts these, and makes another until they are too many."""


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
    say: Callable[[str], None] = lambda line: None,
    shown: bool = False,
) -> dict[str, Any]:
    """Train until the schedule is done, or until `stop` is set; a stopped run has saved where it stands.

    Args:
        config: of the run.
        dataset: the prepared tasks.
        folder: where the run keeps its checkpoints and journal.
        watch: called in the calling thread.
        stop: set it to ask the workers to save and return.
        say: takes a line for a person, when the cluster loses what the run needs and when it has it again.
        shown: whether the run is to be seen on the dashboard of the cluster; a Ray of the job's own has none.

    Returns:
        What `run_worker` returns.

    Raises:
        ClusterError: the cluster cannot give what the run asks for, or `train.max_wait_minutes` after it lost it.
        TrainingError: the workers failed more often than `train.max_failures`; the first cause is named.
        MetarecError: what a worker met that another try cannot mend, such as a full disk.
    """
    each = check_resources(config)
    storage.delete(folder.stop_request)
    settings = {"config": config_to_dict(config), "dataset": dataset.uri, "run": folder.uri}
    room, outcome = RoomWatch(config, each, say), dict[str, Any]()

    def work() -> None:
        try:
            outcome["value"] = run_worker(settings) if each == 0 else _fit(config, settings, each, shown)
        except BaseException as error:  # handed to the calling thread, which raises it
            outcome["error"] = error

    thread = threading.Thread(target=work, name="training", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(SECONDS_BETWEEN_LOOKS)
        if stop.is_set() and not storage.exists(folder.stop_request):
            storage.write_bytes(folder.stop_request, b"")
        if each:
            room.look()
        watch()
    watch(last=True)
    if "error" in outcome:
        raise outcome["error"]
    return dict(outcome["value"])


def _fit(config: Config, settings: dict[str, Any], cpus: float, shown: bool) -> dict[str, Any]:
    starts = math.ceil(60 * config.train.max_wait_minutes / SECONDS_A_START)
    with environment(
        RAY_TRAIN_HEALTH_CHECK_INTERVAL_S=CONTROLLER_POLL_SECONDS,
        RAY_TRAIN_ENABLE_STATE_TRACKING="1" if shown else "0",
        RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S=str(SECONDS_A_START),
    ):
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
                failure_config=ray.train.FailureConfig(
                    max_failures=config.train.max_failures, controller_failure_limit=max(starts - 1, 0)
                ),
                callbacks=[EndAtOnce()],
                logging_config=ray.train.LoggingConfig(log_level="WARNING"),
            ),
        )
        try:
            return dict(trainer.fit().return_value)
        except ray.train.TrainingFailedError as error:
            raise in_one_sentence(error, config, cpus) from error


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set what is not set yet of the variables that Ray reads, for as long as the block runs."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
