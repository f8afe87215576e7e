"""The benchmark of questions in its smallest form."""

import json

import pytest

from jobs.benchmarks.questions import questions_for
from tests.jobs.command_line import run_job


def test_the_questions_that_a_choice_needs_lie_on_its_curve():
    mae = [0.9, 0.8, 0.85, 0.7, 0.65, 0.6, 0.55]  # after 0, 5, 10, 20, … questions
    assert questions_for(mae, 0.95) == 0
    assert questions_for(mae, 0.85) == pytest.approx(2.5)
    assert questions_for(mae, 0.74) == pytest.approx(10 + 10 * 0.11 / 0.15)
    assert questions_for(mae, 0.5) is None


@pytest.mark.slow
def test_each_choice_has_a_curve_that_starts_where_nothing_was_asked(tmp_path):
    file = tmp_path / "report.json"
    done = run_job("benchmark", "questions", "--quick", "--threads", "1", "--report", str(file), root=tmp_path)
    assert done.returncode == 0, done.stderr
    models = json.loads(file.read_text())["models"]
    choices = {"random", "popular", "variance", "evidence"}
    assert models["alpaca on mf"]["curves"].keys() == choices
    assert models["maml on melu"]["curves"].keys() == {*choices, "gradient"}
    for curves in (model["curves"] for model in models.values()):
        assert len({curve["mae"][0] for curve in curves.values()}) == 1
        for curve in curves.values():
            assert curve["answers"][0] == 0
            assert curve["answers"] == sorted(curve["answers"])
        assert len({round(curve["answers"][-1], 6) for curve in curves.values()}) == 1, "160 questions are all 40 items"
    assert "| variance |" in done.stdout
    assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
