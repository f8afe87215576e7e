"""Run the trials of a search on Tune, as many at a time as there is room for, from where the search stands."""

import threading
import time
from dataclasses import dataclass, replace
from types import SimpleNamespace

from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from metarec import storage
from metarec.config import Config, config_to_dict, with_values
from metarec.data.dataset import Dataset
from metarec.errors import MetarecError, StorageError, TrainingError
from metarec.search.population import PopulationScheduler
from metarec.search.proposals import proposals_of
from metarec.search.reports import EPOCH
from metarec.search.room import bundles_of, trials_at_once
from metarec.search.searcher import RecordedSearch
from metarec.search.space import DrawCheck, Space
from metarec.search.trial import run_trial
from metarec.search.trials import METRIC, Trial, Trials, trial_config, trial_folder
from metarec.train.journal import read_journal
from metarec.train.launch import Watch, environment
from metarec.train.run import RunFolder
from metarec.train.worker import schedule_of

SECONDS_BETWEEN_LOOKS = 0.5
REDUCTION = 3
"""ASHA lets one trial in so many go on from each of its rungs (Li 2020)."""


@dataclass(frozen=True)
class Search:
    """What is searched, and with what.

    Attributes:
        config: of the search, which trials change by what the space says.
        space: checked with `check_space`.
        dataset: the prepared tasks.
        folder: of the search.
        num_trials: how many trials it has.
    """

    config: Config
    space: Space
    dataset: Dataset
    folder: RunFolder
    num_trials: int

    @property
    def trials(self) -> Trials:
        """The records of its trials."""
        return Trials(storage.join(self.folder.uri, "trials"))


def run_search(search: Search, *, watch: Watch, stop: threading.Event, shown: bool = False) -> list[Trial]:
    """Run the trials that have not ended, until all have, or until `stop` is set and they have saved where they are.

    Args:
        search: what to do.
        watch: called now and then in the calling thread.
        stop: set it to ask running trials to save and return.
        shown: whether the runs of trials on Ray Train are to be seen on the dashboard of the cluster.

    Returns:
        All trials that were suggested.

    Raises:
        ClusterError: the cluster has no room for one trial.
        ConfigError: `search.algorithm` is not installed.
        TrainingError: Tune itself failed.
        MetarecError: what a trial met that is none of its settings', such as a full disk; the others have saved where
            they are.
    """
    config = with_values(search.config, {"output.root": search.config.output.uri})  # trials have other working folders
    search = replace(search, config=config)
    known = search.trials.all()
    searcher = RecordedSearch(
        config,
        search.trials,
        proposals=proposals_of(config, search.space, known),
        check=DrawCheck(search.space, config),
        num_trials=search.num_trials,
        stop=stop,
    )
    if searcher.num_due:
        _run(_tuner(search, searcher, _scheduler(search, known), shown), search, searcher, watch)
    watch(last=True)
    return search.trials.all()


def _tuner(search: Search, searcher: RecordedSearch, scheduler: TrialScheduler, shown: bool) -> tune.Tuner:
    config = search.config
    driver, first, *_ = bundles_of(config)
    if config.train.num_workers:
        config = with_values(config, {"train.cpus_per_worker": first["CPU"]})
    places = {"dataset": search.dataset.uri, "trials": search.trials.uri}
    plan = {"config": config_to_dict(config), **places, "shown": shown}
    # Ray Train and Ray Data reserve what is theirs, outside of what the trial holds.
    trainable = tune.with_resources(tune.with_parameters(run_trial, plan=plan), dict(driver))
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=searcher.num_due,
            max_concurrent_trials=trials_at_once(config),
        ),
        run_config=tune.RunConfig(
            name=time.strftime("%Y%m%d-%H%M%S"),
            storage_path=storage.join(search.folder.uri, "tune"),
            failure_config=tune.FailureConfig(max_failures=config.train.max_failures),
            verbose=0,
            callbacks=[_Silent()],
        ),
    )


class _Silent(TrialProgressCallback):
    """Keeps Tune from printing a line for a trial that ends without a result; a watch shows how trials end."""

    def _print(self, msg: str) -> None:
        del msg


def _scheduler(search: Search, known: list[Trial]) -> TrialScheduler:
    """The population's, or ASHA, told again what trials of an earlier start reported, or none."""
    config = search.config
    if config.search.algorithm == "population":
        return PopulationScheduler(config, search.space)
    if not config.search.early_stopping:
        return FIFOScheduler()
    longest = max([config.outer.epochs, *search.space.ends("outer.epochs")])
    asha = ASHAScheduler(
        time_attr=EPOCH,
        metric=METRIC,
        mode=search.space.mode,
        max_t=longest,
        grace_period=min(config.search.grace_epochs, longest),
        reduction_factor=REDUCTION,
    )
    for trial in known:
        if trial.result is not None and trial.result.num_epochs:
            schedule = schedule_of(trial_config(config, trial.number, trial.values), search.dataset)
            before = SimpleNamespace(trial_id=f"{trial.number}")
            asha.on_trial_add(None, before)
            for line in read_journal(trial_folder(config, trial.number).journal):
                if METRIC in line.metrics:
                    told = {METRIC: line.metrics[METRIC], EPOCH: schedule.epoch_of(line.step) + 1}
                    asha.on_trial_result(None, before, told)
    return asha


def _run(tuner: tune.Tuner, search: Search, searcher: RecordedSearch, watch: Watch) -> None:
    """Fit in a thread, while this one watches and hands on a request to stop."""
    outcome: list[BaseException] = []

    def work() -> None:
        try:
            # A trial that fails, or is stopped, before its first report has nothing to tell: the records decide.
            with environment(TUNE_DISABLE_STRICT_METRIC_CHECKING="1"):
                tuner.fit()
        except BaseException as error:  # handed to the calling thread, which raises it
            outcome.append(error)

    thread = threading.Thread(target=work, name="search", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(SECONDS_BETWEEN_LOOKS)
            if searcher.stopping:
                _ask_to_stop(search)
            watch()
    except StorageError as error:  # which may be what the trial met as well, that says more of it
        raise searcher.fault or error from error
    if searcher.fault is not None:
        raise searcher.fault
    if outcome:
        raise _in_one_sentence(outcome[0], search.config.run.name)


def _in_one_sentence(error: BaseException, name: str) -> MetarecError:
    """Why Tune failed: the error of ours that is behind it, if any, else the last line of what it says."""
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, MetarecError):
        behind = behind.__cause__ or behind.__context__
    cause = error.__cause__ or error
    *_, said = "", *filter(str.strip, str(cause).splitlines())
    return behind or TrainingError(f"search {name!r} failed: {type(cause).__name__}: {said.strip()}")


def _ask_to_stop(search: Search) -> None:
    """Ask each trial, again and again: one that has just begun puts earlier requests aside."""
    for trial in search.trials.all():
        request = trial_folder(search.config, trial.number).stop_request
        if trial.result is None and not storage.exists(request):
            storage.write_bytes(request, b"")
