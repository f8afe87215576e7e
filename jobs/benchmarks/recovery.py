"""Runs whose workers, or whose whole job, are killed at random steps, beside one that nobody disturbs.

A run is whole again when its journal holds each step of the schedule once, its tasks seen are those that were due, and
every byte of its last checkpoint, optimiser included, is that of the undisturbed run. A run that goes on with another
number of workers adds up in another order: there the largest difference of a weight is told instead.
"""

import tempfile
import threading
from typing import Any

import numpy as np
import safetensors.torch

from jobs import command
from jobs.benchmarks.disturbances import WorkerKiller, finish_job, kill_job
from jobs.benchmarks.trainings import SMALL
from metarec import storage
from metarec.config import Config, load_config, with_values
from metarec.data.dataset import Dataset
from metarec.train.checkpoint import KIND, CheckpointFolder
from metarec.train.journal import read_journal
from metarec.train.run import RunFolder, open_run

NUM_KILLS = 20
KILLS_PER_RUN = 5
SETTINGS = (
    *SMALL,
    "train.meta_batch=4",
    "train.num_workers=2",
    "train.max_failures=100",
    "evaluate.num_draws=1",
    "evaluate.num_resamples=100",
)


def measure(*, quick: bool, threads: int | None) -> dict[str, Any]:
    """The report; `quick` in its smallest form, `threads` as they are."""
    del threads
    return run(2 if quick else NUM_KILLS)


def run(num_kills: int = NUM_KILLS) -> dict[str, Any]:
    """Kill workers, kill the job, and change the number of workers; what came of it."""
    with tempfile.TemporaryDirectory(prefix="metarec-recovery-") as root:
        settings = [*SETTINGS, f"output.root={root}"]
        config = load_config(None, settings)
        with command.ray_session():
            from metarec.data.prepare import prepare

            dataset = prepare(config, progress=command.say)
            undisturbed = Disturbed(config, dataset, "undisturbed")
            undisturbed.train()
            killed = kill_workers(config, dataset, undisturbed, num_kills)
            changed = [change_workers(config, dataset, undisturbed, *counts) for counts in ((2, 1), (1, 2))]
        job = kill_whole_job(settings, dataset, undisturbed)
    return {"killed_workers": killed, "changed_workers": changed, "killed_job": job}


def describe(report: dict[str, Any]) -> list[str]:
    """The report as lines for a terminal."""
    killed, job = report["killed_workers"], report["killed_job"]
    lines = [
        f"{killed['kills']} SIGKILLs of a worker in {killed['runs']} runs on 2 workers: {killed['finished']} runs "
        f"finished, {killed['exact']} with each step and task once, {killed['bit_equal']} bit-equal to the "
        "undisturbed one",
        f"  after steps {', '.join(map(str, killed['steps']))}; redone by the journal "
        f"{', '.join(map(str, killed['redone']))} steps, at most {killed['interval']} between two checkpoints",
        f"whole job killed after step {job['step']} and submitted again: "
        f"{'exact' if job['exact'] else 'NOT exact'}, {'bit-equal' if job['bit_equal'] else 'NOT bit-equal'}",
    ]
    for change in report["changed_workers"]:
        lines.append(
            f"stopped at step {change['step']} on {change['before']} worker(s), gone on with {change['after']}: "
            f"{'exact' if change['exact'] else 'NOT exact'}, weights within {change['largest_difference']:.1e}"
        )
    return lines


