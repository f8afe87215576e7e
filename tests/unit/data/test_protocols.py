"""Rules on ratings whose places can be written down."""

import numpy as np
import pyarrow as pa
import pytest

from metarec.config import ProtocolConfig
from metarec.data.protocols import make_rule, require_every_split
from metarec.data.rules import Agreement, Drift, HeldOut, Ratings, Rule
from metarec.errors import DataError
from metarec.schema import SPLITS

USERS, ITEMS = 40, 30
EVERYTHING = Ratings(np.repeat(np.arange(USERS), ITEMS), np.tile(np.arange(ITEMS), USERS), np.arange(USERS * ITEMS))


def rule(name, times=EVERYTHING.time, num_users=USERS, **settings):
    protocol = ProtocolConfig(name=name, **settings)
    users = pa.array([str(user) for user in range(num_users)])
    return make_rule(protocol, users=users, num_items=ITEMS, ready=None, times=lambda: times)


def chosen(places, split, values):
    return set(values[places[split].chosen].tolist())


def test_a_tenth_of_the_users_is_for_test_and_a_tenth_for_validation():
    assert np.bincount(rule("user_cold", num_users=943).sides[0]).tolist() == [755, 94, 94]


def test_the_seed_decides_who_is_cold():
    first, again, other = (rule("user_cold", seed=seed).sides[0] for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("name", ["user_cold", "item_cold"])
def test_one_cold_side_divides_its_own_indices_and_every_rating_has_one_place(name):
    own = EVERYTHING.user if name == "user_cold" else EVERYTHING.item
    places = rule(name)(EVERYTHING)
    sides = [chosen(places, split, own) for split in SPLITS]
    assert set.union(*sides) == set(own.tolist())
    assert sum(map(len, sides)) == len(set(own.tolist()))
    assert (sum(place.chosen.astype(int) for place in places.values()) == 1).all()


def test_where_both_sides_are_cold_neither_was_trained_on_and_mixed_ratings_stand_nowhere():
    places = rule("user_and_item_cold", test=0.2)(EVERYTHING)
    for values in (EVERYTHING.user, EVERYTHING.item):
        sides = [chosen(places, split, values) for split in SPLITS]
        assert sum(map(len, sides)) == len(set.union(*sides))
    counts = [int(place.chosen.sum()) for place in places.values()]
    assert counts == [28 * 21, 4 * 3, 8 * 6]


def test_a_warm_task_asks_for_what_was_held_out_from_the_ratings_trained_on():
    places = rule("warm", validation=0.2, test=0.3)(EVERYTHING)
    train = places["train"].chosen
    assert places["train"].query is None
    for split in SPLITS[1:]:
        place = places[split]
        assert (place.chosen & ~place.query == train).all()
    test, validation = places["test"].query, places["validation"].query
    assert not (test & validation).any()
    assert [round(float(held.mean()), 1) for held in (validation, test)] == [0.2, 0.3]


def test_drift_asks_for_what_is_later_than_the_cut_off():
    """Times 0 … 9: two tenths after the cut-off, three tenths before it to validate on."""
    found = rule("interest_drift", np.arange(10), validation=0.3, test=0.2)
    assert found == Drift(cutoff=8, validation_from=5)
    places = found(Ratings(*[np.zeros(10, np.int64)] * 2, time=np.arange(10)))
    assert np.flatnonzero(places["train"].chosen).tolist() == [0, 1, 2, 3, 4]
    assert places["train"].query is None
    assert np.flatnonzero(places["validation"].chosen).tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert np.flatnonzero(places["validation"].query).tolist() == [5, 6, 7]
    assert places["test"].chosen.all()
    assert np.flatnonzero(places["test"].query).tolist() == [8, 9]


def test_a_cut_off_that_is_given_stands():
    assert rule("interest_drift", np.arange(10), cutoff=6, validation=0.2) == Drift(cutoff=6, validation_from=4)


@pytest.mark.parametrize(("cutoff", "train", "after"), [(1, 0, 9), (10, 9, 0)])
def test_a_cut_off_that_leaves_nothing_on_one_side_is_refused(cutoff, train, after):
    with pytest.raises(
        DataError, match=rf"cutoff at {cutoff} leaves {train} .* and {after} after it, of 10 from 0 to 9"
    ):
        rule("interest_drift", np.arange(10), cutoff=cutoff, validation=0.1)


def test_of_item_tasks_the_tasks_are_divided_as_users_are():
    assert (rule("item_tasks", seed=3).sides[0] == rule("user_cold", seed=3).sides[0]).all()


SCENARIOS = pa.array([f"{user} @ {name}" for user in "xy" for name in ("books", "films", "games", "music")])


def transfer(users=SCENARIOS, **settings):
    protocol = ProtocolConfig(name="scenario_transfer", **settings)
    return make_rule(protocol, users=users, num_items=ITEMS, ready=None, times=lambda: EVERYTHING.time)


def test_the_tasks_of_a_named_scenario_are_tested_on_and_none_of_it_is_trained_on():
    made = transfer(scenarios=("films",))
    assert made.by_split()["test"] == ["films"]
    assert [len(made.by_split()[split]) for split in SPLITS] == [2, 1, 1]
    tasks = np.arange(8)
    places = made(Ratings(tasks, tasks, tasks))
    assert np.flatnonzero(places["test"].chosen).tolist() == [1, 5]
    assert (sum(place.chosen.astype(int) for place in places.values()) == 1).all()


def test_scenarios_that_are_not_named_are_held_out_by_seed_one_at_least():
    found = [transfer(seed=seed).by_split() for seed in range(20)]
    assert {len(by["test"]) for by in found} == {len(by["validation"]) for by in found} == {1}
    assert {by["test"][0] for by in found} == {"books", "films", "games", "music"}
    assert transfer(seed=5).by_split() == found[5]
    assert len(transfer(test=0.5).by_split()["test"]) == 2


def test_a_scenario_that_nobody_has_a_task_in_is_refused_beside_those_that_there_are():
    with pytest.raises(DataError, match=r"names 'cars', in which nobody .* are 'books', 'films', 'games', 'music'"):
        transfer(scenarios=("films", "cars"))


def test_scenarios_that_leave_none_to_train_on_are_refused():
    with pytest.raises(DataError, match=r"leaves 0 of 2 scenarios \('films', 'games'\) to train on, with 1 to test"):
        transfer(pa.array(["x @ films", "x @ games"]))


@pytest.mark.parametrize("made", [Agreement({}), HeldOut(0.1, 0.1, 0), Drift(2, 1), transfer()])
def test_every_rule_keeps_the_contract(made):
    assert isinstance(made, Rule)


def test_an_empty_split_is_refused_by_name():
    left_out = {"train": 0, "validation": 0, "test": 1200}
    files = {"train": ["a"], "validation": ["b"], "test": []}
    with pytest.raises(
        DataError, match=r"warm leaves no user for test out of 3, with 1,200 tasks left out as too short"
    ):
        require_every_split(files, ProtocolConfig(name="warm"), num_users=3, left_out=left_out)
    left_out["test"] = 0
    with pytest.raises(DataError, match="user_cold leaves no user for test out of 3; give more ratings"):
        require_every_split(files, ProtocolConfig(), num_users=3, left_out=left_out)
