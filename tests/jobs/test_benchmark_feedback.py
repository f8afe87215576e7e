"""The benchmark of going on without the old ratings in its smallest form."""

import json

import pytest

from metarec.build import ALGORITHMS
from tests.jobs.command_line import run_job

pytestmark = pytest.mark.slow


def test_each_algorithm_has_its_distance_or_its_reason(tmp_path):
    file = tmp_path / "report.json"
    done = run_job("benchmark", "feedback", "--quick", "--threads", "1", "--report", str(file), root=tmp_path)
    assert done.returncode == 0, done.stderr
    cases = {case["algorithm"]: case for case in json.loads(file.read_text())["cases"]}
    assert cases.keys() == ALGORITHMS.keys()
    assert cases.pop("matching")["refused"] == "its state is the ratings themselves"
    assert cases["joint"]["difference, 4 pieces"] == pytest.approx(0, abs=1e-5)
    for case in cases.values():
        assert {"MAE, at once", "MAE, 2 pieces", "MAE, 4 pieces", "MAE, the first quarter"} <= case.keys()
        assert case["difference, 2 pieces"] < 1
    assert "| matching | bias | not without the ratings: its state is the ratings themselves |" in done.stdout
