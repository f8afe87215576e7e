"""What is left to send of a journal, on a real sqlite store; servers that fail have `test_delivery.py`."""

import time

import pytest
from mlflow import MlflowClient

from metarec.tracking import Delivery, Outbox, Store
from metarec.train.journal import Journal
from tests.journals import expected, held, new_run, write
from tests.tracking_server import Gate


@pytest.fixture(scope="module")
def store_uri(tmp_path_factory):
    uri = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    new_run(uri, tmp_path_factory.mktemp("home"))
    return uri


def test_a_process_that_died_before_it_marked_what_was_sent_sends_nothing_twice(store_uri, tmp_path):
    run, uri = new_run(store_uri, tmp_path), str(tmp_path / "metrics.jsonl")
    write(Journal(uri), range(1300))
    Outbox(run.store, run.run_id, uri).send()
    (tmp_path / "metrics.jsonl.sent").unlink()
    write(Journal(uri, first_step=1000), range(1000, 1400))
    assert Outbox(run.store, run.run_id, uri).send() == 1400
    assert held(store_uri, run) == expected(uri)


def test_what_was_marked_is_not_looked_at_again_and_belongs_to_its_run(store_uri, tmp_path):
    first, uri = new_run(store_uri, tmp_path), str(tmp_path / "metrics.jsonl")
    write(Journal(uri), range(5))
    assert Outbox(first.store, first.run_id, uri).send() == 5
    assert Outbox(first.store, first.run_id, uri).waiting() == []
    other = new_run(store_uri, tmp_path)
    assert Outbox(other.store, other.run_id, uri).send() == 5


def test_a_damaged_line_is_named_once_and_left_out(store_uri, tmp_path):
    run, uri, said = new_run(store_uri, tmp_path), str(tmp_path / "metrics.jsonl"), []
    write(Journal(uri), range(2))
    with open(uri, "a") as file:
        file.write('{"step": 2, "met\n')
    outbox = Outbox(run.store, run.run_id, uri, warn=said.append)
    outbox.send()
    outbox.send()
    assert said == [f"line 3 of {uri} is no journal entry and is left out"]
    assert held(store_uri, run) == expected(uri)


def test_a_delivery_sends_while_it_is_open_and_the_rest_when_it_is_closed(store_uri, tmp_path):
    run, uri, said = new_run(store_uri, tmp_path), str(tmp_path / "metrics.jsonl"), []
    journal = Journal(uri)
    with Delivery([Outbox(run.store, run.run_id, uri)], say=said.append, seconds_between_looks=0.02):
        write(journal, range(10))
        deadline = time.monotonic() + 30
        while len(held(store_uri, run)["train.loss"]) < 10 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert held(store_uri, run) == expected(uri)
        write(journal, range(10, 20))
    assert held(store_uri, run) == expected(uri)
    assert said == []


def test_a_server_that_fails_is_named_once_and_what_is_left_is_counted(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    gate, uri, said = Gate("nowhere", mode="error"), str(tmp_path / "metrics.jsonl"), []
    store = Store(gate.uri, MlflowClient(gate.uri), "0")
    with Delivery([Outbox(store, "0123", uri)], say=said.append, seconds_between_looks=0.02):
        took = write(Journal(uri), range(30), pause=0.01)
    gate.close()
    assert max(took) < 1.0
    assert len(said) == 2
    assert f"the MLflow server {gate.uri} answers 500" in said[0]
    assert "its metrics wait in the run's journal" in said[0]
    assert said[1] == "warning: 30 lines of metrics are not on the MLflow server; python -m jobs.sync sends them"
