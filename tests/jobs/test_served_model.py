"""`mlflow models serve` on a registered champion: a server of its own, offline, answers with recommendations."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from pathlib import Path

import pytest

from metarec.config import load_config
from metarec.evaluate.interval import Interval
from metarec.registry import log_and_register, promote
from metarec.tracking import open_store, start_run
from tests.ports import free_port
from tests.tiny_learner import tiny_learner

pytestmark = pytest.mark.slow
NOWHERE = "http://127.0.0.1:9"
"""A proxy that nobody is behind: whoever asks for anything outside fails."""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The address of a server of `models:/tiny@champion`."""
    home = tmp_path_factory.mktemp("home")
    config = load_config(overrides=[f'output.root="{home}"'])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own
        store = open_store(config)
        with start_run(store, "a", config) as run:
            made = log_and_register(
                run, tiny_learner(), name="tiny", metrics={"mae": Interval(0.7, 0.6, 0.8)},
                verdict={"passed": True, "reasons": [], "opponents": {}}, report=b"{}",
            )  # fmt: skip
        promote(store, "tiny", made.number)
    port = free_port()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": store.uri, "PIP_NO_INDEX": "1"}
    environment |= {"http_proxy": NOWHERE, "https_proxy": NOWHERE, "no_proxy": "127.0.0.1"}
    command = ["models", "serve", "-m", "models:/tiny@champion", "--env-manager", "local", "-p", str(port)]
    with open(home / "serve.log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *command],
            cwd=home, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_it_answers(address, process, home / "serve.log")
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_it_answers(address, process, log):
    for _ in range(300):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"{address}/ping", timeout=2).close()
        time.sleep(0.5)
    return pytest.fail(log.read_text())


def ask(address, users, **params):
    body = json.dumps({"dataframe_records": users, "params": params}).encode()
    request = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())["predictions"]


def test_ratings_are_answered_with_recommendations_and_unknown_items_are_reported(served):
    users = [
        {"support_items": ["7", "13"], "support_ratings": [5.0, 2.0]},
        {"support_items": ["absent", "7"], "support_ratings": [1.0, 5.0]},
        {"support_items": [], "support_ratings": []},
    ]
    answers = ask(served, users, k=3)
    for answer, ratings in zip(answers, ({"7": 5, "13": 2}, {"7": 5}, {}), strict=True):
        best = tiny_learner().adapt(ratings).recommend(k=3)
        assert answer["items"] == [each.item for each in best]
        assert answer["titles"] == [each.title for each in best]
        assert answer["scores"] == pytest.approx([each.score for each in best], abs=1e-5)
    assert [answer["unknown"] for answer in answers] == [[], ["absent"], []]


@pytest.mark.parametrize("ratings", ["[5, 2]", "[5.0, 2]", "[5, 2.5]", "[5.0, 2.0]"])
def test_ratings_are_numbers_however_json_writes_them(served, ratings):
    """JavaScript writes 5.0 as 5."""
    user = {"support_items": ["7", "13"], "support_ratings": json.loads(ratings)}
    best = tiny_learner().adapt(dict(zip(*user.values(), strict=True))).recommend(k=3)
    answers = ask(served, [user, {"support_items": ["7"], "support_ratings": [4]}], k=3)
    assert answers[0]["items"] == [each.item for each in best]
    assert answers[0]["scores"] == pytest.approx([each.score for each in best], abs=1e-5)


@pytest.mark.parametrize(
    ("items", "ratings", "k", "reason"),
    [
        (["7"], [9.0], 2, "item '7' has rating 9.0; use 1 to 5"),
        (["7"], ["good"], 2, "item '7' has rating good; use 1 to 5"),
        (["7"], [None], 2, "item '7' has rating None; use 1 to 5"),
        (["7", "13"], [5], 2, "user 0 of the request has 2 support_items and 1 support_ratings"),
        (["7"], [5], 6, "k is 6; use 1 to 5, the items that may be recommended"),
        (["7"], [5], 0, "k is 0; use 1 to 5, the items that may be recommended"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_the_reason(served, items, ratings, k, reason):
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(served, [{"support_items": items, "support_ratings": ratings}], k=k)
    assert refused.value.code == 400
    assert reason in refused.value.read().decode()  # within MLflow's own answer


def test_a_user_who_rated_nearly_all_gets_what_is_left(served):
    (answer,) = ask(served, [{"support_items": ["7", "11", "13", "17"], "support_ratings": [5, 4, 3, 2]}], k=5)
    assert answer["items"] == ["19"]
