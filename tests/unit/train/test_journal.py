"""The journal: one line a step, each step once, also when a run goes on from an earlier one."""

from metarec import storage
from metarec.train.journal import Journal, read_journal


def steps_of(uri):
    return [(line.step, line.metrics) for line in read_journal(uri)]


def test_lines_are_read_back_in_order_with_their_time(tmp_path):
    uri = str(tmp_path / "metrics.jsonl")
    journal = Journal(uri)
    journal.write(0, {"train.loss": 0.5})
    journal.write(1, {"train.loss": 0.25, "validation.metric": 1.0})
    journal.flush()
    assert steps_of(uri) == [(0, {"train.loss": 0.5}), (1, {"train.loss": 0.25, "validation.metric": 1.0})]
    first, second = (line.time for line in read_journal(uri))
    assert 1.7e9 < first <= second


def test_a_journal_that_is_not_there_has_no_lines(tmp_path):
    assert read_journal(str(tmp_path / "none.jsonl")) == []


def test_lines_wait_for_their_seconds_or_for_a_flush(tmp_path):
    waiting, eager = (str(tmp_path / name) for name in ("waiting.jsonl", "eager.jsonl"))
    journal = Journal(waiting, flush_seconds=3600.0)
    journal.write(0, {})
    assert not storage.exists(waiting)
    journal.flush()
    assert steps_of(waiting) == [(0, {})]
    Journal(eager, flush_seconds=0.0).write(0, {})
    assert steps_of(eager) == [(0, {})]


def test_a_run_that_goes_on_drops_the_lines_from_its_first_step(tmp_path):
    uri = str(tmp_path / "metrics.jsonl")
    journal = Journal(uri)
    for step in range(5):
        journal.write(step, {"start": 1.0})
    journal.flush()
    again = Journal(uri, first_step=3)
    again.write(3, {"start": 2.0})
    again.flush()
    assert steps_of(uri) == [(0, {"start": 1.0}), (1, {"start": 1.0}), (2, {"start": 1.0}), (3, {"start": 2.0})]
