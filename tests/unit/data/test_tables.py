import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

from metarec import storage
from metarec.config import Config, TablesConfig, with_values
from metarec.data import tables, text_parts
from metarec.data.sources import check_source
from metarec.data.tables import Tables
from metarec.errors import DataError

RATINGS = {"user_id": [1, 1, 2], "item_id": ["a", "b", "a"], "rating": [4.0, 3.5, 1.0], "timestamp": [10, 20, 30]}


def write(folder, name, columns):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    if name.endswith(".csv"):
        csv.write_csv(table, path)
    else:
        pq.write_table(table, path)


def source(folder, **settings):
    return Tables(str(folder), TablesConfig(**settings))


def read(reader):
    return pa.concat_tables(reader.read(part) for part in reader.parts())


@pytest.mark.parametrize("name", ["ratings.parquet", "ratings.csv"])
def test_parquet_and_csv_give_the_same_ratings(tmp_path, name):
    write(tmp_path, name, RATINGS)
    rows = read(source(tmp_path, ratings=name))
    assert rows["user"].to_pylist() == ["1", "1", "2"]
    assert rows["item"].to_pylist() == ["a", "b", "a"]
    assert [float(r) for r in rows["target.rating"].to_pylist()] == RATINGS["rating"]
    assert [int(t) for t in rows["timestamp"].to_pylist()] == RATINGS["timestamp"]


def test_columns_have_the_names_that_the_config_gives_them(tmp_path):
    write(tmp_path, "log.csv", {"who": ["x"], "row": ["y"], "stars": [3], "when": [5], "other": ["!"]})
    rows = read(source(tmp_path, ratings="log.csv", user="who", item="row", rating="stars", timestamp="when"))
    assert (rows["user"].to_pylist(), rows["item"].to_pylist()) == (["x"], ["y"])


def test_without_a_rating_column_each_row_is_an_event(tmp_path):
    write(tmp_path, "clicks.parquet", {"user_id": ["u"], "item_id": ["i"]})
    reader = source(tmp_path, ratings="clicks.parquet", rating="", timestamp="")
    (head,) = reader.heads()
    assert (head.name, head.low, head.high) == ("event", 0.0, 1.0)
    assert read(reader)["target.event"].to_pylist() == [1.0]


@pytest.mark.parametrize("name", ["log.parquet", "log.csv"])
def test_further_heads_are_read_from_their_columns(tmp_path, name):
    clicked, bought = [True, False, None], [1, None, 0]
    write(tmp_path, name, {**RATINGS, "clicked": clicked, "bought": bought})
    reader = source(tmp_path, ratings=name, heads={"click": "clicked", "purchase": "bought"})
    assert [(head.name, head.low, head.high) for head in reader.heads()] == [
        ("rating", 1.0, 5.0), ("click", 0.0, 1.0), ("purchase", 0.0, 1.0)
    ]  # fmt: skip
    rows = read(reader)
    assert [value and int(value) for value in rows["target.click"].to_pylist()] == [1, 0, None]
    assert [value and int(value) for value in rows["target.purchase"].to_pylist()] == [1, None, 0]


@pytest.mark.parametrize("name", ["log.parquet", "log.csv"])
def test_the_scenario_of_a_rating_is_read_from_its_column(tmp_path, name):
    write(tmp_path, name, {**RATINGS, "market": [49, 33, None]})
    assert read(source(tmp_path, ratings=name, scenario="market"))["scenario"].to_pylist() == ["49", "33", None]
    assert read(source(tmp_path, ratings=name))["scenario"].to_pylist() == [None] * 3


def test_events_may_have_further_heads(tmp_path):
    write(tmp_path, "views.parquet", {"user_id": ["u"], "item_id": ["i"], "bought": [0]})
    reader = source(tmp_path, ratings="views.parquet", rating="", timestamp="", heads={"purchase": "bought"})
    assert [head.name for head in reader.heads()] == ["event", "purchase"]
    assert read(reader)["target.event"].to_pylist() == [1.0]


