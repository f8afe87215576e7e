"""The quality benchmark in its smallest form: floors first, rows kept, and only what is missing made again."""

import json
import re

import pytest

from jobs.benchmarks import quality
from jobs.benchmarks.quality_rows import Row, lines_of
from jobs.benchmarks.trainings import Trained
from metarec.build import ALGORITHMS
from metarec.config import load_config
from metarec.errors import TrainingError
from tests.jobs.command_line import run_job

ROWS = [
    "global mean",
    "user median",
    "item + user bias",
    "item-kNN",
    "factorisation + fold-in",
    "factor analysis + fold-in",
    "maml",
    "joint",
]


def test_every_row_has_as_many_trials_and_at_most_eight():
    for plan in (quality.FULL, quality.QUICK):
        assert {len(plan.trials(name)) for name in plan.algorithms} == {len(plan.rates)}
        assert len(plan.rates) <= 8


def test_the_full_plan_is_every_algorithm_in_melus_three_scenarios():
    plan = quality.FULL
    assert list(plan.scenarios) == ["user_cold", "item_cold", "user_and_item_cold"]
    assert set(plan.algorithms) == set(ALGORITHMS)
    assert set(quality.GRADIENT_STEPS) <= set(ALGORITHMS)
    assert len(plan.seeds) >= 3
    for algorithm in plan.algorithms:
        for rates in plan.trials(algorithm):
            config = plan.config("item_cold", algorithm, 1, rates)
            assert (config.algorithm.name, config.run.seed) == (algorithm, 1)
            assert (config.protocol.name, config.protocol.split) == ("item_cold", "melu_split.parquet")


def test_the_table_sets_every_row_beside_the_best_floor():
    def row(name, error, **further):
        values = {"mae": error, "rmse": error, "ndcg_at_1": None, "ndcg_at_3": 0.5, "ndcg_at_5": 0.5}
        return Row(name, values, [error] * 20, "mae", 1.0, 0.5, **further)

    lines = lines_of("cold", [row("bias", 0.8), row("mean", 0.9), row("maml", 0.75, rates={"inner.lr": 0.5})])
    assert lines[-3].startswith("| bias | 0.8000 | 0.8000 | - | 0.5000 | best floor |")
    assert "| +0.1000 [+0.1000, +0.1000] |" in lines[-2]
    assert "| -0.0500 [-0.0500, -0.0500] | inner.lr 0.5 | 1 | 0.50 |" in lines[-1]


def trained(validation):
    return Trained(load_config(), validation, None, 1.0)


def test_a_trial_that_could_not_be_trained_to_its_end_is_out_and_without_any_other_the_row_is_refused():
    high, low, lower = {"outer.lr": 9.0}, {"outer.lr": 0.1}, {"outer.lr": 0.01}
    best, rates = quality.best_of([(None, high), (trained(0.9), low), (trained(0.8), lower)], "maml, user_cold")
    assert (best.validation, rates) == (0.8, lower)
    with pytest.raises(TrainingError, match="none of the 1 trials of maml, user_cold trained to its end"):
        quality.best_of([(None, high)], "maml, user_cold")


@pytest.mark.slow
def test_rows_are_kept_and_only_a_missing_one_is_made_again(tmp_path):
    file = tmp_path / "report.json"
    first = run_job("benchmark", "quality", "--quick", "--report", str(file), root=tmp_path, timeout=500)
    assert first.returncode == 0, first.stderr
    report = json.loads(file.read_text())
    rows = report["scenarios"]["user_cold"]
    assert [row["name"] for row in rows] == ROWS
    assert rows[-2]["rates"].keys() == {"inner.lr", "outer.lr"}
    assert len(rows[-2]["validation"]) == report["num_trials"] == 2
    assert "per_user" not in rows[0]
    assert "plan: 2 rows, each of 2 trials and 2 seeds: 6 trainings" in first.stdout.splitlines()[0]
    assert "6 trainings are left" in first.stdout
    (kept,) = (tmp_path / "benchmarks" / "quality" / "user_cold").glob("joint-*.json")
    kept.unlink()
    again = run_job("benchmark", "quality", "--quick", root=tmp_path, timeout=500)
    assert "3 trainings are left" in again.stdout
    assert "kept the row of maml" not in again.stdout
    tables = [
        [re.sub(r"\| \S+ \| \S+ \|$", "", line) for line in done.stdout.splitlines() if line.startswith("|")]
        for done in (first, again)
    ]
    assert tables[0] == tables[1]
