"""What each training worker runs: open the dataset, build the learner, go on where the run stands, train.

The same function serves a Ray Train worker and, with `num_workers = 0`, the job's own process: the process group is
what tells them apart.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from metarec import storage
from metarec.algorithms.committee import AnyLearner, is_trained, members_of
from metarec.build import build_learner, member_configs
from metarec.config import Config, config_from_dict
from metarec.data.biases import with_held_out_biases
from metarec.data.dataset import Dataset, open_dataset
from metarec.data.histories import Histories
from metarec.data.negatives import Negatives
from metarec.data.schedule import Schedule
from metarec.data.stream import BatchBuilder, SupportSizes, stream_batches
from metarec.evaluate.metric import metric_named
from metarec.evaluate.validation import ValidationTasks
from metarec.task import Catalogue
from metarec.train.checkpoint import CheckpointFolder, Progress
from metarec.train.journal import Journal
from metarec.train.loop import Hooks, Metrics, Optimisation, train
from metarec.train.run import RunFolder
from metarec.train.team import Team
from metarec.train.warm_start import warm_start, with_held_out_vectors

SECONDS_BETWEEN_STOP_CHECKS = 0.5
MOST_NAMED = 20
"""Users of whom each worker says by name that their task was not finite."""


def run_worker(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train as one of the workers of a run, from its newest checkpoint.

    Args:
        settings: `config` as nested tables, `dataset` and `run` as URIs; plain values, so that they travel.

    Returns:
        `step`, `num_tasks_seen`, `num_tasks_due` and `stopped`, the same on each worker, and `warnings` for a person.
    """
    config = config_from_dict(settings["config"])
    dataset, folder, team = open_dataset(settings["dataset"]), RunFolder(settings["run"]), Team.current(_device(config))
    training, catalogue = dataset.histories("train"), dataset.catalogue()
    learner, met_in_training = starting_point(config, dataset, catalogue, training)
    learner = learner.to(team.device)
    groups = [{"params": list(member.parameters())} for member in members_of(learner) if is_trained(member)]
    optimizer = torch.optim.AdamW(groups, lr=config.outer.lr, weight_decay=config.outer.weight_decay)
    checkpoints = checkpoints_of(config, folder)
    warnings: list[str] = []
    start = _restore(checkpoints, learner, optimizer, team, warnings.append)
    schedule = schedule_of(config, dataset)
    negatives = Negatives.among_known(catalogue, config.task.num_negatives)
    parts, seed = dataset.parts("train"), config.run.seed
    rank, world_size = team.rank, team.world_size
    builder = BatchBuilder(parts, schedule, config.task, seed, negatives, rank, world_size, config.in_time)
    validation = ValidationTasks.draw(dataset, config, negatives, rank=rank, world_size=world_size)
    # Validation meets what the test will meet, training users what holds none of their own ratings.
    catalogue = catalogue.to(team.device)
    hooks = Hooks(
        sum_over_workers=team.sum,
        validate=lambda: validation.metric(learner.predict, catalogue, team.sum),
        save=_saver(checkpoints, learner, optimizer, team),
        report=_reporter(folder, start, team),
        name_bad_tasks=_bad_task_namer(dataset, warnings.append),
        should_stop=_stop_check(folder.stop_request),
    )
    with contextlib.closing(stream_batches(builder, start.step)) as batches:
        progress, stopped = train(
            team.wrap(learner),
            met_in_training.to(team.device),
            batches,
            schedule=schedule,
            start=start,
            world_size=team.world_size,
            optimisation=Optimisation(optimizer, config.outer.lr, config.outer.decay, config.outer.clip),
            rhythm=config.train,
            hooks=hooks,
        )
    return {
        "step": progress.step,
        "num_tasks_seen": progress.num_tasks_seen,
        "num_tasks_due": schedule.num_tasks * schedule.num_epochs,
        "stopped": stopped,
        "warnings": [warning for each in team.from_all(warnings) for warning in each],
    }


