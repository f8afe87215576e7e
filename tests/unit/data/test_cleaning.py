import datetime

import numpy as np
import pyarrow as pa
import pytest

from metarec.data import quarantine
from metarec.data.cleaning import clean_ratings, clean_side, parse_times
from metarec.data.grouping import group_ratings, to_tasks
from metarec.data.histories import from_table
from metarec.data.numeric import parse_numbers
from metarec.data.source import raw_ratings, side_table
from metarec.errors import DataError
from metarec.schema import Head

HEADS = (Head("rating", 1.0, 5.0),)


def raw(users, items, ratings, timestamps=None, fault=None):
    return raw_ratings(
        row=pa.array(np.arange(1, len(users) + 1)),
        user=pa.array(users, pa.string()),
        item=pa.array(items, pa.string()),
        timestamp=timestamps,
        targets={"rating": pa.array(ratings)},
        fault=fault,
    )


def usable(users, items, ratings, timestamps):
    table = raw(users, items, ratings, pa.array(timestamps, pa.int64()))
    return clean_ratings(table, HEADS, file="r.csv", part=0).usable


@pytest.mark.parametrize(
    ("user", "item", "rating", "timestamp", "reason"),
    [
        (None, "1", "3", "5", "the user id is missing"),
        ("1", None, "3", "5", "the item id is missing"),
        ("1", "1", None, "5", "the rating is missing"),
        ("1", "1", "good", "5", "the rating is not a number"),
        ("1", "1", "1 2", "5", "the rating is not a number"),
        ("1", "1", "nan", "5", "the rating is not finite"),
        ("1", "1", "-inf", "5", "the rating is not finite"),
        ("1", "1", "5.5", "5", "the rating is outside 1 to 5"),
        ("1", "1", "0", "5", "the rating is outside 1 to 5"),
        ("1", "1", "3", "yesterday", "the timestamp is not a number of unix seconds"),
        ("1", "1", "3", "-1", "the timestamp is not a number of unix seconds"),
        ("1", "1", "3", "nan", "the timestamp is not a number of unix seconds"),
    ],
)
def test_a_row_that_cannot_be_used_is_put_aside_with_its_values_and_the_reason(user, item, rating, timestamp, reason):
    table = raw(["9", user], ["9", item], ["3", rating], pa.array(["5", timestamp]))
    cleaned = clean_ratings(table, HEADS, file="r.csv", part=0)
    assert cleaned.usable["user"].to_pylist() == ["9"]
    (row,) = cleaned.quarantined.to_pylist()
    assert row == {
        "file": "r.csv",
        "row": 2,
        "user": user,
        "item": item,
        "rating": rating,
        "heads": None,
        "timestamp": timestamp,
        "text": None,
        "reason": reason,
    }


CLICKS = (*HEADS, Head("click", 0.0, 1.0), Head("purchase", 0.0, 1.0))


def raw_with_clicks(clicks, purchases):
    ids, ratings = pa.array(["1"] * len(clicks)), pa.array(["3"] * len(clicks))
    return raw_ratings(
        row=pa.array(np.arange(1, len(clicks) + 1)),
        user=ids,
        item=ids,
        timestamp=None,
        targets={"rating": ratings, "click": pa.array(clicks), "purchase": pa.array(purchases)},
    )


def test_a_further_head_may_be_missing_and_is_then_null():
    table = raw_with_clicks(["1", None, "0"], pa.array([None, None, 1.0]))
    cleaned = clean_ratings(table, CLICKS, file="r.csv", part=0)
    assert cleaned.quarantined.num_rows == 0
    assert cleaned.usable["target.click"].to_pylist() == [1.0, None, 0.0]
    assert cleaned.usable["target.purchase"].to_pylist() == [None, None, 1.0]


