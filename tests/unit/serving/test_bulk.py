"""All users of a table on a real Ray: what each of them gets alone, in Parquet."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metarec.errors import RequestError, StorageError
from metarec.serving.bulk import COLUMNS, check_request, recommend_to_table
from tests.tiny_learner import ITEMS, tiny_learner

NUM_USERS = 30


@pytest.fixture(scope="module")
def learner():
    return tiny_learner("algorithm.name=ridge", "model.name=mf")


@pytest.fixture(scope="module")
def users():
    """Thirty users with 0 to 4 ratings."""
    rng = np.random.default_rng(0)
    items = [rng.choice(ITEMS, user % 5, replace=False).tolist() for user in range(NUM_USERS)]
    ratings = [rng.integers(1, 6, len(own)).astype(float).tolist() for own in items]
    lists = pa.list_(pa.string()), pa.list_(pa.float64())
    names = [f"user {number}" for number in range(NUM_USERS)]
    return pa.table({"user": names, "items": pa.array(items, lists[0]), "ratings": pa.array(ratings, lists[1])})


def test_each_user_of_a_table_gets_what_she_gets_alone(ray_cluster, learner, users, tmp_path):
    among = [item for item in ITEMS if item != "17"]
    recommend_to_table(learner, users, f"{tmp_path}/out", k=3, among=among)
    files = sorted((tmp_path / "out").glob("*.parquet"))
    written = pa.concat_tables([pq.read_table(file) for file in files])
    assert written.schema.equals(COLUMNS)
    whose = [set(pq.read_table(file)["user"].to_pylist()) for file in files]
    assert sum(map(len, whose)) == NUM_USERS
    for row in users.to_pylist():
        own = written.filter(pa.compute.field("user") == row["user"]).sort_by("rank")
        left = len(set(among) - set(row["items"]))
        ratings = list(zip(row["items"], row["ratings"], strict=True))
        alone = learner.adapt(ratings).recommend(min(3, left), among=among)
        assert own["rank"].to_pylist() == list(range(1, len(alone) + 1))
        assert own["item"].to_pylist() == [each.item for each in alone]
        assert own["title"].to_pylist() == [each.title for each in alone]
        assert own["score"].to_pylist() == pytest.approx([each.score for each in alone], abs=1e-5)


@pytest.mark.parametrize("k", [0, 3])
def test_more_items_than_may_be_recommended_are_refused(learner, tmp_path, k):
    with pytest.raises(RequestError, match=f"k is {k}; use 1 to 2, the items that may be recommended"):
        check_request(learner, str(tmp_path), k=k, among=ITEMS[:2])


def test_a_folder_that_holds_something_or_cannot_be_written_is_refused(learner, tmp_path):
    (tmp_path / "earlier.parquet").write_text("")
    with pytest.raises(RequestError, match="is not empty; name a new or an empty folder"):
        check_request(learner, str(tmp_path), k=1, among=ITEMS)
    with pytest.raises(StorageError, match=r"cannot write .*earlier\.parquet/out"):
        check_request(learner, f"{tmp_path}/earlier.parquet/out", k=1, among=ITEMS)
