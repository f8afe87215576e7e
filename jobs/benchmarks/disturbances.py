"""Ways to disturb a run on purpose: SIGKILL one of its workers, or the whole job."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metarec.errors import TrainingError
from metarec.train.journal import read_journal
from metarec.train.run import RunFolder

SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_FOR_A_JOB = 600.0


class Kill(NamedTuple):
    """One SIGKILL.

    Attributes:
        step: the last step that the journal held when it was sent; the workers may have been some steps further.
        time: when it was sent, in unix seconds.
    """

    step: int
    time: float


@dataclass
class WorkerKiller:
    """A `Watch` that kills one worker at random each time the run has come to one of some steps.

    Attributes:
        folder: of the run.
        steps: when to kill, in rising order; of those that a run passes at once the first counts.
        rng: draws the worker.
        kills: what was done.
        went_on: where the run went on after each of them.
    """

    folder: RunFolder
    steps: Sequence[int]
    rng: np.random.Generator
    kills: list[Kill] = field(default_factory=list)
    went_on: list[int] = field(default_factory=list)

    def __call__(self, *, last: bool = False) -> None:
        """Kill a worker where it is due; after a kill, not before the run has gone on."""
        del last
        since = self.kills[-1].time if self.kills else 0.0
        fresh = [line.step for line in read_journal(self.folder.journal) if line.time > since]
        if not fresh:
            return
        if len(self.went_on) < len(self.kills):
            self.went_on.append(fresh[0])
        if len(self.kills) < len(self.steps) and fresh[-1] >= self.steps[len(self.kills)]:
            workers = worker_processes(os.getpid())
            if workers:
                os.kill(workers[self.rng.integers(len(workers))], signal.SIGKILL)
                self.kills.append(Kill(fresh[-1], time.time()))

    def redone(self) -> list[int]:
        """How many steps of the journal were done again after each kill."""
        return [max(kill.step + 1 - step, 0) for kill, step in zip(self.kills, self.went_on, strict=True)]


def kill_job(arguments: Sequence[str], folder: RunFolder, *, step: int) -> int:
    """Start `python -m jobs.train` and SIGKILL its whole process group once its journal has come to a step.

    Returns:
        The last step in the journal then.

    Raises:
        TrainingError: the job ended by itself before.
    """
    job = subprocess.Popen(
        [sys.executable, "-m", "jobs.train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    reached = -1
    while reached < step and job.poll() is None:
        time.sleep(SECONDS_BETWEEN_LOOKS)
        reached = max((line.step for line in read_journal(folder.journal)), default=-1)
    if job.poll() is not None:
        said = job.communicate()[0]
        raise TrainingError(f"the job ended by itself before step {step}: {said.strip().splitlines()[-1]}")
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate()
    return reached


def finish_job(arguments: Sequence[str]) -> str:
    """Run `python -m jobs.train` to its end and return what it printed.

    Raises:
        TrainingError: it failed; its last line is handed on.
    """
    done = subprocess.run(
        [sys.executable, "-m", "jobs.train", *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS_FOR_A_JOB,
        check=False,
    )
    if done.returncode:
        raise TrainingError(f"the job failed: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
    return done.stdout


def worker_processes(ancestor: int) -> list[int]:
    """The processes of Ray Train's workers below one process: of its own Ray, not of others on the machine."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"RayTrainWorker" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue  # gone by now
    return sorted(process for process in found if _descends(process, ancestor))


def _descends(process: int, ancestor: int) -> bool:
    while process > 1:
        if process == ancestor:
            return True
        try:
            stat = Path(f"/proc/{process}/stat").read_text()
        except OSError:
            return False
        process = int(stat.rpartition(")")[2].split()[1])
    return False
