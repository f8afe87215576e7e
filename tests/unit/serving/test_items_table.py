"""Items of a table: what is new of them, what is known, and what cannot be used."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from metarec.build import build_learner
from metarec.config import TablesConfig, load_config
from metarec.errors import DataError, RequestError
from metarec.schema import FeatureField, Schema
from metarec.serving.items_table import read_items
from metarec.serving.learner import Learner
from metarec.task import Catalogue

COLUMNS = TablesConfig(title="name")
FIELDS = (
    FeatureField("id", "categorical", ("7", "11")),
    FeatureField("brand", "categorical", ("acme",)),
    FeatureField("tags", "multi_valued", ("new", "red"), width=2),
    FeatureField("price", "numeric", mean=2.0, scale=1.0),
    FeatureField("look", "dense", width=2),
)


def learner_of(*overrides):
    """Items 7 and 11, of which nothing is known but their ids."""
    config, schema = load_config(overrides=list(overrides)), Schema((), FIELDS)
    features = {
        field.name: torch.zeros(2, field.width, dtype=torch.int64 if field.vocabulary else torch.float32)
        for field in FIELDS
    }
    catalogue = Catalogue({}, features, torch.tensor([3.0]), torch.zeros(2, 1))
    return Learner(build_learner(config, schema), config, schema, catalogue, ["7", "11"], ["Seven", "Eleven"], {})


@pytest.fixture(scope="module")
def learner():
    return learner_of()


def write(folder, *lines):
    place = folder / "items.csv"
    place.write_text("\n".join(lines) + "\n")
    return str(place)


def test_features_and_titles_of_new_items_are_read_and_other_columns_left_alone(learner, tmp_path):
    place = write(tmp_path, "item_id,name,brand,tags,price,look,stock", "20,Twenty,acme,red|new,2.5,1|0,x", "21,,,,,,")
    table = read_items(learner, place, COLUMNS)
    assert table.new == {
        "20": {"brand": "acme", "tags": ["red", "new"], "price": 2.5, "look": [1.0, 0.0]},
        "21": {"brand": None, "tags": None, "price": None, "look": None},
    }
    assert (table.titles, table.num_known, table.missing, table.unusable) == ({"20": "Twenty"}, 0, (), {})
    grown = learner.with_items(table.new, table.titles)
    assert {name: tensor[2:].tolist() for name, tensor in grown.catalogue.item_features.items()} == {
        "id": [[0], [0]],
        "brand": [[1], [0]],
        "tags": [[2, 1], [0, 0]],
        "price": [[0.5], [0.0]],
        "look": [[1.0, 0.0], [0.0, 0.0]],
    }


def test_parquet_files_of_a_folder_are_read_with_lists_as_lists_and_numbers_as_ids(learner, tmp_path):
    (tmp_path / "items").mkdir()
    for name, item in (("1.parquet", 20.0), ("2.parquet", 21.0)):
        columns = {"sku": [item], "brand": [7.0], "tags": [["red"]], "look": [[0.5, 1.0]], "price": [3]}
        pq.write_table(pa.table(columns), tmp_path / "items" / name)
    table = read_items(learner, f"{tmp_path}/items/", TablesConfig(item="sku"))
    assert list(table.new) == ["20", "21"]
    assert table.new["21"] == {"brand": "7", "tags": ["red"], "price": 3.0, "look": [0.5, 1.0]}
    assert learner.with_items(table.new).item_titles[2:] == ("20", "21")


def test_known_items_and_columns_that_are_missing_are_told(learner, tmp_path):
    table = read_items(learner, write(tmp_path, "item_id,price", "7,1", "20,2", "11,"), COLUMNS)
    assert table.new == {"20": {"price": 2.0}}
    assert table.num_known == 2
    assert table.missing == ("name", "brand", "tags", "look")


def test_rows_that_cannot_be_used_are_counted_by_reason(learner, tmp_path):
    place = write(tmp_path, "item_id,brand", "20,a", "20,acme", ",b", "21,c,d", ",")
    table = read_items(learner, place, COLUMNS)
    assert table.new == {"20": {"brand": "acme"}}
    assert table.unusable == {
        "the id is missing": 2,
        "duplicate: the same id stands in a later row": 1,
        "the row cannot be read": 1,
    }


def test_of_item_tasks_it_is_a_table_of_users(tmp_path):
    table = read_items(
        learner_of("protocol.name=item_tasks"), write(tmp_path, "user_id,item_id,brand", "ann,3,acme", "7,3,"), COLUMNS
    )
    assert (table.new, table.titles, table.num_known) == ({"ann": {"brand": "acme"}}, {}, 1)
    assert table.missing == ("tags", "price", "look")


@pytest.mark.parametrize(
    ("lines", "error", "message"),
    [
        (
            ["item_id,price", "20,1", "21,dear"],
            DataError,
            r"items\.csv, column 'price', row 3 is 'dear', expected a fin",
        ),
        (["sku,price", "20,1"], DataError, r"items\.csv has no column 'item_id' \(tables\.item\); its columns are sku"),
        (["item_id,look", "20,1|2", "21,1"], DataError, "has vectors of different lengths"),
        (
            ["item_id,brand", ",a"],
            RequestError,
            r"no row of .* can be used: the id is missing \(1\); give each item its",
        ),
        (["item_id,brand"], RequestError, r"no row of .* can be used: it is empty"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_the_reason(learner, tmp_path, lines, error, message):
    with pytest.raises(error, match=message):
        read_items(learner, write(tmp_path, *lines), COLUMNS)


def test_a_vector_of_another_length_than_the_models_is_refused(learner, tmp_path):
    table = read_items(learner, write(tmp_path, "item_id,look", "20,1|2|3"), COLUMNS)
    with pytest.raises(RequestError, match="item feature 'look' of '20' has 3 numbers; it takes 2"):
        learner.with_items(table.new)


def test_a_place_without_a_table_is_refused(learner, tmp_path):
    with pytest.raises(
        RequestError, match=r"absent\.csv does not exist; name a Parquet or CSV file of items and their"
    ):
        read_items(learner, f"{tmp_path}/absent.csv", COLUMNS)
    (tmp_path / "items.txt").write_text("item_id\n7\n")
    with pytest.raises(DataError, match=r"items\.txt is neither \.parquet nor \.csv; set --items to a Parquet or CSV"):
        read_items(learner, f"{tmp_path}/items.txt", COLUMNS)