def test_a_column_that_can_hold_no_event_is_refused(tmp_path):
    write(tmp_path, "ratings.parquet", {**RATINGS, "clicked": [[1], [0], []]})
    with pytest.raises(DataError, match=r"column 'clicked' .*\(tables\.heads\.click\).* numbers or true and false"):
        source(tmp_path, heads={"click": "clicked"}).parts()


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pa.array([7, None], pa.int32()), ["7", None]),
        (pa.array([7.0, float("nan")]), ["7", None]),
        (pa.array(["7", ""]), ["7", None]),
        (pa.array(["7", None], pa.large_string()), ["7", None]),
        (pa.array(["7", None]).dictionary_encode(), ["7", None]),
    ],
)
def test_ids_of_any_type_become_text(tmp_path, ids, expected):
    write(tmp_path, "ratings.parquet", {**RATINGS, "user_id": pa.concat_arrays([ids, ids])[:3]})
    assert read(source(tmp_path))["user"].to_pylist()[:2] == expected


def test_a_folder_is_read_in_the_order_of_names_without_hidden_and_marker_files(tmp_path):
    write(tmp_path, "log/b.csv", {**RATINGS, "user_id": [3, 3, 3]})
    write(tmp_path, "log/a.parquet", RATINGS)
    for name in ("_SUCCESS", ".hidden.csv", "_tmp.parquet", "notes.txt"):
        (tmp_path / "log" / name).write_text("x")
    reader = source(tmp_path, ratings="log")
    assert [(part.number, part.file) for part in reader.parts()] == [(0, "log/a.parquet"), (1, "log/b.csv")]


def test_a_large_parquet_file_is_read_in_slices_that_know_their_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROWS_PER_PART", 4)
    count = np.arange(10)
    whole = pa.table({"user_id": count, "item_id": count, "rating": np.ones(10), "timestamp": count})
    pq.write_table(whole, tmp_path / "ratings.parquet", row_group_size=2)
    reader = source(tmp_path)
    parts = reader.parts()
    assert [(part.number, part.num_rows) for part in parts] == [(0, 4), (1, 4), (2, 2)]
    assert reader.read(parts[2])["row"].to_pylist() == [9, 10]
    assert read(reader)["user"].to_pylist() == [str(i) for i in range(10)]


@pytest.mark.parametrize("name", ["items.parquet", "items.csv"])
def test_all_four_kinds_of_features_are_read(tmp_path, name):
    lists = name.endswith(".parquet")
    columns = {
        "item_id": [1, 2],
        "name": ["A", None],
        "maker": ["m", None],
        "tags": [["x", "y"], None] if lists else ["x|y", None],
        "price": [1.5, None],
        "image": [[0.0, 1.0], None] if lists else ["0.0|1", None],
    }
    write(tmp_path, name, columns)
    kinds = {"maker": "categorical", "tags": "multi_valued", "price": "numeric", "image": "dense"}
    side = source(tmp_path, items=name, title="name", item_features=kinds).side("item")
    assert (side.id.to_pylist(), side.title.to_pylist()) == (["1", "2"], ["A", None])
    assert {name: column.to_pylist() for name, column in side.features.items()} == {
        "maker": ["m", None],
        "tags": [["x", "y"], None],
        "price": [1.5, None],
        "image": [[0.0, 1.0], None],
    }


def test_a_source_without_a_table_has_no_side(tmp_path):
    assert source(tmp_path).side("user") is None


def test_the_files_of_a_side_are_put_together(tmp_path):
    for number in (1, 2):
        write(tmp_path, f"users/{number}.csv", {"user_id": [number], "age": [str(number)]})
    side = source(tmp_path, users="users", user_features={"age": "numeric"}).side("user")
    assert (side.id.to_pylist(), side.features["age"].to_pylist()) == (["1", "2"], [1.0, 2.0])


def refusal(call, *words):
    with pytest.raises(DataError) as caught:
        call()
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_a_missing_file_is_named_with_the_settings_that_lead_to_it(tmp_path):
    refusal(source(tmp_path).parts, f"{tmp_path}/ratings.parquet does not exist", "data.path", "tables.ratings")


@pytest.mark.parametrize("name", ["ratings.parquet", "ratings.csv"])
def test_a_missing_column_is_named_beside_those_that_are_there(tmp_path, name):
    write(tmp_path, name, {**{k: v for k, v in RATINGS.items() if k != "rating"}, "stars": [1, 2, 3]})
    refusal(
        source(tmp_path, ratings=name).parts,
        f"{name} has no column 'rating' (tables.rating)",
        "user_id, item_id, timestamp, stars",
    )