@pytest.mark.parametrize(
    ("click", "reason"),
    [
        ("often", "the click is not a number"),
        ("nan", "the click is not finite"),
        ("2", "the click is outside 0 to 1"),
        ("-1", "the click is outside 0 to 1"),
    ],
)
def test_a_further_head_that_cannot_be_used_puts_its_row_aside_with_its_value(click, reason):
    cleaned = clean_ratings(raw_with_clicks([click, "1"], ["0", None]), CLICKS, file="r.csv", part=0)
    assert cleaned.usable["row"].to_pylist() == [2]
    (row,) = cleaned.quarantined.to_pylist()
    assert (row["reason"], row["rating"], row["heads"]) == (reason, "3", f"click {click}, purchase 0")
    assert f'heads "click {click}, purchase 0"' in quarantine.summarise(cleaned.quarantined)[reason]["example"]


def test_usable_text_is_read_as_numbers_and_a_missing_time_stays_unknown():
    table = raw(["1", "1"], ["a", "b"], [" 4.5", "+2"], pa.array(["17", None]))
    (first, second) = clean_ratings(table, HEADS, file="r.csv", part=3).usable.to_pylist()
    assert first == {"part": 3, "row": 1, "user": "1", "item": "a", "timestamp": 17, "target.rating": 4.5}
    assert second["timestamp"] is None
    assert second["target.rating"] == 2.0


def test_a_row_that_the_reader_could_not_split_is_put_aside_with_its_text():
    table = raw(["1", None], ["1", None], ["3", None], fault=pa.array([None, "1 fields where 3 are expected: x"]))
    cleaned = clean_ratings(table, HEADS, file="r.csv", part=0)
    (row,) = cleaned.quarantined.to_pylist()
    assert (row["reason"], row["text"]) == ("the row cannot be read", "1 fields where 3 are expected: x")
    assert "1 fields where 3" in quarantine.summarise(cleaned.quarantined)["the row cannot be read"]["example"]


def test_no_row_is_lost_between_usable_and_quarantined():
    rng = np.random.default_rng(0)
    ratings = [None if x < -2 else f"{x:.2f}" for x in rng.normal(3, 2, size=500)]
    cleaned = clean_ratings(raw(["u"] * 500, ["i"] * 500, ratings), HEADS, file="r", part=0)
    rows = cleaned.usable["row"].to_pylist() + cleaned.quarantined["row"].to_pylist()
    assert sorted(rows) == list(range(1, 501))


@pytest.mark.parametrize(
    "column",
    [
        pa.array([86400], pa.int32()),
        pa.array([86400.5]),
        pa.array(["86400"]),
        pa.array([datetime.datetime(1970, 1, 2)], pa.timestamp("ns")),
        pa.array([datetime.datetime(1970, 1, 2)], pa.timestamp("us", "UTC")),
        pa.array([datetime.date(1970, 1, 2)]),
    ],
)
def test_times_of_many_types_become_unix_seconds(column):
    seconds, known, readable = parse_times(pa.chunked_array([column]))
    assert (seconds.tolist(), known.tolist(), readable.tolist()) == ([86400], [True], [True])


def test_numbers_in_text_are_told_from_other_text():
    values, readable = parse_numbers(pa.array(["1.", ".5", "1e3", "0x1", "1,5", "", None, "NaN"]))
    assert readable.tolist() == [True, True, True, False, False, False, False, True]
    assert values[:3].tolist() == [1.0, 0.5, 1000.0]


def test_of_a_duplicate_pair_the_latest_rating_stays():
    rows = usable(["1"] * 3, ["a", "a", "b"], [1.0, 2.0, 3.0], [20, 10, 5])
    grouped = group_ratings(rows, min_ratings=1, files=["r.csv"])
    assert grouped.usable["target.rating"].to_pylist() == [3.0, 1.0]
    (aside,) = grouped.quarantined.to_pylist()
    assert (aside["file"], aside["row"], aside["rating"], aside["reason"]) == ("r.csv", 2, "2", quarantine.DUPLICATE)


def test_of_duplicates_at_the_same_time_the_last_in_the_files_stays_and_unknown_times_are_oldest():
    rows = usable(["1"] * 4, ["a", "a", "b", "b"], [1.0, 2.0, 3.0, 4.0], [7, 7, 7, None])
    assert group_ratings(rows, min_ratings=1, files=["r"]).usable["target.rating"].to_pylist() == [2.0, 3.0]


