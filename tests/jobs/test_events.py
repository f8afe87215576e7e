"""Plain events with sampled negatives and a second head, trained to rank, as a person would."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.jobs.command_line import SMALL, run_job

NUM_USERS, NUM_ITEMS = 60, 40


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The home of one finished run, and what it printed; low items are popular, and half of the purchases are known."""
    root = tmp_path_factory.mktemp("home")
    generator = np.random.default_rng(0)
    chance = np.linspace(2, 1, NUM_ITEMS) / np.linspace(2, 1, NUM_ITEMS).sum()
    items = [generator.choice(NUM_ITEMS, 15, replace=False, p=chance) for _ in range(NUM_USERS)]
    bought = np.where(generator.random(15 * NUM_USERS) < 0.5, generator.integers(0, 2, 15 * NUM_USERS), np.nan)
    log = {"user_id": np.repeat(np.arange(NUM_USERS), 15), "item_id": np.concatenate(items)}
    pq.write_table(pa.table(log | {"bought": pa.array(bought, from_pandas=True)}), root / "log.parquet")
    settings = (
        "run.name=events",
        "data.source=tables",
        f"data.path={root}",
        "tables.ratings=log.parquet",
        "tables.rating=",
        "tables.timestamp=",
        "tables.heads.purchase=bought",
        "task.num_negatives=2",
        "outer.loss=pairwise cross_entropy",
        "evaluate.primary=ndcg@5",
        "registry.model=shop",
        "train.num_workers=0",
    )
    done = run_job("train", "--set", *SMALL, *settings, root=root)
    assert done.returncode == 0, done.stdout + done.stderr
    return root, done


def test_the_checkpoint_that_ranks_best_is_judged_beside_popularity(finished):
    root, done = finished
    measured = [float(value) for value in re.findall(r"epoch \S+ .*validation ndcg@5 (\S+)", done.stdout)]
    (best,) = re.findall(r"best checkpoint: .*validation ndcg@5 (\S+)", done.stdout)
    assert float(best) == max(measured)
    report = json.loads((root / "runs/events/report.json").read_text())
    assert report["primary"] == "ndcg@5"
    assert "popularity" in report["verdict"]["opponents"]


def test_an_evaluation_needs_no_setting_to_repeat_the_figures(finished, tmp_path):
    root, _ = finished
    report, model = tmp_path / "report.json", "models:/shop/1"
    done = run_job("evaluate", "--set", *SMALL[-2:], "--model", model, "--report", str(report), root=root)
    assert done.returncode == 0, done.stderr
    ours = json.loads(report.read_text())["evaluation"]["values"][model]
    trained = json.loads((root / "runs/events/report.json").read_text())["evaluation"]["values"]["maml on melu"]
    assert ours["all"]["ndcg_at_5"] == pytest.approx(trained["all"]["ndcg_at_5"], abs=1e-5)


def test_events_are_recommended_from(finished):
    root, _ = finished
    done = run_job("recommend", "--model", "models:/shop/1", "--ratings", "0:1,1:1", "-k", "3", root=root)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip().splitlines()) == 4
