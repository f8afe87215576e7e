"""A preparation that is killed in the middle is finished by the next one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pytest

from metarec import storage
from metarec.config import Config, with_values
from metarec.data.audit import audit
from metarec.data.prepare import dataset_uri, prepare
from metarec.schema import SPLITS

ROOT = Path(__file__).parents[2]
NUM_ROWS = 400_000


def settings_for(folder, root):
    return ["data.source=tables", f"data.path={folder}", "tables.ratings=log.csv", f"output.root={root}"]


def config_for(folder, root):
    settings = {
        "data.source": "tables",
        "data.path": str(folder),
        "tables.ratings": "log.csv",
        "output.root": str(root),
    }
    return with_values(Config(), settings)


@pytest.fixture
def log(tmp_path):
    rng = np.random.default_rng(0)
    ids, times = rng.integers(0, [[4000], [900]], (2, NUM_ROWS)), rng.integers(0, 10**6, NUM_ROWS)
    ratings = rng.integers(1, 6, NUM_ROWS)
    csv.write_csv(
        pa.table({"user_id": ids[0], "item_id": ids[1], "rating": ratings, "timestamp": times}), tmp_path / "log.csv"
    )
    return tmp_path


@pytest.mark.slow
def test_a_preparation_that_was_killed_is_finished_by_the_next_and_leaves_nothing(log, ray_cluster):
    undisturbed = prepare(config_for(log, log / "a"), progress=lambda line: None)
    config = config_for(log, log / "b")
    command = [sys.executable, "-m", "jobs.prepare", "--set", *settings_for(log, log / "b")]
    job = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    uri = Path(dataset_uri(config))
    deadline = time.monotonic() + 120
    while not list(uri.glob("scratch-*/clean-*.arrow")):
        assert job.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    assert not (uri / storage.MANIFEST).exists()
    assert list(uri.glob("scratch-*"))
    finished = prepare(config, progress=lambda line: None)
    assert not list(uri.glob("scratch-*"))
    assert finished.manifest["splits"] == undisturbed.manifest["splits"]
    assert finished.manifest["files"] == undisturbed.manifest["files"]
    assert [finished.num_tasks(split) for split in SPLITS] == [undisturbed.num_tasks(split) for split in SPLITS]
    assert sum(check.num_violations for check in audit(finished)) == 0
