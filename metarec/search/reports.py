"""What a trial tells Tune while it trains, and what it tells the search where it cannot go on."""

import time
from collections.abc import Mapping
from typing import Any

from ray import tune

import metarec.errors
from metarec.config import Config
from metarec.data.dataset import Dataset
from metarec.errors import MetarecError
from metarec.search.trials import METRIC
from metarec.train.journal import JournalLine, read_journal
from metarec.train.run import RunFolder
from metarec.train.worker import schedule_of

EPOCH = "epoch"
FAULT, SENTENCE = "fault", "sentence"
SECONDS_BETWEEN_LOOKS = 0.5


def tell_fault(error: MetarecError) -> None:
    """Hand an error to the search as a value: what is raised, Tune would try again, and keep no class of."""
    tune.report({FAULT: type(error).__name__, SENTENCE: error.message})


def fault_in(result: Mapping[str, Any]) -> MetarecError | None:
    """The error that a trial handed on with `tell_fault`, in what Tune got from it."""
    if FAULT not in result:
        return None
    kind: type[MetarecError] = getattr(metarec.errors, result[FAULT])
    return kind(result[SENTENCE])


class EpochReports:
    """A `Watch` that tells Tune of each epoch with a validation metric, once.

    The last epoch of a run is kept back until the result is on record: a scheduler may end the process at any report.

    Args:
        config: of the trial.
        dataset: it trains on.
        folder: of its run.
    """

    def __init__(self, config: Config, dataset: Dataset, folder: RunFolder) -> None:
        self.schedule = schedule_of(config, dataset)
        self.told = -1
        self._folder = folder
        self._looked = 0.0

    def __call__(self, *, last: bool = False) -> None:
        """Tell what is new, at most twice a second."""
        if last or time.monotonic() - self._looked > SECONDS_BETWEEN_LOOKS:
            self._looked = time.monotonic()
            self.tell_new()

    def tell_new(self) -> None:
        """Tell what is new."""
        for line in self._measured():
            if self.told < line.step < self.schedule.num_steps - 1:
                self._tell(line)

    def tell_last(self) -> None:
        """Tell the last epoch."""
        for line in self._measured()[-1:]:
            self._tell(line)

    def _measured(self) -> list[JournalLine]:
        return [line for line in read_journal(self._folder.journal) if METRIC in line.metrics]

    def _tell(self, line: JournalLine) -> None:
        self.told = line.step
        tune.report({METRIC: line.metrics[METRIC], EPOCH: self.schedule.epoch_of(line.step) + 1})