@pytest.mark.parametrize(
    ("column", "values", "setting"),
    [
        ("rating", [True, False, True], "tables.rating"),
        ("rating", [[1.0], [2.0], [3.0]], "tables.rating"),
        ("user_id", [{"a": 1}] * 3, "tables.user"),
        ("timestamp", [True, False, True], "tables.timestamp"),
    ],
)
def test_a_column_of_the_wrong_type_is_refused_with_its_type(tmp_path, column, values, setting):
    write(tmp_path, "ratings.parquet", {**RATINGS, column: values})
    kind = str(pa.array(values).type).split("<")[0]
    refusal(source(tmp_path).parts, f"column {column!r}", "ratings.parquet", setting, f"has type {kind}", "convert it")


def test_an_arrow_extension_type_is_refused(tmp_path):
    ids = pa.array([bytes([i]) * 16 for i in range(3)], pa.binary(16))
    write(tmp_path, "ratings.parquet", {**RATINGS, "user_id": pa.ExtensionArray.from_storage(pa.uuid(), ids)})
    refusal(source(tmp_path).parts, "column 'user_id'", "extension type", "write it as a plain type")


def test_a_column_that_stands_twice_is_refused(tmp_path):
    (tmp_path / "ratings.csv").write_text("user_id,item_id,rating,timestamp,rating\n1,2,3,4,5\n")
    refusal(source(tmp_path, ratings="ratings.csv").parts, "has 2 columns called 'rating'")


@pytest.mark.parametrize(("name", "content"), [("ratings.parquet", b"PAR1 no"), ("ratings.csv", b"")])
def test_a_damaged_or_empty_file_is_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refusal(source(tmp_path, ratings=name).parts, name)


