"""Population-based training (Jaderberg 2017): who falls behind goes on from the weights of who leads.

Tune hands weights from trial to trial as checkpoints of its own. A trial in its own process gives it a copy of each
new checkpoint of its run; under Ray Train V2 a trial has none to give, and Tune would silently exchange nothing.
"""

import random
import tempfile
from collections.abc import Mapping
from typing import Any

from ray import tune
from ray.tune.schedulers import PopulationBasedTraining, TrialScheduler

from metarec import storage
from metarec.config import Config
from metarec.data.dataset import Dataset
from metarec.errors import ClusterError, ConfigError, StorageError
from metarec.search.reports import EPOCH, EpochReports
from metarec.search.space import Space
from metarec.search.trials import METRIC
from metarec.train.checkpoint import KIND
from metarec.train.run import RunFolder
from metarec.train.worker import checkpoints_of

LIVE = ("outer.lr", "outer.clip", "inner.damping")
LEARNS_RATES = ("maml", "learned_mask", "meta_sgd")


def check_population(config: Config, space: Space) -> None:
    """Refuse a population that would exchange nothing.

    Args:
        config: of the search.
        space: of its settings.

    Raises:
        ConfigError: trials are distributed, or a setting of the space acts on new weights alone.
    """
    if config.train.num_workers > 0:
        raise ConfigError(
            f"search.algorithm is 'population' and train.num_workers is {config.train.num_workers}: under Ray Train a "
            "trial hands no checkpoint to Tune, so that the population would silently exchange nothing; set "
            "train.num_workers=0, or use random or optuna"
        )
    live = live_settings(config)
    for name in space.domains:
        if name not in live:
            raise ConfigError(
                f"search.algorithm is 'population' and {space.place} draws {name}, which acts on new weights alone, so "
                f"that a change of it would silently do nothing; draw from {', '.join(live)}, or use random or optuna"
            )


def check_side_by_side(num_trials: int, at_once: int) -> None:
    """Refuse a population whose trials cannot train at the same time, for then they have nobody to compare with.

    Args:
        num_trials: how many there are.
        at_once: for how many the cluster has room.

    Raises:
        ClusterError: there is not room for all.
    """
    if num_trials > at_once:
        raise ClusterError(
            f"a population of {num_trials} trains side by side, and the cluster has room for {at_once} such trials; "
            "lower --trials or train.cpus_per_worker, raise search.max_at_once where it is set, or add nodes"
        )


def live_settings(config: Config) -> tuple[str, ...]:
    """The settings that training reads anew at each start, whatever weights it goes on with."""
    name = config.algorithm.name
    learned = name == "meta_sgd" or (name in LEARNS_RATES and config.inner.learned)
    return LIVE if learned else ("inner.lr", *LIVE)


def population_scheduler(config: Config, space: Space) -> TrialScheduler:
    """The worse quarter takes over from the better one every `search.grace_epochs`, with settings changed at random."""
    random.seed(config.run.seed)
    return PopulationBasedTraining(
        time_attr=EPOCH,
        metric=METRIC,
        mode=space.mode,
        perturbation_interval=config.search.grace_epochs,
        hyperparam_mutations={"values": space.domains},
        log_config=False,
    )


def take_over(config: Config, folder: RunFolder) -> None:
    """Go on from the checkpoint that Tune gives a trial, if any: another trial's, or its own after a breakdown."""
    given = tune.get_checkpoint()
    if given is None:
        return
    with given.as_directory() as place:
        manifest, files = storage.read_bundle(place, KIND)
    storage.delete(folder.checkpoints)
    step = int(manifest["step"])
    storage.write_bundle(checkpoint_uri(config, folder, step), KIND, files, **_facts(manifest))


def checkpoint_uri(config: Config, folder: RunFolder, step: int) -> str:
    """Where a run keeps the checkpoint of a step."""
    return storage.join(checkpoints_of(config, folder).uri, f"step-{step:010d}")


def _facts(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {name: manifest[name] for name in ("step", "validation", "num_tasks_seen")}


class CheckpointReports(EpochReports):
    """Tells Tune of each checkpoint with a validation metric, and gives it a copy."""

    def __init__(self, config: Config, dataset: Dataset, folder: RunFolder) -> None:
        super().__init__(config, dataset, folder)
        self._config, self._run = config, folder

    def tell_new(self) -> None:
        """Tell of the newest checkpoint, unless it is the last of the run."""
        for step in checkpoints_of(self._config, self._run).steps()[-1:]:
            if self.told < step < self.schedule.num_steps:
                self._give(step)

    def _give(self, step: int) -> None:
        try:
            manifest, files = storage.read_bundle(checkpoint_uri(self._config, self._run, step), KIND)
        except StorageError:
            return  # it is being written, or was replaced by a newer one
        self.told = step
        if manifest["validation"] is not None:
            with tempfile.TemporaryDirectory() as place:
                storage.write_bundle(place, KIND, files, **_facts(manifest))
                told = {METRIC: manifest["validation"], EPOCH: self.schedule.epoch_of(step - 1) + 1}
                tune.report(told, checkpoint=tune.Checkpoint.from_directory(place))
