import pyarrow as pa

from metarec.data.task_keys import change_places, scenarios_of, to_task_rows, users_of

ROWS = pa.table({"part": [0, 0], "user": ["a", "b @ c"], "item": ["x", "y"], "scenario": ["films", "books"]})


def test_rows_of_other_protocols_stay_as_they_are():
    assert to_task_rows(ROWS, "user_cold") is ROWS


def test_in_item_tasks_user_and_item_change_places_and_twice_is_not_at_all():
    turned = to_task_rows(ROWS, "item_tasks")
    assert (turned["user"].to_pylist(), turned["item"].to_pylist()) == (["x", "y"], ["a", "b @ c"])
    assert change_places(turned).equals(ROWS)


def test_a_user_in_a_scenario_can_be_told_from_the_id_whatever_the_users_own_is():
    joined = to_task_rows(ROWS, "scenario_transfer")
    assert "scenario" not in joined.column_names
    ids = joined["user"].combine_chunks()
    assert ids.to_pylist() == ["a @ films", "b @ c @ books"]
    assert users_of(ids, "scenario_transfer").to_pylist() == ["a", "b @ c"]
    assert scenarios_of(ids).to_pylist() == ["films", "books"]
    assert users_of(ids, "warm") is ids
