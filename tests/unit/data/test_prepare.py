import json

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

from jobs.prepare import describe, describe_audit
from metarec import storage
from metarec.config import Config, with_values
from metarec.data import stages
from metarec.data.audit import audit
from metarec.data.dataset import open_dataset
from metarec.data.prepare import REVISION, dataset_uri, prepare
from metarec.data.quarantine import DUPLICATE, TOO_FEW
from metarec.data.stages import bucket_of
from metarec.errors import DataError
from metarec.schema import SPLITS

pytestmark = [
    pytest.mark.usefixtures("ray_cluster"),
]
NUM_USERS, NUM_ITEMS = 40, 30


def silent(line):
    del line


def synthetic(root, **values):
    settings = {"output.root": str(root), "synthetic.num_users": 60, "synthetic.num_items": 80}
    return with_values(Config(), settings | {name.replace("__", "."): value for name, value in values.items()})


def good_rows():
    """Every user has rated 15 items at different times; user u likes item i by (u + i) % 5."""
    return [(u, (u + k) % NUM_ITEMS, 1 + (u + k) % 5, 1000 + k) for u in range(NUM_USERS) for k in range(15)]


def tables(folder, rows, **values):
    """A config on CSV tables of these (user, item, rating, timestamp) rows, values as text."""
    folder.mkdir(exist_ok=True)
    text = [["" if value is None else str(value) for value in column] for column in zip(*rows, strict=True)]
    names = ("user_id", "item_id", "rating", "timestamp")
    csv.write_csv(pa.table(dict(zip(names, text, strict=True))), folder / "ratings.csv")
    users = {"user_id": range(NUM_USERS), "age": [str(u) for u in range(NUM_USERS)], "job": ["a", "b"] * 20}
    items = {"item_id": range(NUM_ITEMS), "name": [f"Thing {i}" for i in range(NUM_ITEMS)], "tags": ["x|y"] * NUM_ITEMS}
    for name, columns in {"users": users, "items": items}.items():
        csv.write_csv(
            pa.table({key: pa.array(list(column)) for key, column in columns.items()}), folder / f"{name}.csv"
        )
    settings = {
        "data.source": "tables",
        "data.path": str(folder),
        "output.root": str(folder / "out"),
        "tables.ratings": "ratings.csv",
        "tables.users": "users.csv",
        "tables.items": "items.csv",
        "tables.title": "name",
        "tables.user_features": {"age": "numeric", "job": "categorical"},
        "tables.item_features": {"tags": "multi_valued"},
    }
    return with_values(Config(), settings | {name.replace("__", "."): value for name, value in values.items()})


def quarantined(dataset):
    folder = storage.join(dataset.uri, "quarantine")
    return [row for name in storage.list_names(folder) for row in pq.read_table(f"{folder}/{name}").to_pylist()]


def content(dataset):
    """What a dataset says, apart from where it lies."""
    histories = {split: dataset.histories(split) for split in SPLITS}
    return {
        split: [
            (int(user), *map(tuple, (h.item[a:b].tolist(), h.target[a:b, 0].tolist())))
            for user, a, b in zip(h.user, h.offsets[:-1], h.offsets[1:], strict=True)
        ]
        for split, h in histories.items()
    }


def test_a_synthetic_dataset_is_whole_and_clean(tmp_path):
    lines = []
    config = synthetic(tmp_path)
    dataset = prepare(config, progress=lines.append)
    assert dataset.uri == dataset_uri(config)
    assert [dataset.num_tasks(split) for split in SPLITS] == [48, 6, 6]
    assert sum(check.num_violations for check in audit(dataset)) == 0
    assert quarantined(dataset) == []
    assert not [name for name in storage.list_names(dataset.uri) if name.startswith("scratch")]
    assert lines[-1].startswith("prepared 60 users (48 train, 6 validation, 6 test), 80 items")


