"""Every protocol through the whole main job to its end, as a person would run it."""

import json
import shlex

import pytest

from tests.jobs.command_line import SMALL, run_job

SETTINGS = (
    *SMALL,
    *("data.min_ratings=4", "task.num_query=3", "evaluate.k=3", "synthetic.mean_ratings=30"),
    *("protocol.validation=0.25", "protocol.test=0.25", "train.num_workers=0"),
)
"""Enough ratings for a task of each user with new items, or in each scenario."""
FLOORS = ("global mean", "item + user bias", "factorisation + fold-in")


def train(protocol, root):
    """The home of a finished run of a protocol, what it printed, and its report."""
    done = run_job("train", "--set", f"run.name={protocol}", f"protocol.name={protocol}", *SETTINGS, root=root)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, json.loads((root / "runs" / protocol / "report.json").read_text())


def judged(printed, report):
    """Check that all were trained on, and that the table and the report have every floor at every support size."""
    assert "0 dropped or repeated" in printed
    values = report["evaluation"]["values"]
    assert set(values) >= {*FLOORS, "maml on melu"}
    assert all(f"\n{name} " in printed for name in values)
    assert all(list(sizes) == ["0", "1", "3", "5", "10", "all"] for sizes in values.values())
    assert all(sizes["all"]["mae"] > 0 for sizes in values.values())


def test_new_items_are_adapted_to_judged_and_recommended_for(tmp_path):
    printed, report = train("item_tasks", tmp_path)
    judged(printed, report)
    assert "10 test items, all support ratings" in printed
    assert "item median" in report["evaluation"]["values"]
    (step,) = (line for line in printed.splitlines() if "python -m jobs.recommend" in line)
    done = run_job("recommend", *shlex.split(step)[3:], root=tmp_path)
    assert done.returncode == 0, done.stderr
    title, *rows = done.stdout.splitlines()
    assert title.split() == ["user", "title", "score"]
    assert len(rows) == 10
    assert all(row.split()[1].startswith("user-") for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    "protocol", ["user_cold", "item_cold", "user_and_item_cold", "warm", "interest_drift", "scenario_transfer"]
)
def test_every_protocol_comes_to_its_results(protocol, tmp_path):
    judged(*train(protocol, tmp_path))
