"""The training loop: plain torch, told by arguments where batches come from and where results go.

It knows neither Ray nor MLflow. Several workers run it in step; the meta-gradient is that of the mean loss over a
step's tasks on all workers, whatever the number of tasks that each of them holds.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarec.data.schedule import Schedule
from metarec.errors import DivergedError
from metarec.task import Catalogue, TaskBatch, select_tasks
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

    @property
    def max_bad_tasks(self) -> float:
        """The share of an epoch's tasks that may be left out as not finite."""
        ...


@dataclass(frozen=True)
class Hooks:
    """What the loop calls and how workers add up numbers.

    Attributes:
        sum_over_workers: the sum of a small vector over all workers; the same result on each.
        validate: the validation metric, the same on each worker.
        save: writes a checkpoint; called on each worker at the same step.
        report: takes the metrics of a step; called on each worker.
        name_bad_tasks: takes the catalogue's indices of this worker's users whose task was not finite, and the step.
        should_stop: whether this worker was asked to stop; one that was stops all, at the same step.
    """

    sum_over_workers: SumOverWorkers
    validate: Callable[[], float]
    save: Callable[[Progress], None]
    report: Callable[[int, Metrics], None]
    name_bad_tasks: Callable[[int, list[int]], None] = field(default=lambda step, users: None)
    should_stop: Callable[[], bool] = field(default=lambda: False)


@dataclass(frozen=True)
class Optimisation:
    """The outer update.

    Attributes:
        optimizer: over all outer parameters; of a committee with a group for each member.
        lr: the rate that a run starts from.
        decay: `cosine` takes the rate to 0 over the run, `constant` keeps it.
        clip: the norm to which a longer meta-gradient is cut, that of each group for itself.
    """

    optimizer: torch.optim.Optimizer
    lr: float
    decay: Literal["cosine", "constant"]
    clip: float

    def step(self, fraction: float, num_good: int, num_tasks: int) -> float:
        """Take one outer step and return the norm of the meta-gradient before the cut.

        In `grad` of the parameters stands the gradient of the sum over `num_good` tasks divided by `num_tasks`. One
        that is not finite, or that no task has, is thrown away: weights and optimiser stay as they are.

        Args:
            fraction: how much of the run is done.
            num_good: tasks whose loss was finite, on all workers.
            num_tasks: tasks of the step on all workers.
        """
        groups = [group["params"] for group in self.optimizer.param_groups]
        if num_good == 0:
            self.optimizer.zero_grad(set_to_none=True)
            return float("nan")
        for parameter in itertools.chain(*groups) if num_good < num_tasks else ():
            if parameter.grad is not None:
                parameter.grad *= num_tasks / num_good
        rate = self.lr * (0.5 * (1 + math.cos(math.pi * fraction)) if self.decay == "cosine" else 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        norm = math.hypot(*(float(torch.nn.utils.clip_grad_norm_(group, self.clip)) for group in groups))
        if math.isfinite(norm):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm


def meta_step(
    learner: nn.Module,
    catalogue: Catalogue,
    batch: TaskBatch,
    *,
    num_tasks: int,
    world_size: int,
    progress: float = 1.0,
) -> Float[Tensor, " tasks"]:
    """Leave in each parameter's `grad` the gradient of the mean loss over a step's tasks on all workers.

    DDP averages over workers, so the local sum is scaled by world size / tasks of all workers together.

    Args:
        learner: a `MetaLearner`, wrapped in DDP where there are several workers.
        catalogue: what the batch points into.
        batch: this worker's tasks of the step; may be none.
        num_tasks: tasks of the step on all workers.
        world_size: workers.
        progress: how much of the run is done, from 0 to 1.

    Returns:
        This worker's task losses; NaN for a task that was left out because it is not finite, of which the gradient is
        free, though still divided by `num_tasks`.
    """
    output = learner(catalogue, batch, progress)
    (output.surrogate * (world_size / num_tasks)).backward()
    losses: Tensor = output.losses
    return losses


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
    bad_in_epoch = 0
    for step, batch in enumerate(batches, start=start.step):
        mine = batch.to(device)
        if step == start.step and world_size > 1:
            _settle_buckets(learner, catalogue, mine)
        size, fraction = schedule.size_of(step), step / schedule.num_steps
        losses = meta_step(learner, catalogue, mine, num_tasks=size, world_size=world_size, progress=fraction)
        good = losses.isfinite()
        if not good.all():
            hooks.name_bad_tasks(step, batch.query.user[~good.cpu(), 0].tolist())
        votes = [torch.where(good, losses, 0.0).sum(), (~good).sum(), losses.new_tensor(float(hooks.should_stop()))]
        loss, bad, stops = hooks.sum_over_workers(torch.stack([vote.double() for vote in votes])).tolist()
        norm = optimisation.step(fraction, size - int(bad), size)
        bad_in_epoch += int(bad)
        _refuse_too_many_bad_tasks(bad_in_epoch, step, schedule, rhythm)
        progress = Progress(step + 1, float("nan"), progress.num_tasks_seen + size)
        metrics = {
            "train.loss": loss / max(size - bad, 1),
            "train.gradient_norm": norm,
            "train.tasks_seen": progress.num_tasks_seen,
            "train.bad_tasks": bad,
            "train.skipped": float(not math.isfinite(norm)),
        }
        if schedule.ends_epoch(step) or stops:
            progress, epoch_metrics = _end_of_epoch(progress, schedule, rhythm, hooks, stopping=stops > 0)
            seconds, began, bad_in_epoch = time.perf_counter() - began, time.perf_counter(), 0
            epochs = progress.step / schedule.steps_per_epoch
            metrics |= epoch_metrics | {"train.seconds": seconds, "train.epochs": epochs}
        hooks.report(step, {name: value for name, value in metrics.items() if math.isfinite(value)})
        if stops:
            return progress, progress.step < schedule.num_steps
    return progress, False


def _settle_buckets(learner: nn.Module, catalogue: Catalogue, batch: TaskBatch) -> None:
    """A backward pass that adds nothing, so that the first step of a start adds up in the order of all others.

    DDP puts its buckets in order after the first backward pass that it sees, which with three and more workers changes
    the order of sums: a run that was stopped and goes on would differ in the last bits from one that was not.
    """
    nothing = select_tasks(batch, torch.zeros(0, dtype=torch.int64, device=batch.task_seed.device))
    learner(catalogue, nothing).surrogate.backward()
    learner.zero_grad(set_to_none=True)


def _refuse_too_many_bad_tasks(bad: int, step: int, schedule: Schedule, rhythm: Rhythm) -> None:
    """Stop where more tasks of an epoch went bad than may; the same on each worker."""
    if bad > rhythm.max_bad_tasks * schedule.num_tasks:
        raise DivergedError(
            f"{bad} of the {schedule.num_tasks} tasks of epoch {schedule.epoch_of(step) + 1} were not finite at step "
            f"{step}, and train.max_bad_tasks is {rhythm.max_bad_tasks:g}: lower inner.lr or outer.lr"
        )


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
