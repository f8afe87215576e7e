"""What Ray Train makes of a failure: which ones it tries again, and the one sentence that a person reads of the last.

Ray starts the workers anew after any failure, `train.max_failures` times. An error of ours that another try cannot
mend (a full disk, a damaged file, tasks that are not finite) ends the run at once instead.
"""

from collections.abc import Mapping
from typing import Any

import ray.train

from metarec.config import Config
from metarec.errors import ClusterError, MetarecError, TrainingError, UnreachableError
from metarec.train.room import spell_out


class EndAtOnce(ray.train.UserCallback):
    """Ends a run at the first error that another try cannot mend; Ray's controller calls it."""

    def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, Exception]) -> None:
        """Raise a worker's own error where it is final: what a callback raises, Ray does not try again."""
        del run_context
        own = _own_error(worker_exceptions)
        if own is not None and not isinstance(own, UnreachableError):
            raise own


def in_one_sentence(error: ray.train.TrainingFailedError, config: Config, each: float) -> MetarecError:
    """Why a run failed, as an error of ours.

    Args:
        error: what `TorchTrainer.fit` raised.
        config: of the run.
        each: CPUs of a worker.
    """
    if isinstance(error, ray.train.WorkerGroupError):
        return _own_error(error.worker_failures) or _last_failure(error.worker_failures, config)
    cause = error.controller_failure if isinstance(error, ray.train.ControllerError) else error
    if isinstance(cause, MetarecError):
        return cause
    if type(cause).__name__.startswith("WorkerGroupStartup"):  # Ray hands on no public class of it
        return ClusterError(
            f"run {config.run.name!r} found no room for its workers in the {config.train.max_wait_minutes:g} minutes "
            f"of train.max_wait_minutes: {spell_out(config, each)}; add nodes, or run the same command with a smaller "
            "train.num_workers: it goes on from the last checkpoint"
        )
    return TrainingError(f"run {config.run.name!r} failed: {error}")


def _own_error(failures: Mapping[int, Exception]) -> MetarecError | None:
    """What the first worker with an error of ours said."""
    causes = (getattr(failure, "cause", failure) for _, failure in sorted(failures.items()))
    return next((cause for cause in causes if isinstance(cause, MetarecError)), None)


def _last_failure(failures: Mapping[int, Exception], config: Config) -> TrainingError:
    """What the first worker that failed said."""
    rank, failure = min(failures.items())
    cause = getattr(failure, "cause", failure)
    return TrainingError(
        f"worker {rank} of run {config.run.name!r} failed {config.train.max_failures + 1} times, last with "
        f"{type(cause).__name__}: {cause}; run the same command again to go on from the last checkpoint"
    )
