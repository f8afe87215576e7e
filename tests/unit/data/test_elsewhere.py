"""What test users rated elsewhere: recomputed from raw ratings, kept apart from tasks, and what the audit finds."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.evaluate import evaluate_on_test
from metarec.config import Config, with_values
from metarec.data.histories import ELSEWHERE, elsewhere_from_table, from_table, task_schema
from metarec.data.prepare import prepare
from metarec.data.sources import open_source
from metarec.data.tasks import draw_tasks
from metarec.evaluate.candidates import WholeCatalogue
from metarec.schema import SPLITS
from tests.planted_leaks import replace_column, task_table, violated, with_tasks

SETTINGS = {
    "synthetic.num_users": 60,
    "synthetic.num_items": 80,
    "data.min_ratings": 4,
    "task.num_query": 3,
    "protocol.validation": 0.25,
    "protocol.test": 0.25,
}
PARTED = ("warm", "item_cold", "user_and_item_cold")
"""The protocols that part the ratings of a test user."""
WHOLE = ("user_cold", "interest_drift", "item_tasks", "scenario_transfer")
TABLE = pa.table(
    {
        "user": [4, 7, 9],
        "item": [[5, 2], [1], [3]],
        "timestamp": [[1, 2], [3], [4]],
        "target.rating": [[3.0, 4.0], [1.0], [2.0]],
        ELSEWHERE: [[8], [], [6, 7, 0]],
    },
    schema=task_schema(["rating"], elsewhere=True),
)


@pytest.fixture(scope="module")
def dataset_of(ray_cluster, tmp_path_factory):
    root = str(tmp_path_factory.mktemp("elsewhere"))

    def make(protocol):
        config = with_values(Config(), SETTINGS | {"output.root": root, "protocol.name": protocol})
        return config, prepare(config, progress=str)

    return make


def rated_by_task(config):
    """From the raw ratings: the id of what a task is of → all that stands on the other side of its ratings."""
    source, rated = open_source(config), {}
    rows = pa.concat_tables([source.read(part) for part in source.parts()])
    sides = ("item", "user") if config.protocol.name == "item_tasks" else ("user", "item")
    columns = (rows[name].to_pylist() for name in (*sides, "scenario"))
    for own, other, scenario in zip(*columns, strict=True):
        task = f"{own} @ {scenario}" if config.protocol.name == "scenario_transfer" else own
        rated.setdefault(task, set()).add(other)
    return rated


@pytest.mark.parametrize("protocol", [*PARTED, *WHOLE])
def test_candidates_are_the_whole_catalogue_but_what_the_user_rated_anywhere(dataset_of, protocol):
    config, dataset = dataset_of(protocol)
    rated, users, items = rated_by_task(config), dataset.user_ids(), dataset.item_ids()
    test = dataset.histories("test")
    tasks = draw_tasks(test, seed=0, draw=0, num_query=3)
    query = WholeCatalogue(len(items), dataset.elsewhere()).beside(tasks, test).query
    num_held_out = tasks.query.item.shape[1]
    for task, user in enumerate(test.user.tolist()):
        added = query.item[task, num_held_out:][query.mask[task, num_held_out:]].tolist()
        assert len(added) == len(set(added))
        assert {items[item] for item in added} == set(items) - rated[users[user]]
    assert len(test) > 0


@pytest.mark.parametrize("candidates", ["rated", "all"])
def test_no_event_of_a_test_user_is_judged_as_a_sampled_negative(ray_cluster, tmp_path, candidates):
    """Under warm, where some of her events are held for validation."""
    taken = np.argsort(np.random.default_rng(0).random((40, 60)), axis=1)[:, :30]
    log = {"user_id": np.repeat(np.arange(40), 30).astype(str), "item_id": taken.ravel().astype(str)}
    pq.write_table(pa.table(log), tmp_path / "ratings.parquet")
    tables = {"data.source": "tables", "data.path": str(tmp_path), "tables.rating": "", "tables.timestamp": ""}
    protocol = {"protocol.name": "warm", "output.root": str(tmp_path / "out"), "task.num_negatives": 4}
    judged = {"evaluate.candidates": candidates, "evaluate.support_sizes": (), "evaluate.num_draws": 2}
    config = with_values(Config(), SETTINGS | tables | protocol | judged)
    dataset, seen = prepare(config, progress=str), []

    def predict(catalogue, batch):
        query = batch.query
        for task in range(batch.num_tasks):
            leaves = (query.user, query.item, query.target[..., 0])
            seen.extend(zip(*(leaf[task][query.mask[task]].tolist() for leaf in leaves), strict=True))
        return query.target

    evaluate_on_test(config, dataset, {"seen": predict}, training_seconds={})
    items, users = np.array(dataset.item_ids(), int), np.array(dataset.user_ids(), int)
    assert {target for *_, target in seen} == {0.0, 1.0}
    assert all((items[item] in taken[users[user]]) == bool(target) for user, item, target in seen)


@pytest.mark.parametrize("protocol", [*PARTED, *WHOLE])
def test_test_tasks_alone_say_what_stands_elsewhere(dataset_of, protocol):
    _, dataset = dataset_of(protocol)
    assert [ELSEWHERE in dataset.tasks(split).column_names for split in SPLITS] == [False, False, True]
    elsewhere = dataset.elsewhere()
    assert elsewhere.user.tolist() == dataset.histories("test").user.tolist()
    assert elsewhere.target.shape == (len(elsewhere.item), 0)
    assert bool(len(elsewhere.item)) == (protocol in PARTED)


def test_tasks_are_read_as_if_nothing_stood_elsewhere():
    for table in (TABLE, TABLE.slice(1), TABLE.slice(0, 0)):
        found, plain = from_table(table), from_table(table.drop_columns([ELSEWHERE]))
        for name in ("user", "offsets", "item", "target", "observed"):
            assert np.array_equal(getattr(found, name), getattr(plain, name)), name


@pytest.mark.parametrize("start", [0, 1, 3])
def test_a_table_says_what_stands_elsewhere_and_of_whom(start):
    found = elsewhere_from_table(TABLE.slice(start))
    rows = TABLE.slice(start).to_pylist()
    assert found.user.tolist() == [row["user"] for row in rows]
    assert found.item.tolist() == [item for row in rows for item in row[ELSEWHERE]]
    assert found.lengths.tolist() == [len(row[ELSEWHERE]) for row in rows]


def with_elsewhere(clean, tmp_path, change):
    """A copy of a dataset of which the first test task that has something elsewhere says something else."""
    test = task_table(clean, "test")
    lists, items = test[ELSEWHERE].to_pylist(), test["item"].to_pylist()
    place = next(index for index, own in enumerate(lists) if own)
    lists[place] = change(lists[place], items[place])
    return with_tasks(clean, tmp_path, test=replace_column(test, ELSEWHERE, pa.array(lists, pa.list_(pa.int64()))))


@pytest.mark.parametrize("protocol", PARTED)
@pytest.mark.parametrize(
    "change", [lambda elsewhere, own: [*elsewhere, own[-1]], lambda elsewhere, own: [*elsewhere, elsewhere[0]]]
)
def test_an_item_of_the_task_that_stands_elsewhere_or_one_that_stands_there_twice_is_found(
    dataset_of, tmp_path, protocol, change
):
    _, clean = dataset_of(protocol)
    claims = violated(with_elsewhere(clean, tmp_path, change))
    assert claims == ["no test task holds one of the items that it says stand elsewhere, or names one twice"]


@pytest.mark.parametrize(("protocol", "split"), [("warm", "validation"), ("item_cold", "training")])
def test_a_rating_of_another_split_that_stands_nowhere_is_found(dataset_of, tmp_path, protocol, split):
    _, clean = dataset_of(protocol)
    claims = violated(with_elsewhere(clean, tmp_path, lambda elsewhere, own: []))
    assert f"the {split} ratings of each test user stand in the task or elsewhere" in claims


def test_an_index_elsewhere_beyond_the_catalogue_is_found(dataset_of, tmp_path):
    _, clean = dataset_of("warm")
    claims = violated(with_elsewhere(clean, tmp_path, lambda elsewhere, own: [*elsewhere, 80]))
    assert claims == ["every item index points into items.parquet"]


def test_a_column_of_what_was_given_elsewhere_is_found(dataset_of, tmp_path):
    _, clean = dataset_of("warm")
    test = task_table(clean, "test")
    given = pa.array([[5.0] * len(own) for own in test[ELSEWHERE].to_pylist()], pa.list_(pa.float32()))
    leaky = with_tasks(clean, tmp_path, test=test.append_column(f"{ELSEWHERE}.rating", given))
    assert violated(leaky) == ["test tasks have the columns that they need and no other"]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_another_split_that_says_what_stands_elsewhere_is_found(dataset_of, tmp_path, split):
    _, clean = dataset_of("item_cold")
    table = task_table(clean, split)
    leaky = with_tasks(clean, tmp_path, **{split: table.append_column(ELSEWHERE, table["item"])})
    called = {"train": "training"}.get(split, split)
    assert violated(leaky) == [f"{called} tasks have the columns that they need and no other"]
