"""Room on a cluster of which the numbers are given: the sums, who is refused, and what is said when a node is lost."""

import subprocess
import sys

import pytest
import ray

from metarec.config import load_config
from metarec.errors import ClusterError
from metarec.train import room


@pytest.fixture
def cpus(monkeypatch):
    """CPUs that the cluster has, and how many of them are free."""
    numbers = {"have": 4.0, "free": 4.0}
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": numbers["have"]})
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": numbers["free"]})
    monkeypatch.setattr(room, "SECONDS_TO_GET_FREE", 0.0)
    monkeypatch.setattr(room, "SECONDS_BETWEEN_LOOKS", 0.0)
    return numbers


@pytest.fixture
def config():
    return load_config(None, ["train.num_workers=2"])


def test_two_workers_of_half_a_cpu_and_their_readers_need_one_and_a_half(config):
    assert room.needed_cpus(config, 0.5) == 1.5
    assert room.spell_out(config, 0.5) == "train.num_workers = 2 x 0.5 CPUs + 2 x 0.25 for Ray Data = 1.5 CPUs"


def test_what_others_hold_is_refused_with_the_sum(cpus, config):
    cpus["free"] = 1.0
    with pytest.raises(
        ClusterError, match=r"= 1.5 CPUs, but other jobs hold 3 of the cluster's 4 CPUs and leave 1; wait"
    ):
        room.check_free_to_train(config, 0.5)
    cpus["free"] = 1.5
    room.check_free_to_train(config, 0.5)


def test_a_run_in_the_job_s_own_process_needs_room_to_prepare_alone(cpus, config):
    cpus["free"] = 1.0
    room.check_free_to_train(config, 0.0)
    cpus["free"] = 0.5
    with pytest.raises(ClusterError, match=r"preparing ratings takes 1 CPU, but other jobs hold 3.5 of .* leave 0.5"):
        room.check_free_to_train(config, 0.0)


@pytest.mark.slow
def test_what_a_ray_of_one_s_own_will_have_is_known_before_it_is_started():
    code = (
        "import ray; from metarec.train.room import total; before = total('CPU'), total('GPU'); "
        "ray.init('local', include_dashboard=False); print(before == (total('CPU'), total('GPU')), before[0] > 0)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split()[-2:] == ["True", "True"]


def test_the_loss_of_a_node_and_its_return_are_said_once(cpus, config):
    said = []
    watch = room.RoomWatch(config, 1.0, said.append)
    for have in (4.0, 2.0, 2.0, 4.0, 4.0):
        cpus["have"] = have
        watch.look()
    assert [line.split(":")[0] for line in said] == [
        "warning",
        "the cluster has 4 CPUs again; training goes on from the last checkpoint",
    ]
    assert "= 2.5 CPUs, but the cluster has 2 left; waiting for another, up to 30 minutes" in said[0]