def test_a_file_of_another_format_and_a_folder_without_tables_are_refused(tmp_path):
    (tmp_path / "ratings.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    refusal(source(tmp_path, ratings="ratings.json").parts, "neither .parquet nor .csv")
    refusal(source(tmp_path, ratings="empty").parts, "holds no .parquet or .csv file")


@pytest.mark.parametrize("value", ["cheap", "inf"])
def test_a_numeric_feature_that_is_no_number_is_refused_with_its_row(tmp_path, value):
    (tmp_path / "items.csv").write_text(f"item_id,price\na,1\nb,{value}\n")
    reader = source(tmp_path, items="items.csv", item_features={"price": "numeric"})
    refusal(lambda: reader.side("item"), "items.csv", "'price'", "row 3", value, "expected a finite number")


def test_vectors_of_different_lengths_are_refused(tmp_path):
    write(tmp_path, "items.parquet", {"item_id": [1, 2], "image": [[1.0], [1.0, 2.0]]})
    reader = source(tmp_path, items="items.parquet", item_features={"image": "dense"})
    refusal(lambda: reader.side("item"), "'image'", "different lengths (1, 2)")


def test_a_number_in_a_vector_that_is_none_is_refused_with_its_row(tmp_path):
    (tmp_path / "items.csv").write_text("item_id,image\na,1|2\nb,1|x\n")
    reader = source(tmp_path, items="items.csv", item_features={"image": "dense"})
    refusal(lambda: reader.side("item"), "row 3", "'x'")


def test_an_item_feature_called_id_is_refused(tmp_path):
    write(tmp_path, "items.csv", {"item_id": [1], "id": ["x"]})
    reader = source(tmp_path, items="items.csv", item_features={"id": "categorical"})
    refusal(lambda: reader.side("item"), "tables.item_features.id", "rename")


def test_the_content_hash_follows_every_table(tmp_path):
    write(tmp_path, "ratings.parquet", RATINGS)
    write(tmp_path, "items.csv", {"item_id": ["a"]})
    reader = source(tmp_path, items="items.csv")
    before = reader.content_hash()
    assert reader.content_hash() == before
    write(tmp_path, "items.csv", {"item_id": ["b"]})
    assert reader.content_hash() != before


def test_the_check_before_the_work_looks_at_the_ratings_and_at_both_sides(tmp_path):
    write(tmp_path, "ratings.parquet", RATINGS)
    write(tmp_path, "items.csv", {"item_id": ["a"]})
    config = with_values(Config(), {"data.source": "tables", "data.path": str(tmp_path), "tables.items": "items.csv"})
    check_source(config)
    refusal(lambda: check_source(with_values(config, {"tables.title": "name"})), "items.csv has no column 'name'")
    refusal(lambda: check_source(with_values(config, {"tables.user": "who"})), "no column 'who' (tables.user)")
    transfer = with_values(config, {"protocol.name": "scenario_transfer", "tables.scenario": "market"})
    refusal(
        lambda: check_source(transfer), "ratings.parquet has no column 'market' (tables.scenario)", "its columns are"
    )
    refusal(lambda: check_source(with_values(config, {"data.path": ""})), "data.path is empty")


def test_a_large_csv_file_is_read_in_parts_that_know_their_rows(tmp_path, monkeypatch):
    lines = [f"{i},{i},3,{i}" for i in range(40)]
    lines[25] = "25,25"
    (tmp_path / "ratings.csv").write_text("user_id,item_id,rating,timestamp\n" + "\n".join(lines) + "\n")
    whole = read(source(tmp_path, ratings="ratings.csv")).sort_by("row")
    monkeypatch.setattr(text_parts, "BYTES_PER_PART", 64)
    reader = source(tmp_path, ratings="ratings.csv")
    parts = reader.parts()
    assert [part.number for part in parts] == list(range(len(parts)))
    assert len(parts) > 5
    assert sum(part.num_rows for part in parts) == 41
    assert read(reader).sort_by("row").equals(whole)
    assert whole["fault"].to_pylist()[25] == "2 fields where 4 are expected: 25,25"
    assert whole["row"].to_pylist() == list(range(2, 42))


def test_a_large_csv_file_is_never_in_memory_as_a_whole(tmp_path, monkeypatch):
    lines = [f"{i},{i},3,{i}\n" for i in range(1000)]
    (tmp_path / "ratings.csv").write_text("user_id,item_id,rating,timestamp\n" + "".join(lines))
    monkeypatch.setattr(text_parts, "BYTES_PER_PART", 512)
    monkeypatch.setattr(tables, "_MAX_HEADER_BYTES", 512)
    monkeypatch.setattr(storage, "read_bytes", lambda uri: pytest.fail(f"{uri} was read as a whole"))
    sizes, read_range = [], storage.read_range
    monkeypatch.setattr(storage, "read_range", lambda *a: sizes.append(a[2] - a[1]) or read_range(*a))
    reader = source(tmp_path, ratings="ratings.csv")
    reader.content_hash()
    assert read(reader).num_rows == 1000
    assert max(sizes) <= 512 + max(map(len, lines))


def test_a_truncated_parquet_file_is_refused_by_name(tmp_path):
    write(tmp_path, "ratings.parquet", RATINGS)
    content = (tmp_path / "ratings.parquet").read_bytes()
    for size in range(0, len(content), 97):
        (tmp_path / "ratings.parquet").write_bytes(content[:size])
        refusal(source(tmp_path).parts, "ratings.parquet", "put an intact copy there")


def test_a_flipped_bit_in_a_page_is_found_by_its_checksum_and_never_read_as_data(tmp_path):
    count = np.arange(2000)
    whole = pa.table({"user_id": count, "item_id": count, "rating": count % 5 + 1.0, "timestamp": count})
    pq.write_table(whole, tmp_path / "ratings.parquet", write_page_checksum=True)
    reader, content = source(tmp_path), (tmp_path / "ratings.parquet").read_bytes()
    intact, (part,) = read(reader), reader.parts()
    refusals = []
    for place in range(4, len(content) - 1500, 499):
        (tmp_path / "ratings.parquet").write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            assert reader.read(part).equals(intact)  # a statistic in a page's header, say, which is no data
        except DataError as error:
            refusals.append(str(error))
    assert len(refusals) > 20
    assert all(str(tmp_path / "ratings.parquet") in refusal for refusal in refusals)


def test_an_extension_type_in_a_features_table_is_refused(tmp_path):
    ids = pa.array([bytes([i]) * 16 for i in range(3)], pa.binary(16))
    write(tmp_path, "ratings.parquet", RATINGS)
    write(
        tmp_path, "items.parquet", {"item_id": ["a", "b", "c"], "kind": pa.ExtensionArray.from_storage(pa.uuid(), ids)}
    )
    reader = source(tmp_path, items="items.parquet", item_features={"kind": "categorical"})
    refusal(lambda: reader.side("item"), "column 'kind'", "extension type", "write it as a plain type")
