"""What a journal holds gets to a real server, once, whatever happens to the server, and nobody waits for it."""

import threading
import time

import pytest

from metarec.errors import TrackingError
from metarec.tracking import Delivery, Outbox
from metarec.train.journal import Journal
from tests.journals import expected, held, new_run, write
from tests.tracking_server import Gate

pytestmark = pytest.mark.slow


@pytest.fixture
def gate(server):
    gate = Gate(server.uri)
    yield gate
    gate.close()


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    """One retry of MLflow's own instead of three, for the sake of the tests' time."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")


def test_a_server_killed_and_started_again_in_mid_run_holds_what_the_journal_holds(server, tmp_path):
    run, uri, said = new_run(server.uri, tmp_path), str(tmp_path / "metrics.jsonl"), []
    journal = Journal(uri, flush_seconds=0.05)
    with Delivery([Outbox(run.store, run.run_id, uri)], say=said.append, seconds_between_looks=0.05):
        write(journal, range(100), pause=0.01)
        server.kill()
        took = write(journal, range(100, 300), pause=0.01)
        server.start()
        write(journal, range(300, 350), pause=0.01)
    assert held(server.uri, run) == expected(uri)
    assert [line.split(":")[0] for line in said] == [
        "warning",
        "the MLflow server answers again and has all metrics so far",
    ]
    assert max(took) < 1.0


def test_a_batch_of_which_the_answer_is_lost_is_not_sent_twice(server, gate, tmp_path):
    run, uri = new_run(gate.uri, tmp_path), str(tmp_path / "metrics.jsonl")
    outbox = Outbox(run.store, run.run_id, uri)
    write(Journal(uri), range(20))
    gate.mode = "lose"
    with pytest.raises(TrackingError):
        outbox.send()
    gate.mode = "pass"
    rewound = Journal(uri, first_step=10)  # a worker died and repeats steps, at other times
    write(rewound, range(10, 30))
    assert outbox.send() == 30
    assert outbox.send() == 0
    assert held(server.uri, run) == expected(uri)


@pytest.mark.parametrize("mode", ["slow", "error"])
def test_nobody_waits_for_a_server_that_is_slow_or_answers_500_and_it_has_all_in_the_end(server, gate, tmp_path, mode):
    run, uri, said = new_run(gate.uri, tmp_path), str(tmp_path / "metrics.jsonl"), []
    outbox, journal = Outbox(run.store, run.run_id, uri), Journal(uri, flush_seconds=0.05)
    gate.mode = mode
    delivery = Delivery([outbox], say=said.append, seconds_between_looks=0.05)
    began = time.monotonic()
    took = write(journal, range(100), pause=0.005)
    assert time.monotonic() - began < 5
    assert max(took) < 1.0
    closing = time.monotonic()
    assert delivery.close(seconds=0.5) == 100
    assert time.monotonic() - closing < 2
    assert held(server.uri, run)["train.loss"] == []
    gate.mode = "pass"
    for thread in threading.enumerate():
        if thread.name == "delivery":
            thread.join()  # the call of before, which is still on its way
    outbox.send()
    assert held(server.uri, run) == expected(uri)
