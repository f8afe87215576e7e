"""What runs in a trial's process: a training like any other, whose validation metric is told to Tune."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from ray import tune

from metarec import storage
from metarec.config import Config, config_from_dict
from metarec.data.dataset import open_dataset
from metarec.errors import ConfigError, MetarecError
from metarec.search.exchange import CheckpointReports, take_over
from metarec.search.reports import SECONDS_BETWEEN_LOOKS, EpochReports
from metarec.search.trials import Result, Trials, standing, trial_config, trial_folder
from metarec.train.checkpoint import KIND
from metarec.train.journal import read_journal
from metarec.train.launch import launch
from metarec.train.run import RunFolder, locked
from metarec.train.worker import checkpoints_of

SECONDS_FOR_A_PREDECESSOR = 60.0
"""How long a process that was stopped or killed may still hold a trial."""
HELD_TO_THE_END: list[ExitStack] = []
"""The runs of trials that Tune has stopped, until the process ends."""


def run_trial(suggestion: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
    """Train one trial, from where it stands, and put on record how it ended.

    Bad luck of the settings, such as a rate that makes tasks infinite, is how a trial ends, and no error of the search.

    Args:
        suggestion: `values`, from the searcher, or changed by a population.
        plan: of all trials: `config` as nested tables, `dataset` and `trials` as URIs.
    """
    base, trials, dataset = config_from_dict(plan["config"]), Trials(plan["trials"]), open_dataset(plan["dataset"])
    number = trials.number_of(tune.get_context().get_trial_id())
    config, folder = trial_config(base, number, suggestion["values"]), trial_folder(base, number)
    with locked_in_time(folder):
        ended = trials.has_ended(number)
        if base.search.algorithm == "population":
            if not ended:
                take_over(config, folder, trials, number, suggestion["values"])
            reports: EpochReports = CheckpointReports(config, dataset, folder, number)
        else:
            reports = EpochReports(config, dataset, folder)
        if not ended:
            try:
                outcome = launch(config, dataset, folder, watch=reports, stop=threading.Event())
            except MetarecError as error:
                lines = read_journal(folder.journal)
                return trials.end(number, standing(lines, config.evaluate.primary, "failed", str(error)))
            if outcome["stopped"]:
                return None
            trials.end(number, finished_result(config, folder))
        return reports.tell_last()


def finished_result(config: Config, folder: RunFolder) -> Result:
    """The result of a trial that trained to its end: the metric of its best checkpoint, the one that is judged."""
    result = standing(read_journal(folder.journal), config.evaluate.primary, "finished")
    checkpoints = checkpoints_of(config, folder)
    best = checkpoints.best(lambda warning: None)
    if best is None:
        return Result("failed", None, result.num_epochs, result.train_seconds, "none of its checkpoints is whole")
    metric = storage.read_bundle_manifest(checkpoints.uri_of(best), KIND)["validation"]
    return Result("finished", metric, result.num_epochs, result.train_seconds)


@contextmanager
def locked_in_time(folder: RunFolder) -> Iterator[None]:
    """Hold the run; a process of an earlier start that still holds it is on its way out."""
    began = time.monotonic()
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(folder))
                break
            except ConfigError:
                if time.monotonic() - began > SECONDS_FOR_A_PREDECESSOR:
                    raise
                time.sleep(SECONDS_BETWEEN_LOOKS)
        try:
            yield
        except SystemExit:  # Tune stops the trial; what trains in another thread goes on until the process ends
            HELD_TO_THE_END.append(stack.pop_all())
            raise
