"""Users from a table: ratings together, what cannot be used counted."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metarec.config import TablesConfig
from metarec.errors import DataError, RequestError
from metarec.schema import Head
from metarec.serving.users_table import read_users
from tests.tiny_learner import tiny_learner

COLUMNS = TablesConfig()


@pytest.fixture(scope="module")
def learner():
    return tiny_learner()


def write(folder, *lines):
    place = folder / "users.csv"
    place.write_text("\n".join(["user_id,item_id,rating", *lines]) + "\n")
    return str(place)


def lists(table):
    """User → (item, rating) pairs."""
    rows = table.users.to_pylist()
    return {row["user"]: list(zip(row["items"], row["ratings"], strict=True)) for row in rows}


def test_a_users_ratings_come_together_in_the_order_of_the_rows(learner, tmp_path):
    table = read_users(learner, write(tmp_path, "b,17,1", "a,7,5", "b,11,4", "a,13,2"), COLUMNS)
    assert lists(table) == {"b": [("17", 1.0), ("11", 4.0)], "a": [("7", 5.0), ("13", 2.0)]}
    assert (table.num_rows, table.unknown, table.unusable) == (4, {}, {})


def test_the_last_rating_of_an_item_counts_and_stands_last(learner, tmp_path):
    assert lists(read_users(learner, write(tmp_path, "a,7,5", "a,13,2", "a,7,1"), COLUMNS)) == {
        "a": [("13", 2.0), ("7", 1.0)]
    }


def test_a_table_of_another_catalogue_is_refused(learner, tmp_path):
    place = write(tmp_path, "a,lost,5", "b,absent,5", "b,lost,5")
    with pytest.raises(RequestError) as refused:
        read_users(learner, place, COLUMNS)
    assert str(refused.value) == (
        f"the model knows none of the 2 items of {place} (lost, absent, …); its own are named like 7, 11, 13: give a "
        "table of the items that it was trained on"
    )


def test_unknown_items_are_counted_and_their_users_stay(learner, tmp_path):
    table = read_users(learner, write(tmp_path, "a,lost,5", "b,absent,5", "b,lost,5", "b,7,3"), COLUMNS)
    assert lists(table) == {"a": [], "b": [("7", 3.0)]}
    assert list(table.unknown.items()) == [("lost", 2), ("absent", 1)]


def test_rows_that_cannot_be_used_are_counted_by_reason(learner, tmp_path):
    table = read_users(learner, write(tmp_path, "a,7,5", "a,13,9", ",13,3", "a,11,good", "a,17,"), COLUMNS)
    assert lists(table) == {"a": [("7", 5.0)]}
    assert table.num_rows == 5
    assert table.unusable == {
        "the rating is missing": 1,
        "the rating is not a number": 1,
        "the rating is outside 1 to 5": 1,
        "the user id is missing": 1,
    }


def test_parquet_files_of_a_folder_with_columns_of_other_names_and_types_are_read(learner, tmp_path):
    (tmp_path / "users").mkdir()
    for name, user in (("1.parquet", 2), ("2.parquet", 1)):
        pq.write_table(pa.table({"who": [user, 3], "what": [7, 11 + user], "stars": [4, 5]}), tmp_path / "users" / name)
    columns = TablesConfig(user="who", item="what", rating="stars")
    table = read_users(learner, f"{tmp_path}/users/", columns)
    assert lists(table) == {"2": [("7", 4.0)], "3": [("13", 5.0)], "1": [("7", 4.0)]}
    assert table.unknown == {"12": 1}


def test_events_need_no_rating(tmp_path):
    settings = ("data.source=tables", "tables.rating=", "task.num_negatives=1", "outer.loss=cross_entropy")
    events = tiny_learner(*settings, head=Head("event", 0.0, 1.0))
    (tmp_path / "events.csv").write_text("user_id,item_id\na,7\na,13\n")
    assert lists(read_users(events, f"{tmp_path}/events.csv", COLUMNS)) == {"a": [("7", 1.0), ("13", 1.0)]}


def test_a_path_from_where_one_stands_is_read(learner, tmp_path, monkeypatch):
    write(tmp_path, "a,7,5")
    monkeypatch.chdir(tmp_path)
    assert lists(read_users(learner, "users.csv", COLUMNS)) == {"a": [("7", 5.0)]}


def test_what_cannot_be_read_is_refused_with_the_reason(learner, tmp_path):
    with pytest.raises(RequestError, match=r"absent\.csv does not exist; name a Parquet or CSV file of users"):
        read_users(learner, f"{tmp_path}/absent.csv", COLUMNS)
    with pytest.raises(DataError, match=r"users\.csv has no column 'who' \(tables\.user\); its columns are user_id"):
        read_users(learner, write(tmp_path, "a,7,5"), TablesConfig(user="who"))
    with pytest.raises(
        RequestError, match=r"no row of .* can be used: the rating is outside 1 to 5 \(1\); give a user"
    ):
        read_users(learner, write(tmp_path, "a,7,6"), COLUMNS)
    with pytest.raises(RequestError, match=r"no row of .* can be used: it is empty"):
        read_users(learner, write(tmp_path), COLUMNS)
    with pytest.raises(RequestError, match="a model of item tasks adapts to one new item at a time"):
        read_users(tiny_learner("protocol.name=item_tasks"), write(tmp_path, "a,7,5"), COLUMNS)
