"""What a search costs beside its trainings: trials on Tune against the same training run alone in the same session.

In their own process, as trials of small work run, and on Ray Train. The overhead of a trial is its share of the wall
clock, the seconds of the search x trials at a time / trials, less the seconds of the training alone.
"""

import tempfile
import threading
import time
from typing import Any

from jobs import command
from jobs.benchmarks.trainings import SMALL, nobody
from metarec.config import Config, load_config, with_values
from metarec.data.dataset import Dataset
from metarec.train.launch import launch
from metarec.train.run import open_run

NUM_TRIALS = 16
NUM_DISTRIBUTED = 4
TIMES_ALONE = 3
SETTINGS = (
    *SMALL,
    "train.meta_batch=16",
    "search.early_stopping=false",
)


def measure(*, quick: bool, threads: int | None) -> dict[str, Any]:
    """The report; `quick` in its smallest form, `threads` as they are."""
    del threads
    with tempfile.TemporaryDirectory(prefix="metarec-tune-") as root:
        config = load_config(None, [*SETTINGS, f"output.root={root}"])
        if quick:
            config = with_values(config, {"outer.epochs": 2})
        with command.ray_session():
            from metarec.data.prepare import prepare

            dataset = prepare(config, progress=command.say)
            rows = [compare(config, dataset, workers=0, num_trials=2 if quick else NUM_TRIALS)]
            if not quick:
                rows.append(compare(config, dataset, workers=1, num_trials=NUM_DISTRIBUTED))
    return {"rows": rows}


def describe(report: dict[str, Any]) -> list[str]:
    """The report as lines for a terminal."""
    lines = ["trials in          trials  at a time  training alone  search  overhead per trial"]
    for row in report["rows"]:
        place = "its own process" if row["workers"] == 0 else f"{row['workers']} Ray Train worker"
        lines.append(
            f"{place:<17}  {row['trials']:6d}  {row['at_once']:9d}  {row['alone_seconds']:12.1f} s  "
            f"{row['search_seconds']:4.0f} s  {row['overhead_seconds']:16.1f} s"
        )
    return lines


def compare(config: Config, dataset: Dataset, *, workers: int, num_trials: int) -> dict[str, Any]:
    """One row: a training alone, and a search of so many."""
    config = with_values(config, {"train.num_workers": workers})
    alone = min(train_alone(config, dataset, number) for number in range(TIMES_ALONE))
    seconds, at_once = search_all(config, dataset, num_trials)
    return {
        "workers": workers,
        "trials": num_trials,
        "at_once": at_once,
        "alone_seconds": alone,
        "search_seconds": seconds,
        "overhead_seconds": seconds * min(at_once, num_trials) / num_trials - alone,
    }


def train_alone(config: Config, dataset: Dataset, number: int) -> float:
    """The seconds of one training."""
    config = with_values(config, {"run.name": f"alone-{config.train.num_workers}-{number}"})
    began = time.perf_counter()
    launch(config, dataset, open_run(config), watch=nobody, stop=threading.Event())
    return time.perf_counter() - began


def search_all(config: Config, dataset: Dataset, num_trials: int) -> tuple[float, int]:
    """The seconds of a search, and how many trials ran at a time."""
    from jobs.tune import load_space
    from metarec.search.room import trials_at_once
    from metarec.search.search import Search, run_search

    config = with_values(config, {"run.name": f"search-{config.train.num_workers}"})
    search = Search(config, load_space("rates"), dataset, open_run(config), num_trials)
    began = time.perf_counter()
    trials = run_search(search, watch=nobody, stop=threading.Event())
    seconds = time.perf_counter() - began
    assert {trial.result.ending for trial in trials if trial.result} == {"finished"}
    assert len(trials) == num_trials
    return seconds, trials_at_once(config)
