"""`python -m jobs.recommend --users` as a person runs it: a model in a folder, a table, a Ray of its own."""

import pyarrow.parquet as pq
import pytest

from metarec import storage
from tests.jobs.command_line import last_line, run_job
from tests.tiny_learner import tiny_learner

pytestmark = pytest.mark.slow


def test_a_table_of_users_becomes_a_table_of_recommendations(tmp_path):
    learner = tiny_learner()
    storage.write_bundle(f"{tmp_path}/model", "model", learner.to_files())
    (tmp_path / "users.csv").write_text("user_id,item_id,rating\na,7,5\nb,13,1\na,lost,3\nb,11,8\na,11,2\nb,added,4\n")
    (tmp_path / "items.csv").write_text("item_id\nadded\nalso added\n")
    (tmp_path / "deny").write_text("19\n")
    model, users, out = (f"{tmp_path}/{name}" for name in ("model", "users.csv", "out"))
    done = run_job(
        "recommend", "--model", model, "--users", users, "--out", out, "-k", "4", "--deny", f"{tmp_path}/deny",
        "--items", f"{tmp_path}/items.csv", root=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == [
        "1 rows left out: the rating is outside 1 to 5",
        "1 rows left out: the model does not know their 1 items: lost",
    ]
    assert last_line(done.stdout).endswith(f"2 users have their items in {out}")
    written = pq.read_table(out).sort_by([("user", "ascending"), ("rank", "ascending")])
    among = ["7", "11", "13", "17", "added", "also added"]
    alone = {"a": {"7": 5, "11": 2}, "b": {"13": 1, "added": 4}}
    learner = learner.with_items({"added": {}, "also added": {}})
    expected = [(user, each.item) for user in alone for each in learner.adapt(alone[user]).recommend(4, among=among)]
    assert list(zip(written["user"].to_pylist(), written["item"].to_pylist(), strict=True)) == expected