def test_every_rating_of_clean_tables_arrives_with_its_user_its_item_and_in_order_of_time(tmp_path):
    rows = good_rows()
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    dataset = prepare(tables(tmp_path, shuffled), progress=silent)
    users, items = dataset.user_ids(), dataset.item_ids()
    assert users == [str(u) for u in range(NUM_USERS)]
    found = {
        users[user]: [(items[i], rating) for i, rating in zip(item, ratings, strict=True)]
        for tasks in content(dataset).values()
        for user, item, ratings in tasks
    }
    expected = {str(u): [(str(i), float(r)) for v, i, r, _ in rows if v == u] for u in range(NUM_USERS)}
    assert found == expected


def test_features_are_fitted_on_training_users_and_titles_come_from_the_items_table(tmp_path):
    dataset = prepare(tables(tmp_path, good_rows()), progress=silent)
    age, job = dataset.schema.user_fields
    train_ages = [float(dataset.user_ids()[user]) for user in dataset.histories("train").user]
    assert age.mean == pytest.approx(np.mean(train_ages))
    assert job.vocabulary == ("a", "b")
    assert [field.name for field in dataset.schema.item_fields] == ["id", "tags"]
    assert dataset.item_titles()[7] == "Thing 7"
    catalogue = dataset.catalogue()
    assert catalogue.user_features["age"].shape == (NUM_USERS, 1)
    assert catalogue.item_features["tags"].tolist()[0] == [1, 2]


def test_further_heads_arrive_with_what_was_not_observed_left_open(tmp_path):
    """User u clicks on item i where u + i is even, and nobody looked at items from 20 on."""
    rows = good_rows()
    config = tables(tmp_path, rows, tables__heads={"click": "clicked"})
    clicked = ["" if item >= 20 else str((user + item + 1) % 2) for user, item, *_ in rows]
    log = csv.read_csv(tmp_path / "ratings.csv")
    csv.write_csv(log.append_column("clicked", pa.array(clicked)), tmp_path / "ratings.csv")
    dataset = prepare(config, progress=silent)
    assert [head.name for head in dataset.schema.heads] == ["rating", "click"]
    assert dataset.catalogue().item_bias.shape == (NUM_ITEMS, 2)
    item_ids, user_ids = (np.array(ids, int) for ids in (dataset.item_ids(), dataset.user_ids()))
    for split in SPLITS:
        histories = dataset.histories(split)
        item, user = item_ids[histories.item], user_ids[histories.user[histories.row_history]]
        assert histories.observed[:, 0].all()
        assert np.array_equal(histories.observed[:, 1], item < 20)
        assert np.array_equal(histories.target[:, 1], (item < 20) * ((user + item + 1) % 2))
    train = dataset.histories("train")
    clicks = train.target[train.observed[:, 1], 1]
    assert dataset.manifest["offset"][1] == pytest.approx(clicks.mean())
    assert [check.num_violations for check in audit(dataset)] == [0] * len(audit(dataset))


def test_rows_that_cannot_be_used_are_counted_and_kept_with_their_reason(tmp_path):
    faults = [(0, None, 3, 5), (None, 1, 3, 5), (0, 29, "good", 5), (1, 29, 9, 5), (2, 29, "nan", 5), (3, 29, 3, "x")]
    few = [(99, item, 3, 5) for item in range(4)]
    older = [(0, 0, 5, 1)]
    config = tables(tmp_path, [*good_rows(), *faults, *few, *older], data__max_quarantined=0.05)
    dataset = prepare(config, progress=silent)
    counts = dataset.manifest["counts"]
    assert counts["rows"] == NUM_USERS * 15 + 11
    assert counts["quarantined"] == {
        "the item id is missing": 1,
        "the user id is missing": 1,
        "the rating is not a number": 1,
        "the rating is outside 1 to 5": 1,
        "the rating is not finite": 1,
        "the timestamp is not a number of unix seconds": 1,
        TOO_FEW: 4,
        DUPLICATE: 1,
    }
    assert counts["left_out_users"] == 1
    kept = sum(total["ratings"] for total in counts["splits"].values())
    assert kept + len(quarantined(dataset)) == counts["rows"]
    assert next(row for row in quarantined(dataset) if row["rating"] == "good")["row"] == NUM_USERS * 15 + 4
    summary = "\n".join(describe(dataset))
    for word in (
        "read               611",
        "kept               600",
        "the rating is not a number",
        f"4  {TOO_FEW} (1 users)",
        f"{dataset.uri}/quarantine",
    ):
        assert word in summary


