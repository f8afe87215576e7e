"""How trials of a population hand weights to each other: as checkpoints that Tune keeps.

A trial in its own process gives Tune a copy of a checkpoint of its run now and then, and one that Tune starts anew on
another's goes on from there. Under Ray Train V2 a trial has none to give, and Tune would silently exchange nothing.
"""

import os
import tempfile
from collections.abc import Mapping
from typing import Any

from ray import tune

from metarec import storage
from metarec.config import Config
from metarec.data.dataset import Dataset
from metarec.errors import StorageError
from metarec.search.reports import EPOCH, EpochReports
from metarec.search.trials import METRIC, Takeover, Trials
from metarec.train.checkpoint import KIND
from metarec.train.run import RunFolder
from metarec.train.worker import checkpoints_of


def take_over(config: Config, folder: RunFolder, trials: Trials, number: int, values: Mapping[str, Any]) -> None:
    """Go on from the checkpoint of another trial, if Tune gives one, once; after a breakdown it is given again.

    Args:
        config: of the trial.
        folder: of its run.
        trials: the records.
        number: of the trial.
        values: its settings from now on.
    """
    given = tune.get_checkpoint()
    if given is None:
        return
    with given.as_directory() as place:
        manifest, files = storage.read_bundle(place, KIND)
    takeover = Takeover(manifest["trial"], manifest["step"], dict(values))
    if takeover.source != number and takeover not in trials.read(number).takeovers[-1:]:
        checkpoints_of(config, folder).adopt(takeover.step, files, manifest["num_tasks_seen"])
        trials.take_over(number, takeover)


class CheckpointReports(EpochReports):
    """Tells Tune of a checkpoint with a validation metric every `search.grace_epochs`, and gives it a copy.

    Args:
        config: of the trial.
        dataset: it trains on.
        folder: of its run.
        number: of the trial.
    """

    def __init__(self, config: Config, dataset: Dataset, folder: RunFolder, number: int) -> None:
        super().__init__(config, dataset, folder)
        self._checkpoints, self._number = checkpoints_of(config, folder), number
        self._rest = config.search.grace_epochs * self.schedule.steps_per_epoch
        self.told = max(self._checkpoints.steps(), default=0)

    def tell_new(self) -> None:
        """Tell of the newest checkpoint, unless it is the last of the run."""
        for step in self._checkpoints.steps()[-1:]:
            if self.told + self._rest <= step < self.schedule.num_steps:
                self._give(step)

    def tell_last(self) -> None:
        """Nothing: a trial that has ended takes over from no other."""

    def _give(self, step: int) -> None:
        try:
            manifest, files = storage.read_bundle(self._checkpoints.uri_of(step), KIND)
        except StorageError:
            return  # it is being written, or was replaced by a newer one
        if manifest["validation"] is None:
            return
        self.told = step
        facts = {"trial": self._number, "step": step, "num_tasks_seen": manifest["num_tasks_seen"]}
        with tempfile.TemporaryDirectory(dir=os.getcwd()) as place:  # Ray's, as the process may end while it tells
            storage.write_bundle(place, KIND, files, **facts)
            told = {METRIC: manifest["validation"], EPOCH: self.schedule.epoch_of(step - 1) + 1}
            tune.report(told, checkpoint=tune.Checkpoint.from_directory(place))
