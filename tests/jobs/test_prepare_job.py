"""Preparation of somebody's own tables, run as a person would: faults named, counted, and never a traceback."""

import random

import pytest

from tests.jobs.command_line import last_line, run_job

NUM_USERS, RATINGS_EACH = 40, 15


def write_tables(folder, *, faulty_rows=()):
    """40 users with 15 of 30 items each, and whatever rows come after."""
    draw = random.Random(0)
    rows = ["who,what,stars,at"]
    for user in range(NUM_USERS):
        for item in draw.sample(range(30), RATINGS_EACH):
            rows.append(f"u{user},i{item},{draw.randint(1, 5)},{1000 + len(rows)}")
    (folder / "ratings.csv").write_text("\n".join([*rows, *faulty_rows]) + "\n")
    return folder


def settings(folder, *more):
    columns = ("tables.ratings=ratings.csv", "tables.user=who", "tables.item=what", "tables.timestamp=at")
    return ("--set", "data.source=tables", f"data.path={folder}", *columns, "tables.rating=stars", *more)


def test_rows_that_cannot_be_used_are_put_aside_counted_and_the_audit_holds(tmp_path):
    faults = ("u1,i1,nan,5", ",i2,3,5", "u2,i3,9,5", "u1,i5,many,5")
    folder = write_tables(tmp_path, faulty_rows=faults)
    done = run_job("prepare", *settings(folder), "--audit", root=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert "rows read               604" in done.stdout
    assert "quarantined               4" in done.stdout
    assert "FAILED" not in done.stdout
    assert done.stdout.count("  holds  ") >= 10


def test_too_many_such_rows_stop_the_job(tmp_path):
    folder = write_tables(tmp_path, faulty_rows=["u1,i1,nan,5"] * 20)
    refused = run_job("prepare", *settings(folder), root=tmp_path / "home")
    assert refused.returncode == 1
    assert "data.max_quarantined" in last_line(refused.stderr)
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("tables.rating=score", "score"),
        ("tables.ratings=missing.csv", "missing.csv"),
        ("data.min_ratings=16", "no user of"),
    ],
)
def test_a_fault_of_the_whole_ends_with_one_sentence(tmp_path, change, sentence):
    refused = run_job("prepare", *settings(write_tables(tmp_path), change), root=tmp_path / "home")
    assert refused.returncode == 1
    assert sentence in last_line(refused.stderr)
    assert last_line(refused.stderr).startswith("error: ")
    assert "Traceback" not in refused.stderr
