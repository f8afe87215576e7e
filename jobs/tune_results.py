"""The end of a search: what is kept of it, its best trial judged as a training is, and where to look."""

import importlib.util
import logging
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobs.command import say
from jobs.train import judge, mlflow_page, outboxes_of
from metarec import storage
from metarec.config import Config
from metarec.errors import TrainingError

if TYPE_CHECKING:
    from jobs.tune_tracking import SearchTracking
    from metarec.search.search import Search
    from metarec.search.trials import Trial
    from metarec.tracking import Store


def best_of(config: Config, trials: Sequence["Trial"]) -> "Trial":
    """The trial that won.

    Raises:
        TrainingError: none finished.
    """
    from metarec.search.trials import ranked

    best = ranked(trials, config.evaluate.primary)
    if not best:
        reasons = [trial.result.reason for trial in trials if trial.result and trial.result.reason]
        because = f"; the last one said: {reasons[-1]}" if reasons else ""
        raise TrainingError(f"none of the {len(trials)} trials of search {config.run.name!r} finished{because}")
    return best[0]


def conclude(search: "Search", store: "Store", tracking: "SearchTracking", trials: Sequence["Trial"]) -> str:
    """Keep table, plot and best config, judge the winner on test users, and say where to look."""
    from metarec.search.trials import trial_config, trial_folder
    from metarec.tracking import Delivery

    config = search.config
    best = best_of(config, trials)
    table, evidence = keep_results(search, tracking, trials, best)
    say(f"{evidence}; it alone meets the test users")
    winner, folder = trial_config(config, best.number, best.values), trial_folder(config, best.number)
    with tracking.reopened(best) as tracked, Delivery(outboxes_of(store, tracked, folder), say=say):
        result = judge(winner, search.dataset, folder, store, tracked)
    return "\n".join(
        [
            "",
            table,
            "",
            f"best: {evidence}",
            result,
            "",
            "of the search:",
            f"  {training_command(search)}",
            f"  {storage.join(search.folder.uri, 'trials.png')}",
            *places_to_look(search, store),
        ]
    )


def keep_results(
    search: "Search", tracking: "SearchTracking", trials: Sequence["Trial"], best: "Trial"
) -> tuple[str, str]:
    """Write table, plot and best config to the search's folder and to MLflow; return table and evidence."""
    from metarec.search.outcome import best_toml, render_trials
    from metarec.search.plot import plot_trials

    assert best.result is not None
    primary, drawn = search.config.evaluate.primary, tuple(search.space.domains)
    table = render_trials(trials, drawn, primary)
    name = search.config.run.name
    evidence = f"trial {best.number} of {len(trials)} of {name}, validation {primary} {best.result.metric:.4f}"
    heading = training_command(search)
    files = {
        "trials.txt": table.encode(),
        "trials.png": plot_trials(trials, drawn, primary),
        "best.toml": best_toml(search.config, best.values, heading=heading, evidence=evidence).encode(),
    }
    for file, content in files.items():
        storage.write_bytes(storage.join(search.folder.uri, file), content)
    tracking.keep(files, best)
    return table, evidence


def training_command(search: "Search") -> str:
    """The command that trains with the best settings."""
    return f"python -m jobs.train --config {shlex.quote(storage.join(search.folder.uri, 'best.toml'))}"


def places_to_look(search: "Search", store: "Store") -> list[str]:
    """Where a person can look at a search: MLflow, TensorBoard where it is installed, and Ray's dashboard if any."""
    import ray

    dashboard = ray.init(
        ignore_reinit_error=True, logging_level=logging.ERROR
    ).dashboard_url  # of the Ray that is there
    start, page = mlflow_page(store), f"/#/experiments/{store.experiment_id}"
    where = "" if start.endswith(page) else f"at {page} "
    lines = [f"  {start}", f"    ({where}select the children of {search.config.run.name}: Compare)"]
    if importlib.util.find_spec("tensorboard") and "://" not in search.folder.uri:
        lines.append(f"  tensorboard --logdir {shlex.quote(storage.join(search.folder.uri, 'tune'))}")
    runs = ", and the Train run of each trial" if search.config.train.num_workers else ""
    return [*lines, f"  http://{dashboard}  (Ray: jobs{runs})"] if dashboard else lines
