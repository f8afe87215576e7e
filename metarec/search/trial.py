"""What runs in a trial's process: a training like any other, whose validation metric is told to Tune."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from ray import tune

from metarec import storage
from metarec.config import Config, config_from_dict
from metarec.data.dataset import Dataset, open_dataset
from metarec.errors import ConfigError, DivergedError, MetarecError, StorageError
from metarec.search.exchange import CheckpointReports, take_over
from metarec.search.reports import SECONDS_BETWEEN_LOOKS, EpochReports, tell_fault
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
    Any other, such as a full disk or a lost node, is none of the trial's: the search ends with it, and the trial goes
    on in the next start.

    Args:
        suggestion: `values`, from the searcher, or changed by a population.
        plan: of all trials: `config` as nested tables, `dataset` and `trials` as URIs, `shown` as `launch` takes it.
    """
    try:
        base, trials, dataset = config_from_dict(plan["config"]), Trials(plan["trials"]), open_dataset(plan["dataset"])
        number = trials.number_of(tune.get_context().get_trial_id())
        folder = trial_folder(base, number)
        with locked_in_time(folder):
            try:
                _train(base, trials, dataset, number, suggestion["values"], shown=plan["shown"])
            except (ConfigError, DivergedError) as error:
                lines = read_journal(folder.journal)
                trials.end(number, standing(lines, base.evaluate.primary, "failed", str(error)))
    except MetarecError as error:
        tell_fault(error)


def _train(
    base: Config, trials: Trials, dataset: Dataset, number: int, values: Mapping[str, Any], *, shown: bool
) -> None:
    config, folder = trial_config(base, number, values), trial_folder(base, number)
    ended = trials.has_ended(number)
    if base.search.algorithm == "population":
        if not ended:
            take_over(config, folder, trials, number, values)
        reports: EpochReports = CheckpointReports(config, dataset, folder, number)
    else:
        reports = EpochReports(config, dataset, folder)
    if not ended:
        outcome = launch(config, dataset, folder, watch=reports, stop=threading.Event(), shown=shown)
        if outcome["stopped"]:
            return
        trials.end(number, finished_result(config, folder))
    reports.tell_last()


def finished_result(config: Config, folder: RunFolder) -> Result:
    """The result of a trial that trained to its end: the metric of its best checkpoint, the one that is judged.

    Raises:
        StorageError: none of its checkpoints is whole any more, so that it has to train anew.
    """
    result = standing(read_journal(folder.journal), config.evaluate.primary, "finished")
    checkpoints = checkpoints_of(config, folder)
    best = checkpoints.best(lambda warning: None)
    if best is None:
        raise StorageError(f"{folder.checkpoints} has no whole checkpoint any more; the same command trains it anew")
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