def test_users_with_too_few_pairs_are_put_aside_with_all_their_rows():
    rows = usable(["1", "2", "2", "2"], ["a", "a", "a", "b"], [1.0, 1.0, 2.0, 3.0], [1, 1, 2, 3])
    grouped = group_ratings(rows, min_ratings=2, files=["r"])
    assert grouped.usable["user"].to_pylist() == ["2", "2"]
    summary = quarantine.summarise(grouped.quarantined)
    assert {reason: entry["count"] for reason, entry in summary.items()} == {
        quarantine.TOO_FEW: 1,
        quarantine.DUPLICATE: 1,
    }


def test_histories_are_oldest_first_with_unknown_times_before_all():
    rows = usable(["2", "1", "2", "2"], ["a", "b", "c", "d"], [1.0, 2.0, 3.0, 4.0], [30, 5, None, 10])
    kept = group_ratings(rows, min_ratings=1, files=["r"]).usable
    kept = kept.sort_by([("user", "ascending")]) if kept["user"][0].as_py() == "2" else kept
    user = np.array([int(u) for u in kept["user"].to_pylist()])
    item = np.array(["abcd".index(i) for i in kept["item"].to_pylist()])
    histories = from_table(to_tasks(kept, ["rating"], user=user, item=item))
    assert histories.user.tolist() == [1, 2]
    assert histories.offsets.tolist() == [0, 1, 4]
    assert histories.item.tolist() == [1, 2, 3, 0]
    assert histories.target[:, 0].tolist() == [2.0, 3.0, 4.0, 1.0]


def test_too_many_unusable_rows_are_refused_with_share_reason_example_and_place():
    cleaned = clean_ratings(raw(["1"] * 3, ["1"] * 3, ["3", "good", "bad"]), HEADS, file="r.csv", part=0)
    summary = quarantine.summarise(cleaned.quarantined)
    with pytest.raises(DataError) as refusal:
        quarantine.check_share(summary, num_rows=3, limit=0.5, what="ratings", place="out/quarantine")
    for word in ("2 of 3 ratings", "66.7%", "not a number", "row 2 of r.csv", '"good"', "out/quarantine"):
        assert word in str(refusal.value)
    quarantine.check_share(summary, num_rows=4, limit=0.5, what="ratings", place="")


def test_duplicates_and_short_users_do_not_count_against_the_limit():
    summary = {reason: {"count": 99, "example": ""} for reason in quarantine.TOLERATED}
    quarantine.check_share(summary, num_rows=100, limit=0.0, what="ratings", place="")


def test_rows_of_a_side_table_without_an_id_or_with_one_that_comes_again_are_put_aside():
    table = side_table(
        "users.csv", pa.array(["1", None, "1", "2"]), {"x": ("categorical", pa.array(["a", "b", "c", "d"]))}
    )
    kept, aside = clean_side(table, "user")
    assert kept.id.to_pylist() == ["1", "2"]
    assert kept.features["x"].to_pylist() == ["c", "d"]
    assert [(row["row"], row["user"], row["reason"][:9]) for row in aside.to_pylist()] == [
        (1, "1", "duplicate"),
        (2, None, "the id is"),
    ]


def test_where_tasks_go_by_scenario_each_row_needs_one_that_can_be_told_from_the_user():
    scenarios = pa.array(["films", None, "a @ b", "a@b"])
    table = raw(["1"] * 4, ["1", "2", "3", "4"], ["3"] * 4)
    table = table.set_column(table.column_names.index("scenario"), "scenario", scenarios)
    cleaned = clean_ratings(table, HEADS, file="r.csv", part=0, by_scenario=True)
    assert cleaned.usable["scenario"].to_pylist() == ["films", "a@b"]
    assert cleaned.quarantined["reason"].to_pylist() == ["the scenario is missing", "the scenario holds ' @ '"]
    assert "scenario" not in clean_ratings(table, HEADS, file="r.csv", part=0).usable.column_names
