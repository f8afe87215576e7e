"""Run a command as a person would: in a process of its own, from the checkout."""

import os
import subprocess
import sys
import threading
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
SMALL = (
    "synthetic.num_users=80",
    "synthetic.num_items=40",
    "model.hidden=[8]",
    "model.embedding_width=4",
    "outer.epochs=2",
    "evaluate.num_draws=1",
    "evaluate.num_resamples=100",
)
"""Settings of a job that shows everything and takes seconds."""


def run_job(verb: str, *arguments: str, root: Path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """`python -m jobs.<verb>` with everything it writes under `root`."""
    return subprocess.run(
        [sys.executable, "-m", f"jobs.{verb}", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "METAREC_HOME": str(root)},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def start_job(
    verb: str, *arguments: str, root: Path, stderr: int = subprocess.STDOUT, own_session: bool = False
) -> subprocess.Popen[str]:
    """`python -m jobs.<verb>` in the background, with what it prints in a pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", f"jobs.{verb}", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "METAREC_HOME": str(root)},
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=own_session,
    )


def until(process: subprocess.Popen[str], words: str) -> list[str]:
    """The lines that a job prints up to one that holds some words, which must come; `rest_of` reads on from there."""
    said = []
    for line in process.stdout:
        said.append(line)
        if words in line:
            return said
    raise AssertionError(f"the job ended without {words!r}: {''.join(said)}")


def rest_of(process: subprocess.Popen[str], timeout: float) -> str:
    """What a job prints up to its end, lines that were read ahead of `until` included (`communicate` loses them)."""
    late = threading.Timer(timeout, process.kill)
    late.start()
    try:
        with process.stdout as lines:
            return lines.read()
    finally:
        late.cancel()
        process.wait(timeout)


def last_line(text: str) -> str:
    """The last line that says something."""
    return [line for line in text.splitlines() if line.strip()][-1]
