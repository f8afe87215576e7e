"""The benchmark of checkpoints in its smallest form, and a job that goes on past a damaged one."""

import signal

import pytest

from jobs.benchmarks import checkpoints
from tests.jobs.command_line import SMALL, rest_of, run_job, start_job, until


def test_every_damaged_checkpoint_is_found_named_and_passed_over():
    report = checkpoints.run(num_damages=12)
    everything = {"tried": 12, "detected": 12, "named": 12, "previous_used": 12}
    assert report["truncated"] == report["flipped"] == everything
    assert "truncated        12        12" in "\n".join(checkpoints.describe(report))


def test_a_full_disk_keeps_the_checkpoint_before_and_leaves_nothing_half():
    full = checkpoints.run(num_damages=0)["full_disk"]
    assert (full["failed"], full["kept"], full["left_behind"]) == (3, 2, 0)
    assert full["sentence"].endswith("; the checkpoint of step 2 is kept, where the same command goes on")


@pytest.mark.slow
def test_a_resumed_job_says_which_checkpoint_it_skipped_and_where_it_goes_on(tmp_path):
    long = ["--set", "run.name=long", *SMALL, "outer.epochs=200", "train.num_workers=0", "train.meta_batch=16"]
    process = start_job("train", *long, root=tmp_path)
    until(process, "epoch 3/")
    process.send_signal(signal.SIGTERM)
    said = rest_of(process, timeout=60)
    assert process.returncode == 130, said
    *_, kept, damaged = sorted((tmp_path / "runs/long/checkpoints").iterdir())
    (damaged / "weights.safetensors").write_bytes(b"half")
    resumed = run_job("train", *long, root=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.count(f"warning: skipped a checkpoint that is not whole: {damaged}") == 1
    assert f"going on from the checkpoint of step {int(kept.name[5:])} of " in resumed.stdout
    assert "0 dropped or repeated" in resumed.stdout
