"""Each protocol on synthetic ratings, from preparation to the floors, and the leaks that its audit has to find."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.evaluate import evaluate_beside_floors
from metarec.config import Config, with_values
from metarec.data.audit import audit, require_clean
from metarec.data.prepare import prepare
from metarec.data.tasks import draw_tasks
from metarec.errors import DataError
from metarec.schema import SPLITS
from tests.planted_leaks import replace_column, task_table, training_rows, violated, with_tasks

SETTINGS = {
    "synthetic.num_users": 60,
    "synthetic.num_items": 80,
    "data.min_ratings": 4,
    "task.num_query": 3,
    "protocol.validation": 0.2,
    "protocol.test": 0.2,
    "evaluate.num_draws": 1,
}
PROTOCOLS = (
    *("user_cold", "item_cold", "user_and_item_cold", "warm", "interest_drift"),
    *("item_tasks", "scenario_transfer"),
)


def settings(root, protocol):
    return with_values(Config(), SETTINGS | {"output.root": str(root), "protocol.name": protocol})


@pytest.fixture(scope="module")
def dataset_of(ray_cluster, tmp_path_factory):
    root, lines = tmp_path_factory.mktemp("cold"), []
    return lambda protocol: prepare(settings(root, protocol), progress=lines.append)


def with_list(table, name, change):
    """A table whose first task has another list in one column."""
    lists = table[name].to_pylist()
    lists[0] = change(lists[0])
    return replace_column(table, name, pa.array(lists, table[name].type))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_prepared_dataset_keeps_all_its_claims_and_the_floors_can_be_judged_on_it(dataset_of, tmp_path, protocol):
    dataset = dataset_of(protocol)
    checks = audit(dataset)
    require_clean(checks)
    assert all(check.num_checked for check in checks)
    counts = dataset.manifest["counts"]
    assert counts["ratings"] + counts["unplaced_ratings"] + sum(counts["quarantined"].values()) == counts["rows"]
    evaluation = evaluate_beside_floors(settings(tmp_path, protocol), dataset, {})
    assert evaluation.users.tolist() == dataset.histories("test").user.tolist()
    assert evaluation.value("item + user bias", "all", "mae") < evaluation.value("global mean", "all", "mae") < 2


@pytest.mark.parametrize("protocol", ["item_cold", "user_and_item_cold"])
def test_a_cold_item_has_no_id_no_bias_and_no_training_rating(dataset_of, protocol):
    dataset = dataset_of(protocol)
    catalogue = dataset.catalogue()
    for split in SPLITS[1:]:
        cold = np.unique(dataset.histories(split).item)
        assert not np.isin(cold, dataset.histories("train").item).any()
        assert not catalogue.item_features["id"][cold].any()
        assert not catalogue.item_bias[cold].any()
        assert catalogue.item_features["genres"][cold].any(dim=1).all()


def test_an_item_is_cold_for_users_who_are_not(dataset_of):
    dataset = dataset_of("item_cold")
    assert np.isin(dataset.histories("test").user, dataset.histories("train").user).all()


def test_a_warm_task_has_the_training_ratings_of_its_user_as_support(dataset_of):
    dataset = dataset_of("warm")
    train, test = dataset.histories("train"), dataset.histories("test")
    for index, user in enumerate(test.user[:10]):
        (own,) = np.flatnonzero(train.user == user)
        task = slice(test.offsets[index], test.offsets[index + 1])
        trained = train.item[train.offsets[own] : train.offsets[own + 1]]
        assert test.item[task][~test.query[task]].tolist() == trained.tolist()


def test_drift_prepares_the_past_as_support_and_the_future_as_query(dataset_of):
    dataset = dataset_of("interest_drift")
    cutoff = dataset.manifest["protocol"]["cutoff"]
    for task in dataset.tasks("test").to_pylist():
        assert task["query"] == [time >= cutoff for time in task["timestamp"]]
    query = dataset.histories("test").query.sum()
    assert query / dataset.manifest["counts"]["rows"] == pytest.approx(0.2, abs=0.01)


def test_a_rating_without_a_time_stops_drift_with_the_count(ray_cluster, tmp_path):
    lines = [f"{user},{item},{1 + (user + item) % 5}," for user in range(30) for item in range(15)]
    lines[:-3] = [f"{line}{number}" for number, line in enumerate(lines[:-3])]
    (tmp_path / "ratings.csv").write_text("\n".join(["user_id,item_id,rating,timestamp", *lines]))
    values = {"data.source": "tables", "data.path": str(tmp_path), "tables.ratings": "ratings.csv"}
    with pytest.raises(DataError, match=r"needs the time of every rating, and 3 of 450 of .* have none"):
        prepare(with_values(settings(tmp_path, "interest_drift"), values), progress=str)


def rated_by_time(folder, *, user="user_id", item="item_id", last=""):
    """A config on 30 users who have rated 15 of 40 items each, one after the other; columns called as they are told."""
    draw = np.random.default_rng(0)
    rows = [(user, item) for user in range(30) for item in draw.permutation(40)[:15]]
    times = [str(time) for time in draw.permutation(len(rows))]
    times[-1] = times[-1] if last is not None else ""
    lines = [f"{u},{i},{1 + (u * i) % 5},{time}" for (u, i), time in zip(rows, times, strict=True)]
    (folder / "ratings.csv").write_text("\n".join([f"{user},{item},rating,timestamp", *lines]))
    return {"data.source": "tables", "data.path": str(folder), "tables.ratings": "ratings.csv"}


def test_item_tasks_are_the_user_tasks_of_a_log_whose_users_are_called_items(ray_cluster, tmp_path):
    """So every floor, model and algorithm that is right for users is right for items, the other way round."""
    places = [tmp_path / "plain", tmp_path / "turned"]
    for place in places:
        place.mkdir()
    plain = rated_by_time(places[0])
    turned = rated_by_time(places[1], user="item_id", item="user_id")
    of_items = prepare(with_values(settings(places[0], "item_tasks"), plain), progress=str)
    of_users = prepare(with_values(settings(places[1], "user_cold"), turned), progress=str)
    for split in SPLITS:
        assert of_items.tasks(split).equals(of_users.tasks(split))
    for side in ("user", "item"):
        assert of_items.table(side).equals(of_users.table(side))
    assert of_items.manifest["offset"] == of_users.manifest["offset"]


def test_the_support_of_an_item_is_its_first_raters(dataset_of):
    dataset = dataset_of("item_tasks")
    assert dataset.manifest["protocol"]["in_time"]
    histories = dataset.histories("test")
    batch = draw_tasks(histories, seed=0, draw=0, num_query=3, in_time=True)
    tables = dataset.tasks("test").to_pylist()
    for task, rows in enumerate(tables):
        times = dict(zip(rows["item"], rows["timestamp"], strict=True))
        support, query = (r.item[task][r.mask[task]].tolist() for r in (batch.support, batch.query))
        assert [times[rater] for rater in support] == sorted(times.values())[:-3]
        assert {times[rater] for rater in query} == set(sorted(times.values())[-3:])


def test_without_times_the_raters_of_an_item_are_drawn(ray_cluster, tmp_path):
    config = with_values(settings(tmp_path, "item_tasks"), rated_by_time(tmp_path) | {"tables.timestamp": ""})
    dataset = prepare(config, progress=str)
    assert not config.in_time
    assert not dataset.manifest["protocol"]["in_time"]
    assert not [check for check in audit(dataset) if "order of time" in check.claim]


def test_one_rating_without_a_time_stops_item_tasks_with_both_remedies(ray_cluster, tmp_path):
    values = rated_by_time(tmp_path, last=None)
    with pytest.raises(DataError, match=r"and 1 of 450 of .* have none; give them, or set tables\.timestamp to ''"):
        prepare(with_values(settings(tmp_path, "item_tasks"), values), progress=str)


def test_too_few_raters_of_an_item_are_put_aside_as_they_were_read(ray_cluster, tmp_path):
    values = rated_by_time(tmp_path) | {"data.min_ratings": 10, "task.num_query": 3}
    dataset = prepare(with_values(settings(tmp_path, "item_tasks"), values), progress=str)
    aside = pq.read_table(f"{dataset.uri}/quarantine")
    assert set(aside["reason"].to_pylist()) == {"the item has too few usable ratings"}
    assert dataset.manifest["counts"]["left_out_users"] == len(set(aside["item"].to_pylist()))
    assert not set(aside["item"].to_pylist()) & set(dataset.user_ids())
    assert set(aside["user"].to_pylist()) <= set(dataset.item_ids())


def test_a_user_has_one_task_in_each_scenario_with_the_users_own_features(dataset_of):
    """The scenario of a synthetic rating is the decade of its item."""
    dataset = dataset_of("scenario_transfer")
    users, items = dataset.table("user"), dataset.table("item")
    decade = dataset.schema.item_fields[-1]
    assert decade.name == "decade"
    trained = dataset.manifest["protocol"]["scenarios"]["train"]
    assert list(decade.vocabulary) == trained
    known = [None, *decade.vocabulary]
    for split in SPLITS:
        for task in dataset.tasks(split).to_pylist():
            scenario = users["scenario"][task["user"]].as_py()
            found = {known[items["feature.decade"][item].as_py()[0]] for item in task["item"]}
            assert found == {scenario if scenario in trained else None}
    who = [text.rpartition(" @ ")[0] for text in users["id"].to_pylist()]
    ages = set(zip(who, map(tuple, users["feature.age"].to_pylist()), strict=True))
    assert len(ages) == len(set(who)) < len(who)


def test_a_task_of_a_held_out_scenario_in_training_is_found(dataset_of, tmp_path):
    clean = dataset_of("scenario_transfer")
    test = task_table(clean, "test")
    moved = pa.concat_tables([task_table(clean, "train"), training_rows(test.slice(0, 1))])
    claims = violated(with_tasks(clean, tmp_path, train=moved, test=test.slice(1)))
    assert "no test scenario has a training task" in claims
    assert [claim for claim in claims if claim.startswith("the scenarios of train are those")]


def test_a_cold_item_whose_task_is_trained_on_is_found(dataset_of, tmp_path):
    clean = dataset_of("item_tasks")
    moved = pa.concat_tables([task_table(clean, "train"), training_rows(task_table(clean, "test").slice(0, 1))])
    claims = violated(with_tasks(clean, tmp_path, train=moved))
    assert "no item stands in two splits" in claims
    assert "no test item has a training rating" in claims


@pytest.mark.parametrize("late", [2**40, None])
def test_a_rater_who_stands_before_an_earlier_one_is_found(dataset_of, tmp_path, late):
    clean = dataset_of("item_tasks")
    table = with_list(task_table(clean, "test"), "timestamp", lambda times: [late, *times[1:]])
    claims = violated(with_tasks(clean, tmp_path, test=table))
    assert claims == ["the raters of each test item stand in order of time, so that its first are its support"]


def test_tasks_beyond_the_longest_are_left_out_and_counted(dataset_of, ray_cluster, tmp_path):
    config = with_values(settings(tmp_path, "user_cold"), {"protocol.max_ratings": 40})
    whole, cut = dataset_of("user_cold"), prepare(config, progress=str)
    long = int((whole.histories("test").lengths > 40).sum())
    assert 0 < long == cut.manifest["counts"]["left_out_tasks"]["test"]
    assert cut.num_tasks("test") == whole.num_tasks("test") - long
    assert cut.num_tasks("train") == whole.num_tasks("train")
    require_clean(audit(cut))


@pytest.mark.parametrize("protocol", ["item_cold", "user_and_item_cold"])
def test_a_cold_item_in_training_is_found(dataset_of, tmp_path, protocol):
    clean = dataset_of(protocol)
    train = task_table(clean, "train")
    for split in SPLITS[1:]:
        cold = int(clean.histories(split).item[0])
        leaky = with_tasks(clean, tmp_path / split, train=with_list(train, "item", lambda own, c=cold: [c, *own[1:]]))
        assert f"no {split} item has a training rating" in violated(leaky)


def test_a_cold_user_in_training_is_found(dataset_of, tmp_path):
    clean = dataset_of("user_and_item_cold")
    train = task_table(clean, "train")
    user = pa.array([int(clean.histories("test").user[0]), *train["user"].to_pylist()[1:]])
    claims = violated(with_tasks(clean, tmp_path, train=replace_column(train, "user", user)))
    assert "no test user has a training rating" in claims
    assert "no user stands in two splits" in claims


def test_a_cold_item_in_the_vocabulary_is_found(dataset_of):
    clean = dataset_of("item_cold")
    cold = clean.item_ids()[clean.histories("test").item[0]]
    first, *others = clean.schema.item_fields
    fields = (dataclasses.replace(first, vocabulary=(*first.vocabulary[:-1], cold)), *others)
    leaky = dataclasses.replace(clean, schema=dataclasses.replace(clean.schema, item_fields=fields))
    assert violated(leaky) == ["an item is known by its id where it has a training rating, and else not"]


@pytest.mark.parametrize(
    ("protocol", "becomes_query", "claim"),
    [
        ("warm", True, "no test query is a training rating"),
        ("warm", False, "each test support rating is a training rating"),
        ("interest_drift", True, "no test query is a training rating"),
        ("interest_drift", False, "of test tasks the queries, and they alone, are from"),
    ],
)
def test_a_row_in_the_other_role_is_found(dataset_of, tmp_path, protocol, becomes_query, claim):
    """One support row is called query, or one query row support."""
    clean = dataset_of(protocol)

    def change(roles):
        place = roles.index(not becomes_query)
        return [*roles[:place], becomes_query, *roles[place + 1 :]]

    leaky = with_tasks(clean, tmp_path, test=with_list(task_table(clean, "test"), "query", change))
    assert [found for found in violated(leaky) if found.startswith(claim)]


def test_a_row_in_support_and_query_is_found(dataset_of, tmp_path):
    clean = dataset_of("warm")
    test = task_table(clean, "test")
    roles = test["query"].to_pylist()[0]
    asked, given = roles.index(True), roles.index(False)

    def change(items):
        return [items[asked] if place == given else item for place, item in enumerate(items)]

    claims = violated(with_tasks(clean, tmp_path, test=with_list(test, "item", change)))
    assert "each (user, item) pair of test stands once, in support or query" in claims


def test_a_task_without_a_support_is_found(dataset_of, tmp_path):
    clean = dataset_of("warm")
    leaky = with_list(task_table(clean, "test"), "query", lambda roles: [True] * len(roles))
    assert "each test task has a support and a query" in violated(with_tasks(clean, tmp_path, test=leaky))


def test_a_later_moment_in_training_is_found(dataset_of, tmp_path):
    clean = dataset_of("interest_drift")
    cutoff, start = (clean.manifest["protocol"][name] for name in ("cutoff", "validation_from"))
    for split, later in (("train", start), ("train", None), ("validation", cutoff)):
        table = with_list(task_table(clean, split), "timestamp", lambda times, late=later: [*times[:-1], late])
        claims = violated(with_tasks(clean, tmp_path / f"{split}{later}", **{split: table}))
        what = {"train": "no training rating is as late as", "validation": "no validation rating is as late as"}[split]
        assert [found for found in claims if found.startswith(what)]
