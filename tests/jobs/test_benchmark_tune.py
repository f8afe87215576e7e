"""The benchmark of searches in its smallest form."""

import json

import pytest

from tests.jobs.command_line import run_job


@pytest.mark.slow
def test_the_search_benchmark_reports_what_a_trial_costs_beside_its_training(tmp_path):
    file = tmp_path / "report.json"
    done = run_job("benchmark", "tune", "--quick", "--report", str(file), root=tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(file.read_text())["rows"]
    assert (row["workers"], row["trials"]) == (0, 2)
    assert row["search_seconds"] > row["alone_seconds"] > 0
    assert row["overhead_seconds"] == pytest.approx(
        row["search_seconds"] * min(row["at_once"], 2) / 2 - row["alone_seconds"]
    )
    assert "its own process" in done.stdout
