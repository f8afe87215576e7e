"""The training loop: plain torch, told by arguments where batches come from and where results go.

It knows neither Ray nor MLflow. Several workers run it in step; the meta-gradient is that of the mean loss over a
step's tasks on all workers, whatever the number of tasks that each of them holds.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarec.data.schedule import Schedule
from metarec.task import Catalogue, TaskBatch
from metarec.train.checkpoint import Progress

Metrics = dict[str, float]
SumOverWorkers = Callable[[Float[Tensor, " values"]], Float[Tensor, " values"]]


@runtime_checkable
class Rhythm(Protocol):
    """The settings of the loop; `TrainConfig` has them."""

    @property
    def validate_every(self) -> int:
        """Epochs between validations."""
        ...

    @property
    def checkpoint_every(self) -> int:
        """Epochs between checkpoints."""
        ...


@dataclass(frozen=True)
class Hooks:
    """What the loop calls and how workers add up numbers.

    Attributes:
        sum_over_workers: the sum of a small vector over all workers; the same result on each.
        validate: the validation metric, the same on each worker; lower is better.
        save: writes a checkpoint; called on each worker at the same step.
        report: takes the metrics of a step; called on each worker.
        should_stop: whether this worker was asked to stop; one that was stops all, at the same step.
    """

    sum_over_workers: SumOverWorkers
    validate: Callable[[], float]
    save: Callable[[Progress], None]
    report: Callable[[int, Metrics], None]
    should_stop: Callable[[], bool] = field(default=lambda: False)


@dataclass(frozen=True)
class Optimisation:
    """The outer update.

    Attributes:
        optimizer: over all outer parameters.
        lr: the rate that a run starts from.
        decay: `cosine` takes the rate to 0 over the run, `constant` keeps it.
        clip: the norm to which a longer meta-gradient is cut.
    """

    optimizer: torch.optim.Optimizer
    lr: float
    decay: Literal["cosine", "constant"]
    clip: float

    def step(self, parameters: Iterable[nn.Parameter], fraction: float) -> float:
        """Take one outer step at a fraction of the run and return the norm of the meta-gradient before the cut."""
        rate = self.lr * (0.5 * (1 + math.cos(math.pi * fraction)) if self.decay == "cosine" else 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(norm)


def meta_step(
    learner: nn.Module, catalogue: Catalogue, batch: TaskBatch, *, num_tasks: int, world_size: int
) -> Float[Tensor, ""]:
    """Leave in each parameter's `grad` the gradient of the mean loss over a step's tasks on all workers.

    DDP averages over workers, so the local sum is scaled by world size / tasks of all workers together.

    Args:
        learner: a `MetaLearner`, wrapped in DDP where there are several workers.
        catalogue: what the batch points into.
        batch: this worker's tasks of the step; may be none.
        num_tasks: tasks of the step on all workers.
        world_size: workers.

    Returns:
        The sum of this worker's task losses.
    """
    output = learner(catalogue, batch)
    (output.surrogate * (world_size / num_tasks)).backward()
    losses: Tensor = output.losses
    return losses.sum()


def train(
    learner: nn.Module,
    catalogue: Catalogue,
    batches: Iterable[TaskBatch],
    *,
    schedule: Schedule,
    start: Progress,
    world_size: int,
    optimisation: Optimisation,
    rhythm: Rhythm,
    hooks: Hooks,
) -> tuple[Progress, bool]:
    """Train from where a run stands to the end of its schedule, or until it is asked to stop.

    Args:
        learner: as in `meta_step`.
        catalogue: what the batches point into.
        batches: this worker's batch of each step from `start.step` on.
        schedule: which steps end an epoch and how many tasks each has.
        start: where the run stands.
        world_size: workers.
        optimisation: the outer update.
        rhythm: when to validate and to save.
        hooks: where results go.

    Returns:
        Where the run stands now, saved, and whether it was asked to stop before the end.
    """
    progress, began = start, time.perf_counter()
    device = next(learner.parameters()).device
    for step, batch in enumerate(batches, start=start.step):
        size = schedule.size_of(step)
        local = meta_step(learner, catalogue, batch.to(device), num_tasks=size, world_size=world_size)
        norm = optimisation.step(learner.parameters(), step / schedule.num_steps)
        votes = torch.stack([local.double(), local.new_tensor(float(hooks.should_stop())).double()])
        loss, stops = hooks.sum_over_workers(votes).tolist()
        progress = Progress(step + 1, float("nan"), progress.num_tasks_seen + size)
        metrics = {"train.loss": loss / size, "train.gradient_norm": norm, "train.tasks_seen": progress.num_tasks_seen}
        if schedule.ends_epoch(step) or stops:
            progress, epoch_metrics = _end_of_epoch(progress, schedule, rhythm, hooks, stopping=stops > 0)
            seconds, began = time.perf_counter() - began, time.perf_counter()
            metrics |= epoch_metrics | {"train.seconds": seconds}
        hooks.report(step, metrics)
        if stops:
            return progress, progress.step < schedule.num_steps
    return progress, False


def _end_of_epoch(
    progress: Progress, schedule: Schedule, rhythm: Rhythm, hooks: Hooks, *, stopping: bool
) -> tuple[Progress, Metrics]:
    """Validate and save where the rhythm says so; at the end of a run and when stopping, save in any case."""
    epoch = progress.step // schedule.steps_per_epoch
    last = progress.step == schedule.num_steps
    metrics: Metrics = {}
    if last or (not stopping and epoch % rhythm.validate_every == 0):
        progress = Progress(progress.step, hooks.validate(), progress.num_tasks_seen)
        metrics["validation.metric"] = progress.validation
    if last or stopping or epoch % rhythm.checkpoint_every == 0:
        hooks.save(progress)
    return progress, metrics