class Disturbed:
    """One run of the benchmark and what it left.

    Args:
        config: of all runs.
        dataset: of all runs.
        name: of this one.
    """

    def __init__(self, config: Config, dataset: Dataset, name: str) -> None:
        self.config = with_values(config, {"run.name": name})
        self.dataset = dataset
        self.folder: RunFolder = open_run(self.config)

    def train(
        self, *, num_workers: int = 2, killer: WorkerKiller | None = None, stop: threading.Event | None = None
    ) -> dict[str, Any]:
        """Train, or go on; what `launch` returns."""
        from metarec.train.launch import launch

        config = with_values(self.config, {"train.num_workers": num_workers})

        def watch(*, last: bool = False) -> None:
            if killer is not None:
                killer(last=last)

        return launch(config, self.dataset, self.folder, watch=watch, stop=stop or threading.Event())

    @property
    def num_steps(self) -> int:
        """Steps of the schedule."""
        from metarec.train.worker import schedule_of

        return schedule_of(self.config, self.dataset).num_steps

    def is_exact(self) -> bool:
        """Whether the journal has each step once, and the last one has seen all tasks that were due."""
        lines = read_journal(self.folder.journal)
        due = self.dataset.num_tasks("train") * self.config.outer.epochs
        return [line.step for line in lines] == list(range(self.num_steps)) and lines[-1].metrics[
            "train.tasks_seen"
        ] == due

    def last_checkpoint(self) -> dict[str, bytes]:
        """The files of the checkpoint at the end of the schedule."""
        checkpoints = CheckpointFolder(self.folder.checkpoints, keep=1, lower_is_better=True)
        assert checkpoints.steps()[-1] == self.num_steps
        return storage.read_bundle(storage.join(checkpoints.uri, f"step-{self.num_steps:010d}"), KIND)[1]


def kill_workers(config: Config, dataset: Dataset, undisturbed: Disturbed, num_kills: int) -> dict[str, Any]:
    """Runs with a worker killed several times each, until there were so many kills."""
    rng = np.random.default_rng(0)
    interval = undisturbed.num_steps // config.outer.epochs
    report: dict[str, Any] = {"kills": 0, "runs": 0, "finished": 0, "exact": 0, "bit_equal": 0, "interval": interval}
    steps: list[int] = []
    redone: list[int] = []
    while len(steps) < num_kills:
        disturbed = Disturbed(config, dataset, f"killed-{report['runs']}")
        many = min(KILLS_PER_RUN, num_kills - len(steps))
        due = np.sort(rng.choice(int(0.9 * undisturbed.num_steps), many, replace=False)).tolist()
        killer = WorkerKiller(disturbed.folder, due, rng)
        outcome = disturbed.train(killer=killer)
        report["runs"] += 1
        report["finished"] += outcome["num_tasks_seen"] == outcome["num_tasks_due"]
        report["exact"] += disturbed.is_exact()
        report["bit_equal"] += disturbed.last_checkpoint() == undisturbed.last_checkpoint()
        steps += [kill.step for kill in killer.kills]
        redone += killer.redone()
        command.say(
            f"{len(steps)} of {num_kills} kills; of {report['runs']} runs {report['finished']} finished, "
            f"{report['exact']} exact, {report['bit_equal']} bit-equal; redone {killer.redone()}"
        )
    return {**report, "kills": len(steps), "steps": steps, "redone": redone}


def change_workers(config: Config, dataset: Dataset, undisturbed: Disturbed, before: int, after: int) -> dict[str, Any]:
    """Stop a run in its first epochs and go on with another number of workers."""
    disturbed, stop = Disturbed(config, dataset, f"from-{before}-to-{after}"), threading.Event()
    stop.set()
    stopped = disturbed.train(num_workers=before, stop=stop)
    assert stopped["stopped"]
    disturbed.train(num_workers=after)
    ours, theirs = (
        safetensors.torch.load(each.last_checkpoint()["weights.safetensors"]) for each in (disturbed, undisturbed)
    )
    largest = max(float((ours[name] - theirs[name]).abs().max()) for name in theirs)
    return {
        "before": before,
        "after": after,
        "step": stopped["step"],
        "exact": disturbed.is_exact(),
        "largest_difference": largest,
    }


def kill_whole_job(settings: list[str], dataset: Dataset, undisturbed: Disturbed) -> dict[str, Any]:
    """SIGKILL `python -m jobs.train` with all its processes, and submit it again under the same name."""
    disturbed = Disturbed(undisturbed.config, dataset, "killed-job")
    arguments = ["--set", "run.name=killed-job", *settings]
    step = kill_job(arguments, disturbed.folder, step=undisturbed.num_steps // 3)
    said = finish_job(arguments)
    return {
        "step": step,
        "exact": disturbed.is_exact() and "0 dropped or repeated" in said,
        "bit_equal": disturbed.last_checkpoint() == undisturbed.last_checkpoint(),
    }