def test_too_many_unusable_rows_stop_the_job_and_lie_where_the_message_says(tmp_path):
    bad = [(user, 29, "good", 5) for user in range(NUM_USERS)]
    config = tables(tmp_path, [*good_rows(), *bad])
    with pytest.raises(DataError) as refusal:
        prepare(config, progress=silent)
    place = storage.join(dataset_uri(config), "quarantine")
    for word in ("40 of 640 ratings (6.2%)", "above data.max_quarantined (1.0%)", '"good"', "ratings.csv", place):
        assert word in str(refusal.value)
    assert pq.read_table(place).num_rows == 40


def test_users_and_items_without_an_id_count_too(tmp_path):
    config = tables(tmp_path, good_rows())
    with open(tmp_path / "items.csv", "a") as file:
        file.write(',"Thing X","x"\n')
    with pytest.raises(DataError, match=r"1 of 31 rows of the items table \(3\.2%\) cannot be used"):
        prepare(config, progress=silent)
    dataset = prepare(with_values(config, {"data.max_quarantined": 0.05}), progress=silent)
    assert [(row["file"], row["row"], row["reason"]) for row in quarantined(dataset)] == [
        ("items.csv", 32, "the id is missing")
    ]


def test_users_who_are_all_too_short_of_ratings_are_refused(tmp_path):
    config = tables(tmp_path, good_rows(), data__min_ratings=16)
    with pytest.raises(DataError, match=r"no user of .* has 16 usable ratings \(data\.min_ratings\); lower it"):
        prepare(config, progress=silent)


def test_rows_that_are_all_unusable_are_refused_whatever_is_tolerated(tmp_path):
    config = tables(tmp_path, [(1, 1, "good", 5)] * 3, data__max_quarantined=1.0)
    with pytest.raises(DataError, match="no user of"):
        prepare(config, progress=silent)


def test_a_table_without_rows_is_refused(tmp_path):
    config = tables(tmp_path, good_rows())
    (tmp_path / "ratings.csv").write_text("user_id,item_id,rating,timestamp\n")
    with pytest.raises(DataError, match="no row"):
        prepare(config, progress=silent)


def test_an_error_inside_a_parallel_step_arrives_as_what_it_is(tmp_path):
    """The header is fine, so only the reading itself finds the bytes that are no text."""
    config = tables(tmp_path, good_rows())
    with open(tmp_path / "ratings.csv", "ab") as file:
        file.write(b"\xff\xfe,1,1,1\n")
    with pytest.raises(DataError, match=r"cannot read .*ratings\.csv"):
        prepare(config, progress=silent)


def test_the_same_seed_gives_the_same_tasks_and_another_seed_other_cold_users(tmp_path):
    first = content(prepare(synthetic(tmp_path / "a"), progress=silent))
    assert content(prepare(synthetic(tmp_path / "b"), progress=silent)) == first
    rows = good_rows()
    one = content(prepare(tables(tmp_path / "c", rows), progress=silent))
    turned = content(prepare(tables(tmp_path / "d", rows[::-1]), progress=silent))
    other = content(prepare(tables(tmp_path / "d", rows[::-1], protocol__seed=1), progress=silent))
    assert turned == one
    assert [user for user, *_ in other["test"]] != [user for user, *_ in one["test"]]


def test_many_parts_and_buckets_give_the_same_tasks_as_one(tmp_path, monkeypatch):
    one = prepare(tables(tmp_path / "a", good_rows()), progress=silent)
    config = tables(tmp_path / "b", good_rows(), tables__ratings="log")
    (tmp_path / "b" / "log").mkdir()
    header, *lines = (tmp_path / "b" / "ratings.csv").read_text().splitlines(keepends=True)
    for number in range(3):
        (tmp_path / "b" / "log" / f"{number}.csv").write_text(header + "".join(lines[number::3]))
    monkeypatch.setattr("metarec.data.prepare.ROWS_PER_BUCKET", 300)
    many = prepare(config, progress=silent)
    assert len(many.parts("train")) > 1
    assert {split: sorted(tasks) for split, tasks in content(many).items()} == content(one)
    assert [check.num_violations for check in audit(many)] == [0] * len(audit(many))


