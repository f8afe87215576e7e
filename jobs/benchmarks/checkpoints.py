"""Damaged checkpoints and a full disk: what is found out, and what a run goes on from.

A folder of three checkpoints is damaged again and again, each time in one file of the newest, the manifest included:
cut short at a random length, or with one random byte replaced by another. Found is what the search for the newest
names and passes over; the checkpoint before it must be the one it returns.
"""

import contextlib
import resource
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from metarec.errors import StorageError
from metarec.train.checkpoint import CheckpointFolder, Progress

NUM_DAMAGES = 200
DISK_BYTES = 2**20


def measure(*, quick: bool, threads: int | None) -> dict[str, Any]:
    """The report; `quick` in its smallest form, `threads` as they are."""
    del threads
    return run(12 if quick else NUM_DAMAGES)


def run(num_damages: int = NUM_DAMAGES) -> dict[str, Any]:
    """Count what is found of so many truncated and so many altered checkpoints, and fill a disk."""
    with tempfile.TemporaryDirectory(prefix="metarec-checkpoints-") as folder:
        checkpoints = CheckpointFolder(f"{folder}/checkpoints", keep=3, lower_is_better=True)
        for step in (1, 2, 3):
            checkpoints.save(*_trained(), Progress(step, 1.0 / step, 32 * step))
        rng = np.random.default_rng(0)
        report: dict[str, Any] = {
            kind: count_found(checkpoints, kind, num_damages, rng) for kind in ("truncated", "flipped")
        }
        small = Path(folder, "small")
        small.mkdir()
        with small_disk(small) as disk:
            report["full_disk"] = {"disk": disk, **fill(CheckpointFolder(str(small), keep=99, lower_is_better=True))}
    return report


def describe(report: dict[str, Any]) -> list[str]:
    """The report as lines for a terminal."""
    lines = [f"{'damage':<12}{'tried':>7}{'detected':>10}{'named':>8}{'previous one used':>19}"]
    for kind in ("truncated", "flipped"):
        counts = report[kind]
        lines.append(
            f"{kind:<12}{counts['tried']:>7}{counts['detected']:>10}{counts['named']:>8}{counts['previous_used']:>19}"
        )
    full = report["full_disk"]
    return [
        *lines,
        "",
        f"full disk ({full['disk']}): step {full['failed']} could not be written, step {full['kept']} is whole",
        f"  {full['sentence']}",
    ]


def count_found(checkpoints: CheckpointFolder, kind: str, num_damages: int, rng: np.random.Generator) -> dict[str, int]:
    """Damage one file of the newest checkpoint so often, and count what the search for the newest makes of it.

    Args:
        checkpoints: two at least, all whole; they are so again afterwards.
        kind: `truncated` or `flipped`.
        num_damages: how often.
        rng: draws file and place.
    """
    previous, newest = checkpoints.steps()[-2:]
    folder = Path(checkpoints.uri, f"step-{newest:010d}")
    files = sorted(folder.iterdir())
    counts = {"tried": 0, "detected": 0, "named": 0, "previous_used": 0}
    for _ in range(num_damages):
        file = files[rng.integers(len(files))]
        content, warnings = file.read_bytes(), list[str]()
        file.write_bytes(_damaged(content, kind, rng))
        found = checkpoints.newest(warnings.append)
        file.write_bytes(content)
        counts["tried"] += 1
        counts["detected"] += found != newest
        counts["named"] += len(warnings) == 1 and str(file) in warnings[0]
        counts["previous_used"] += found == previous
    return counts


def fill(checkpoints: CheckpointFolder) -> dict[str, Any]:
    """Save until that fails: the step that failed, the step that is kept, and what was said."""
    for step in range(1, 1000):
        try:
            checkpoints.save(*_trained(width=16 if step < 3 else 512), Progress(step, 1.0, 32 * step))
        except StorageError as error:
            skipped: list[str] = []
            kept = checkpoints.newest(skipped.append)
            return {"failed": step, "kept": kept, "left_behind": len(skipped), "sentence": str(error)}
    raise AssertionError("the disk is not small")


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[str]:
    """Make a folder a disk of 1 MiB where this process may mount one, else forbid larger files; says which."""
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(["mount", *options], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        with largest_file(DISK_BYTES):
            yield "no file above 1 MiB"
        return
    try:
        yield "tmpfs of 1 MiB"
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextlib.contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """Let this process write no file above a size; Python ignores the signal, so that a write fails as on a disk."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


def _damaged(content: bytes, kind: str, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(len(content)))
    if kind == "truncated":
        return content[:place]
    return content[:place] + bytes([content[place] ^ int(rng.integers(1, 256))]) + content[place + 1 :]


def _trained(width: int = 16) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A small network and its optimiser after one step."""
    network = nn.Sequential(nn.Embedding(500, width), nn.Linear(width, 1))
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.arange(4)).sum().backward()
    optimizer.step()
    return network, optimizer
