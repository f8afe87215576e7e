import dataclasses

import pyarrow as pa
import pytest

from metarec.config import Config, with_values
from metarec.data.audit import audit, require_clean
from metarec.data.prepare import prepare
from metarec.errors import LeakError
from metarec.schema import Schema
from tests.planted_leaks import replace_column, task_table, training_rows, violated, with_items, with_tasks


@pytest.fixture(scope="module")
def clean(ray_cluster, tmp_path_factory):
    root = str(tmp_path_factory.mktemp("audit"))
    settings = {"output.root": root, "synthetic.num_users": 30, "synthetic.num_items": 80}
    return prepare(with_values(Config(), settings), progress=lambda line: None)


def test_a_prepared_dataset_is_clean(clean):
    assert violated(clean) == []
    require_clean(audit(clean))


def test_a_test_user_in_training_is_found(clean, tmp_path):
    moved = training_rows(task_table(clean, "test").slice(0, 1))
    leaky = pa.concat_tables([task_table(clean, "train"), moved])
    claims = violated(with_tasks(clean, tmp_path, train=leaky))
    assert "no user stands in two splits" in claims
    assert "no test user has a training rating" in claims
    assert "each (user, item) pair stands once, in one split" in claims


def test_a_leak_stops_the_job_with_the_claim_and_the_user(clean, tmp_path):
    table = task_table(clean, "validation").slice(0, 1)
    leaky = with_tasks(clean, tmp_path, train=pa.concat_tables([task_table(clean, "train"), table]))
    user = clean.user_ids()[table["user"][0].as_py()]
    with pytest.raises(LeakError, match=f"no user stands in two splits: user '{user}' stands in train and validation"):
        require_clean(audit(leaky))


def test_a_user_who_stands_twice_in_a_split_is_found(clean, tmp_path):
    twice = pa.concat_tables([task_table(clean, "test"), task_table(clean, "test").slice(0, 1)])
    assert "each user stands once in its split" in violated(with_tasks(clean, tmp_path, test=twice))


def test_a_lost_user_is_found(clean, tmp_path):
    short = task_table(clean, "test").slice(1)
    assert violated(with_tasks(clean, tmp_path, test=short)) == ["each user of users.parquet stands in a split"]


def test_a_pair_that_stands_twice_is_found(clean, tmp_path):
    table = task_table(clean, "test")
    items = table["item"].to_pylist()
    items[0][1] = items[0][0]
    table = replace_column(table, "item", pa.array(items, pa.list_(pa.int64())))
    assert violated(with_tasks(clean, tmp_path, test=table)) == ["each (user, item) pair stands once, in one split"]


def test_an_index_beyond_the_catalogue_is_found_before_anything_is_looked_up(clean, tmp_path):
    table = task_table(clean, "test")
    items = table["item"].to_pylist()
    items[0][0] = 80
    table = replace_column(table, "item", pa.array(items, pa.list_(pa.int64())))
    assert violated(with_tasks(clean, tmp_path, test=table)) == ["every item index points into items.parquet"]


def test_biases_fitted_on_other_ratings_are_found(clean, tmp_path):
    items = clean.table("item")
    shifted = items["bias.rating"].to_numpy() + 1e-6
    leaky = with_items(clean, tmp_path, replace_column(items, "bias.rating", pa.array(shifted)))
    assert violated(leaky) == ["item biases follow from training ratings alone"]


def test_with_content_fields_the_biases_of_rated_items_alone_follow_from_ratings(tmp_path):
    settings = {"output.root": str(tmp_path / "out"), "synthetic.num_users": 30, "synthetic.num_items": 80}
    dataset = prepare(with_values(Config(), settings | {"data.content_statistics": True}), progress=lambda line: None)
    items = dataset.table("item")
    unrated = items["training_ratings"].to_numpy() == 0
    bias = items["bias.rating"].to_numpy()
    assert bias[unrated].all()
    assert violated(dataset) == []
    for number, (shifted, found) in enumerate(
        [(~unrated, ["rated item biases follow from training ratings alone"]), (unrated, [])]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        changed = replace_column(items, "bias.rating", pa.array(bias + 1e-6 * shifted))
        assert violated(with_items(dataset, folder, changed)) == found


def test_counts_that_include_other_splits_are_found(clean, tmp_path):
    items = clean.table("item")
    counts = items["training_ratings"].to_numpy() + 1
    leaky = with_items(clean, tmp_path, replace_column(items, "training_ratings", pa.array(counts)))
    assert violated(leaky) == ["training_ratings of each item counts training ratings alone"]


def test_an_offset_of_other_ratings_is_found(clean):
    leaky = dataclasses.replace(clean, manifest={**clean.manifest, "offset": [3.0]})
    assert violated(leaky) == ["the offset is the training mean"]


@pytest.mark.parametrize(("side", "name"), [("user", "occupation"), ("item", "id"), ("item", "genres")])
def test_a_vocabulary_with_a_value_that_training_never_saw_is_found(clean, side, name):
    fields = tuple(
        dataclasses.replace(field, vocabulary=(*field.vocabulary, "zzz")) if field.name == name else field
        for field in clean.schema.fields(side)
    )
    schema: Schema = dataclasses.replace(clean.schema, **{f"{side}_fields": fields})
    assert violated(dataclasses.replace(clean, schema=schema)) == [
        f"{side} field '{name}' was fitted on the training side alone"
    ]
