"""What is refused before test users are judged: of a config alone, and of prepared tasks."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metarec.config import Config, load_config, with_values
from metarec.data.prepare import prepare
from metarec.errors import ConfigError
from metarec.evaluate.requirements import require_judgeable, require_lists

EVENTS = ("data.source=tables", "data.path=/shop", "tables.rating=", "tables.timestamp=")
SETTINGS = {
    "synthetic.num_users": 60,
    "synthetic.num_items": 80,
    "data.min_ratings": 4,
    "task.num_query": 3,
    "protocol.validation": 0.25,
    "protocol.test": 0.25,
}


@pytest.mark.parametrize(
    ("overrides", "num_items", "sentence"),
    [
        (
            ["evaluate.k=11"],
            None,
            "evaluate.k is 11, but a task has 10 query rows to rank (task.num_query); use 10 or less, or "
            "evaluate.candidates=all",
        ),
        (
            ["evaluate.k=11", "protocol.name=item_tasks"],
            None,
            "evaluate.k is 11, but a task has 10 query rows to rank (task.num_query); use 10 or less, or "
            "evaluate.candidates=all",
        ),
        (
            ["evaluate.k=31", "task.num_negatives=2", *EVENTS],
            None,
            "evaluate.k is 31, but a task has 30 query rows to rank (task.num_query, each with "
            "task.num_negatives others); use 30 or less, or evaluate.candidates=all",
        ),
        (
            ["evaluate.k=99", "evaluate.candidates=all"],
            40,
            "evaluate.k is 99, but synthetic has 40 items to rank; use 40 or less",
        ),
        (
            ["evaluate.k=99", "evaluate.candidates=all", "protocol.name=item_tasks"],
            40,
            "evaluate.k is 99, but synthetic has 40 users to rank; use 40 or less",
        ),
        (
            ["evaluate.known_ratings=50", "protocol.name=warm"],
            None,
            "evaluate.known_ratings is 50, but test tasks of warm either have no training ratings or hold them in "
            "their supports already; use 0, or protocol.name=item_cold",
        ),
    ],
)
def test_what_a_config_alone_rules_out_is_refused(overrides, num_items, sentence):
    with pytest.raises(ConfigError) as refused:
        require_judgeable(load_config(None, overrides), num_items)
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["evaluate.k=10"],
        ["evaluate.k=30", "task.num_negatives=2", *EVENTS],
        ["evaluate.k=40", "evaluate.candidates=all"],
        ["evaluate.k=11", "protocol.name=warm"],
        ["evaluate.k=11", "protocol.name=interest_drift"],
        ["evaluate.known_ratings=50", "protocol.name=item_cold"],
    ],
)
def test_lists_of_all_there_is_and_of_a_query_that_nobody_knows_yet_are_allowed(overrides):
    require_judgeable(load_config(None, overrides), 40)


@pytest.fixture(scope="module")
def prepared(ray_cluster, tmp_path_factory):
    root = str(tmp_path_factory.mktemp("home"))

    def make(protocol, **changes):
        values = SETTINGS | {"output.root": root, "protocol.name": protocol, **changes}
        return with_values(Config(), values), prepare(with_values(Config(), values), progress=str)

    return make


def assert_the_longest_lists_are(most, config, dataset, sentence):
    require_lists(with_values(config, {"evaluate.k": most}), dataset)
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        require_lists(with_values(config, {"evaluate.k": most + 1}), dataset)


@pytest.mark.parametrize("protocol", ["warm", "interest_drift"])
def test_where_the_protocol_fixes_the_query_the_longest_one_is_the_limit(prepared, protocol):
    config, dataset = prepared(protocol)
    test = dataset.histories("test")
    most = int(np.bincount(test.row_history, test.query).max())
    assert most > config.task.num_query
    assert_the_longest_lists_are(
        most,
        config,
        dataset,
        f"evaluate.k is {most + 1}, but no test user of synthetic has more than {most} items to rank "
        f"(protocol.name={protocol} fixes the query); use {most} or less, or evaluate.candidates=all",
    )


@pytest.mark.parametrize("protocol", ["warm", "item_cold"])
def test_in_the_whole_catalogue_who_has_rated_least_is_the_limit(prepared, protocol):
    config, dataset = prepared(protocol, **{"evaluate.candidates": "all"})
    test, elsewhere, fixed = dataset.histories("test"), dataset.elsewhere(), protocol == "warm"
    query = np.bincount(test.row_history, test.query) if fixed else 3
    most = int((80 - test.lengths - elsewhere.lengths + query).max())
    assert most < 80
    assert_the_longest_lists_are(
        most,
        config,
        dataset,
        f"evaluate.k is {most + 1}, but no test user of synthetic has more than {most} items to rank; "
        f"use {most} or less",
    )


def test_negatives_are_candidates_as_far_as_there_are_items(prepared, tmp_path):
    """Everybody took 15 of 20 items: beside 3 events of the query stand 5 other items, and not 3 times 4."""
    taken = np.argsort(np.random.default_rng(0).random((40, 20)), axis=1)[:, :15]
    log = {"user_id": np.repeat(np.arange(40), 15).astype(str), "item_id": taken.ravel().astype(str)}
    pq.write_table(pa.table(log), tmp_path / "ratings.parquet")
    tables = {"data.source": "tables", "data.path": str(tmp_path), "tables.rating": "", "tables.timestamp": ""}
    config, dataset = prepared("user_cold", **tables, **{"task.num_negatives": 4})
    require_judgeable(with_values(config, {"evaluate.k": 15}))
    sentence = "has more than 8 items to rank; use 8 or less, or evaluate.candidates=all"
    assert_the_longest_lists_are(8, config, dataset, sentence)


def test_item_tasks_are_refused_in_their_own_words(prepared):
    config, dataset = prepared("item_tasks")
    sentence = "evaluate.k is 4, but no test item of synthetic has more than 3 users to rank; use 3 or less"
    assert_the_longest_lists_are(3, config, dataset, sentence)
