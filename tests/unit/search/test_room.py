"""How many trials fit: by node, with readers and drivers counted, and refused with the sum where none does."""

import time

import pytest
import ray

from metarec.config import load_config
from metarec.errors import ClusterError
from metarec.search.room import (
    bundles_of,
    check_free_to_search,
    check_side_by_side,
    count_fitting,
    trials_at_once,
)


def test_four_cpus_take_as_many_trials_as_drivers_workers_and_readers_leave_room_for():
    """0.1 + 1 + 0.25 CPUs a trial: two on four CPUs would leave 1.3, which is a third of nothing more."""
    trial = [{"CPU": 0.1}, {"CPU": 1.0}, {"CPU": 0.25}]
    assert count_fitting(trial, [{"CPU": 4.0}]) == 2
    assert count_fitting(trial, [{"CPU": 4.05}]) == 3
    assert count_fitting(trial, [{"CPU": 1.3}]) == 0


def test_what_is_left_over_on_two_nodes_makes_no_cpu():
    trial = [{"CPU": 1.0}, {"CPU": 1.0}]
    assert count_fitting(trial, [{"CPU": 2.0}]) == 1
    assert count_fitting(trial, [{"CPU": 1.0}, {"CPU": 1.0}]) == 1
    assert count_fitting(trial, [{"CPU": 1.5}, {"CPU": 0.5}]) == 0


def test_a_gpu_of_each_worker_is_counted():
    trial = [{"CPU": 0.1}, {"CPU": 1.0, "GPU": 1.0}]
    assert count_fitting(trial, [{"CPU": 16.0, "GPU": 2.0}, {"CPU": 16.0}]) == 2


def test_a_trial_in_its_own_process_takes_one_cpu_with_its_reader(ray_cluster):
    config = load_config(None, ["train.num_workers=0"])
    assert sum(bundle["CPU"] for bundle in bundles_of(config)) == 1.0
    assert trials_at_once(config) == 4


def test_fewer_may_be_asked_for_and_more_are_not_given(ray_cluster):
    few, many = (load_config(None, ["train.num_workers=0", f"search.max_at_once={most}"]) for most in (3, 9))
    assert (trials_at_once(few), trials_at_once(many)) == (3, 4)


def test_workers_make_room_for_the_driver_where_one_cpu_each_would_leave_none(ray_cluster):
    """3 x 1.25 + 0.1 CPUs fit into 4; with 1.25 given to each of two, 2 x 1.5 + 0.1 do."""
    assert [bundle["CPU"] for bundle in bundles_of(load_config(None, ["train.num_workers=3"]))][:2] == [0.1, 1.0]
    assert trials_at_once(load_config(None, ["train.num_workers=2", "train.cpus_per_worker=1.25"])) == 1


def test_a_population_that_does_not_train_side_by_side_is_refused():
    with pytest.raises(
        ClusterError, match="a population of 4 trains side by side, and the cluster has room for 2 such"
    ):
        check_side_by_side(4, 2)
    check_side_by_side(2, 2)


def test_what_others_leave_must_do_for_one_trial_and_of_a_population_for_all(ray_cluster, monkeypatch):
    monkeypatch.setattr("metarec.train.room.SECONDS_TO_GET_FREE", 0.0)
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 2.5})
    config = load_config(None, ["train.num_workers=0"])
    check_free_to_search(config, 2)
    with pytest.raises(ClusterError) as refused:
        check_free_to_search(config, 3)
    assert str(refused.value) == (
        "a trial needs 0.75 for the trial + 0.25 for Ray Data = 1 CPUs, 3 side by side 3, but other jobs hold 1.5 of "
        "the cluster's 4 CPUs and leave 2.5; wait for them, lower train.num_workers or train.cpus_per_worker, or add "
        "nodes"
    )
    with pytest.raises(ClusterError, match=r"2 x 1 for workers \+ 2 x 0.25 for Ray Data = 2.6 CPUs, but other jobs"):
        check_free_to_search(load_config(None, ["train.num_workers=2"]), 1)


def test_an_impossible_request_is_refused_at_once_with_the_sum(ray_cluster):
    began = time.monotonic()
    config = load_config(None, ["train.num_workers=2", "train.cpus_per_worker=1.75"])
    with pytest.raises(ClusterError) as refused:
        trials_at_once(config)
    assert time.monotonic() - began < 5
    assert str(refused.value) == (
        "a trial needs 0.1 for the trial + 2 x 1.75 for workers + 2 x 0.25 for Ray Data = 4.1 CPUs, but the cluster "
        "has 4; lower train.num_workers or train.cpus_per_worker, or add nodes"
    )