def test_one_large_csv_file_is_prepared_in_parts_as_it_is_whole(tmp_path, monkeypatch):
    whole = prepare(tables(tmp_path / "a", good_rows()), progress=silent)
    monkeypatch.setattr("metarec.data.text_parts.BYTES_PER_PART", 1000)
    lines = []
    cut = prepare(tables(tmp_path / "b", good_rows()), progress=lines.append)
    assert int(lines[0].split(" part(s)")[0].split()[-1]) > 5
    assert content(cut) == content(whole)
    assert cut.manifest["counts"] == whole.manifest["counts"]


def test_what_is_prepared_is_opened_again_and_not_made_again(tmp_path):
    config, lines = synthetic(tmp_path), []
    first = prepare(config, progress=silent)
    assert prepare(config, progress=lines.append) == first
    assert lines == [f"dataset synthetic is prepared already: {first.uri}"]


def test_what_an_earlier_revision_of_the_code_prepared_is_left_alone_and_made_anew(tmp_path, monkeypatch):
    config, lines = synthetic(tmp_path), []
    before = prepare(config, progress=silent)
    monkeypatch.setattr("metarec.data.prepare.REVISION", REVISION + 1)
    after = prepare(config, progress=lines.append)
    assert after.uri != before.uri
    assert not any("is prepared already" in line for line in lines)
    assert content(open_dataset(before.uri)) == content(after)


def test_an_interrupted_preparation_is_made_again(tmp_path):
    config = synthetic(tmp_path)
    whole = prepare(config, progress=silent)
    before = content(whole)
    storage.delete(storage.join(whole.uri, storage.MANIFEST))
    storage.write_bytes(whole.parts("train")[0].uri, b"half a file")
    assert content(prepare(config, progress=silent)) == before
    assert content(open_dataset(whole.uri)) == before


def test_the_fingerprint_follows_what_shapes_the_dataset_and_nothing_else(tmp_path):
    config = synthetic(tmp_path)
    for name, value in {"run.seed": 7, "inner.lr": 0.5, "tables.low": 0.0}.items():
        assert dataset_uri(with_values(config, {name: value})) == dataset_uri(config)
    for name, value in {"protocol.seed": 7, "data.min_ratings": 13, "synthetic.noise": 0.1}.items():
        assert dataset_uri(with_values(config, {name: value})) != dataset_uri(config)


def test_the_bucket_of_a_user_never_changes():
    """CRC-32 of the id's text: 0xCBF43926 is its published check value for 123456789."""
    assert bucket_of(pa.chunked_array([["123456789"]]), 1000).tolist() == [0xCBF43926 % 1000]


def test_task_files_have_several_row_groups_and_page_checksums(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "USERS_PER_ROW_GROUP", 8)
    dataset = prepare(synthetic(tmp_path), progress=silent)
    (part,) = dataset.parts("train")
    assert pq.ParquetFile(part.uri, page_checksum_verification=True).read().num_rows == 48


def test_the_audit_prints_one_line_a_claim(tmp_path):
    dataset = prepare(synthetic(tmp_path), progress=silent)
    lines = list(describe_audit(audit(dataset)))
    assert "  holds  no test user has a training rating (6 checked)" in lines
    assert not [line for line in lines if "FAILED" in line]


@pytest.mark.parametrize(
    ("source", "name", "counts"),
    [("movielens-100k", "ml-100k", (100_000, 943, 1_682)), ("movielens-1m", "ml-1m", (1_000_209, 6_040, 3_883))],
)
def test_the_real_sets_lose_no_rating(metarec_data, tmp_path, source, name, counts):
    settings = {"data.source": source, "data.path": str(metarec_data / name), "output.root": str(tmp_path)}
    dataset = prepare(with_values(Config(), settings), progress=silent)
    found = dataset.manifest["counts"]
    assert (found["rows"], found["users"], found["items"]) == counts
    assert sum(total["ratings"] for total in found["splits"].values()) == counts[0]
    assert json.loads(storage.read_bytes(storage.join(dataset.uri, storage.MANIFEST)))["counts"] == found
