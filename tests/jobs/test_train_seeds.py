"""A training over several seeds, as a person runs it."""

import json

import pytest
from mlflow import MlflowClient

from tests.jobs.command_line import SMALL, run_job

ARGUMENTS = ("--set", *SMALL, "train.num_workers=0", "run.name=both", "run.seeds=[3, 5]")


@pytest.mark.slow
def test_each_seed_is_a_run_and_all_are_judged_together_once(tmp_path):
    done = run_job("train", *ARGUMENTS, root=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "runs/both/report.json").read_text())
    values = {name: sizes["all"]["mae"] for name, sizes in report["evaluation"]["values"].items()}
    assert list(values)[-3:] == ["seed 3", "seed 5", "mean over seeds 3, 5"]
    assert values["mean over seeds 3, 5"] == pytest.approx((values["seed 3"] + values["seed 5"]) / 2)
    assert values["seed 3"] != values["seed 5"]
    for seed in (3, 5):
        own = json.loads((tmp_path / f"runs/both.seed-{seed}/report.json").read_text())
        assert own["evaluation"]["values"]["maml on melu"]["all"]["mae"] == pytest.approx(values[f"seed {seed}"])
    assert (
        done.stdout.splitlines()[-1] == f"report: {tmp_path}/runs/both/report.json and {tmp_path}/runs/both/report.html"
    )
    versions = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_model_versions("name = 'metarec-synthetic'")
    assert sorted(version.tags["run.name"] for version in versions) == ["both.seed-3", "both.seed-5"]
    again = run_job("train", *ARGUMENTS, root=tmp_path)
    assert again.returncode == 0
    assert "run both is finished" in again.stdout
    assert again.stdout.splitlines()[-1] == done.stdout.splitlines()[-1]
