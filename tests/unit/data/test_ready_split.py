"""A split that somebody else made: its test ratings and no others, whatever else it says."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from metarec.config import Config, with_values
from metarec.data.audit import audit, require_clean
from metarec.data.prepare import dataset_uri, prepare
from metarec.data.ready_split import read_ready_split
from metarec.errors import DataError
from metarec.schema import SPLITS

USERS, ITEMS = 30, 24
COLD_USERS, COLD_ITEMS = range(24, 30), range(16, 24)


def scenario(user, item):
    return ("warm", "item_cold", "user_cold", "user_item_cold")[2 * (user in COLD_USERS) + (item in COLD_ITEMS)]


@pytest.fixture
def folder(tmp_path):
    pairs = [(user, item) for user in range(USERS) for item in range(ITEMS)]
    users, items = (pa.array(ids, pa.int32()) for ids in zip(*pairs, strict=True))
    rating = pa.array([1.0 + (user + item) % 5 for user, item in pairs])
    named = pa.array([scenario(*pair) for pair in pairs]).dictionary_encode()
    pq.write_table(pa.table({"user_id": users, "item_id": items, "rating": rating}), tmp_path / "ratings.parquet")
    pq.write_table(pa.table({"user_id": users, "item_id": items, "scenario": named}), tmp_path / "split.parquet")
    return tmp_path


def settings(folder, protocol):
    values = {
        "data.source": "tables",
        "data.path": str(folder),
        "data.min_ratings": 3,
        "task.num_query": 2,
        "tables.timestamp": "",
        "output.root": str(folder / "out"),
        "protocol.name": protocol,
        "protocol.split": "split.parquet",
        "protocol.validation": 0.4,
    }
    return with_values(Config(), values)


def pairs_of(dataset, split):
    users, items = (np.array(ids, int) for ids in (dataset.user_ids(), dataset.item_ids()))
    histories = dataset.histories(split)
    return set(zip(users[histories.user[histories.row_history]].tolist(), items[histories.item].tolist(), strict=True))


@pytest.mark.parametrize("protocol", ["user_cold", "item_cold", "user_and_item_cold"])
def test_the_test_ratings_are_those_of_the_scenario_and_all_others_are_warm(folder, ray_cluster, protocol):
    dataset = prepare(settings(folder, protocol), progress=str)
    require_clean(audit(dataset))
    train, validation, test = (pairs_of(dataset, split) for split in SPLITS)
    name = protocol.replace("_and_", "_")
    assert test == {(u, i) for u in range(USERS) for i in range(ITEMS) if scenario(u, i) == name}
    assert {scenario(*pair) for pair in train | validation} == {"warm"}
    assert not train & validation


@pytest.mark.parametrize("protocol", ["user_cold", "item_cold", "user_and_item_cold", "warm"])
def test_what_belongs_to_no_split_stands_elsewhere_all_the_same(folder, ray_cluster, protocol):
    """Everybody has rated everything."""
    dataset = prepare(settings(folder, protocol), progress=str)
    test, elsewhere = dataset.histories("test"), dataset.elsewhere()
    for index in range(len(test)):
        rows = [each.take(np.array([index])).item.tolist() for each in (test, elsewhere)]
        assert sorted(rows[0] + rows[1]) == list(range(ITEMS))
    assert len(elsewhere.item) > 0


def test_of_the_warm_ratings_single_ones_are_held_out(folder, ray_cluster):
    dataset = prepare(settings(folder, "warm"), progress=str)
    require_clean(audit(dataset))
    assert {scenario(*pair) for split in SPLITS for pair in pairs_of(dataset, split)} == {"warm"}


def test_another_split_is_another_dataset(folder):
    before = dataset_uri(settings(folder, "user_cold"))
    table = pq.read_table(folder / "split.parquet")
    pq.write_table(table.slice(1), folder / "split.parquet")
    assert dataset_uri(settings(folder, "user_cold")) != before


def test_ratings_that_the_file_does_not_name_belong_nowhere(folder):
    ids = [pa.array([str(index) for index in range(count)]) for count in (USERS + 1, ITEMS)]
    ready = read_ready_split(str(folder / "split.parquet"), "item_cold", users=ids[0], items=ids[1])
    warm, test = ready.find(np.array([0, 0, 24, USERS]), np.array([0, 16, 0, ITEMS - 1]))
    assert warm.tolist() == [True, False, False, False]
    assert test.tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda table: table.drop_columns("scenario"),
            "has no column 'scenario', only user_id, item_id; check protocol.split",
        ),
        (lambda table: table.filter(pc.equal(table["scenario"], "warm")), "no rating .* whose scenario is item_cold"),
        (
            lambda table: table.slice(0, 0),
            "no rating .* whose scenario is warm; check protocol.split: its scenarios are none",
        ),
    ],
)
def test_a_file_without_what_is_asked_of_it_is_refused(folder, change, sentence):
    place, ids = folder / "split.parquet", pa.array([str(index) for index in range(USERS)])
    pq.write_table(change(pq.read_table(place)), place)
    with pytest.raises(DataError, match=sentence):
        read_ready_split(str(place), "item_cold", users=ids, items=ids)


def test_a_missing_file_and_one_that_is_no_parquet_are_refused_by_name(folder):
    with pytest.raises(DataError, match=r"nowhere\.parquet does not exist; check protocol\.split"):
        dataset_uri(with_values(settings(folder, "user_cold"), {"protocol.split": "nowhere.parquet"}))
    (folder / "split.parquet").write_text("user_id,item_id,scenario")
    with pytest.raises(DataError, match=r"cannot read .*split\.parquet as Parquet"):
        read_ready_split(str(folder / "split.parquet"), "user_cold", users=pa.array(["1"]), items=pa.array(["1"]))


def test_a_flipped_bit_in_a_page_of_the_split_is_refused_by_name(folder):
    place, ids = folder / "split.parquet", pa.array([str(index) for index in range(USERS)])
    pq.write_table(pq.read_table(place), place, write_page_checksum=True)
    content = place.read_bytes()
    start = pq.ParquetFile(place).metadata.row_group(0).column(0).data_page_offset + 200
    place.write_bytes(content[:start] + bytes([content[start] ^ 1]) + content[start + 1 :])
    with pytest.raises(DataError, match=r"cannot read .*split\.parquet as Parquet.*check protocol\.split"):
        read_ready_split(str(place), "user_cold", users=ids, items=ids)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "num_users"), [("user_cold", 668), ("item_cold", 2863), ("user_and_item_cold", 723)]
)
def test_the_published_split_tests_as_many_users_as_published(metarec_data, ray_cluster, tmp_path, protocol, num_users):
    """Users with 13 to 100 ratings in the scenario, as Lee et al. (KDD 2019) have it."""
    values = {
        "data.source": "movielens-1m",
        "data.path": str(metarec_data / "ml-1m"),
        "data.min_ratings": 13,
        "output.root": str(tmp_path),
        "protocol.name": protocol,
        "protocol.split": "melu_split.parquet",
        "protocol.max_ratings": 100,
    }
    dataset = prepare(with_values(Config(), values), progress=str)
    assert dataset.num_tasks("test") == num_users
    require_clean(audit(dataset))