def schedule_of(config: Config, dataset: Dataset) -> Schedule:
    """The order of a run's training tasks."""
    parts, seed, rhythm = dataset.parts("train"), config.run.seed, config.train
    sizes = SupportSizes(parts, seed, config.task)
    num_tasks = dataset.num_tasks("train")
    return Schedule(num_tasks, rhythm.meta_batch, config.outer.epochs, seed, rhythm.size_window, sizes)


def checkpoints_of(config: Config, folder: RunFolder) -> CheckpointFolder:
    """A run's checkpoints, the best of which is that by `evaluate.primary`."""
    lower_is_better = metric_named(config.evaluate.primary).lower_is_better
    run_id = folder.read_state().get("mlflow_run_id", "")
    return CheckpointFolder(folder.checkpoints, config.train.keep_checkpoints, lower_is_better, run_id)


def _device(config: Config) -> torch.device:
    """The GPU that Ray Train gave this worker, else the CPU."""
    if config.train.use_gpu and config.train.num_workers > 0:
        import ray.train.torch

        return torch.device(ray.train.torch.get_device())
    return torch.device("cpu")


def starting_point(
    config: Config, dataset: Dataset, catalogue: Catalogue, training: Histories
) -> tuple[AnyLearner, Catalogue]:
    """The learner that a run starts from, and the catalogue that training tasks meet; the same on each worker.

    Of that catalogue no training user's own ratings are a part.
    """
    learner = build_learner(config, dataset.schema)
    members = zip(members_of(learner), member_configs(config), strict=True)
    starts = [start for member, own in members if (start := warm_start(member, own, catalogue, training))]
    held_out = with_held_out_biases(catalogue, training)
    if starts and any(member.model.adds_item_fields for member in members_of(learner)):
        held_out = with_held_out_vectors(held_out, training, starts)
    return learner, held_out


def _restore(
    checkpoints: CheckpointFolder,
    learner: AnyLearner,
    optimizer: torch.optim.Optimizer,
    team: Team,
    warn: Callable[[str], None],
) -> Progress:
    """Put the newest whole checkpoint in place, the same on each worker; a new run starts at step 0."""
    step = team.from_first(checkpoints.newest(warn) if team.rank == 0 else None)
    return Progress(0, float("nan"), 0) if step is None else checkpoints.load(step, learner, optimizer)


def _saver(
    checkpoints: CheckpointFolder, learner: AnyLearner, optimizer: torch.optim.Optimizer, team: Team
) -> Callable[[Progress], None]:
    def save(progress: Progress) -> None:
        if team.rank == 0:
            checkpoints.save(learner, optimizer, progress)
        team.wait()

    return save


def _reporter(folder: RunFolder, start: Progress, team: Team) -> Callable[[int, Metrics], None]:
    """Rank 0 keeps the journal, whole at the end of each epoch."""
    journal = Journal(folder.journal, first_step=start.step) if team.rank == 0 else None

    def report(step: int, metrics: Metrics) -> None:
        if journal is not None:
            journal.write(step, metrics)
            if "train.seconds" in metrics:  # an epoch ended, or the run was stopped
                journal.flush()

    return report


def _bad_task_namer(dataset: Dataset, warn: Callable[[str], None]) -> Callable[[int, list[int]], None]:
    """Name the users whose task was left out of a step because it was not finite, the first of them at least."""
    named = 0

    def name(step: int, users: list[int]) -> None:
        nonlocal named
        if named < MOST_NAMED:
            ids = dataset.user_ids()
            warn(f"step {step}: left out as not finite the tasks of {', '.join(ids[user] for user in users)}")
        named += len(users)
        if named >= MOST_NAMED > named - len(users):
            warn("more tasks that were not finite are counted in the journal as train.bad_tasks")

    return name


def _stop_check(request: str) -> Callable[[], bool]:
    """Whether someone asked the run to stop; looks at most twice a second."""
    checked = -float("inf")
    asked = False

    def should_stop() -> bool:
        nonlocal checked, asked
        if time.monotonic() - checked > SECONDS_BETWEEN_STOP_CHECKS:
            checked, asked = time.monotonic(), storage.exists(request)
        return asked

    return should_stop
