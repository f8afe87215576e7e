"""Named runs: the same settings go on, others are refused, and two processes never share one."""

import subprocess
import sys

import pytest

from metarec import storage
from metarec.config import load_config
from metarec.errors import ConfigError, StorageError
from metarec.train.run import FREE_TO_CHANGE, RunFolder, locked, name_run, open_run

HOLD = (
    "import fcntl, sys; f = open(sys.argv[1], 'a+'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
)


@pytest.fixture
def config(tmp_path):
    def make(*overrides):
        return load_config(None, ["run.name=first", f"output.root={tmp_path}", *overrides])

    return make


def test_a_new_run_writes_down_its_config_under_the_root(config, tmp_path):
    folder = open_run(config())
    assert folder.uri == str(tmp_path / "runs" / "first")
    state = folder.read_state()
    assert (state["status"], state["format_version"]) == ("new", 1)
    assert state["config"]["run"]["name"] == "first"


def test_the_same_name_and_config_open_the_same_run(config):
    open_run(config()).update_state(status="finished", step=7)
    state = open_run(config()).read_state()
    assert (state["status"], state["step"]) == ("finished", 7)


def test_another_config_under_the_name_is_refused_with_the_keys_that_differ(config):
    open_run(config())
    with pytest.raises(ConfigError) as caught:
        open_run(config("inner.lr=0.0625", "outer.epochs=3"))
    assert str(caught.value) == (
        "run 'first' was started with other settings: inner.lr, outer.epochs differ; choose another run.name, "
        "or leave it out for a new run"
    )


def test_other_machines_may_go_on_with_a_run(config):
    open_run(config())
    assert set(FREE_TO_CHANGE) >= {"train.num_workers", "train.cpus_per_worker", "train.use_gpu"}
    assert open_run(config("train.num_workers=4", "train.cpus_per_worker=2", "train.use_gpu=true")).read_state()


def test_a_run_of_another_format_version_is_refused_with_both_numbers(config):
    open_run(config()).update_state(format_version=9)
    with pytest.raises(StorageError, match=r"run\.json has format_version 9, this metarec reads 1; choose another run"):
        open_run(config())


def test_a_damaged_state_is_refused_by_name(config):
    folder = open_run(config())
    storage.write_bytes(folder.state, b'{"format_')
    with pytest.raises(StorageError, match=r"run\.json is damaged"):
        open_run(config())


def test_a_run_without_a_name_gets_one_of_its_own_that_is_allowed():
    config = load_config(None, ["data.source=movielens-100k"])
    first, second = name_run(config), name_run(config)
    assert first.startswith("ml-100k-")
    assert first != second
    assert load_config(None, [f"run.name={first}"]).run.name == first


def test_a_name_that_was_given_is_kept(config):
    assert name_run(config()) == "first"


def test_a_run_that_another_process_works_on_is_refused_until_that_ends(config):
    folder = open_run(config())
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, f"{folder.uri}/lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(ConfigError, match="run 'first' is being worked on by another process"), locked(folder):
            pytest.fail("two processes held the run")
        other.kill()
    with locked(folder):
        assert storage.exists(f"{folder.uri}/lock")


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_run_on_a_local_disk_is_locked_however_it_is_spelt(config, prefix):
    folder = RunFolder(prefix + open_run(config()).uri)
    with locked(folder), pytest.raises(ConfigError, match="worked on"), locked(folder):
        pytest.fail("the run was held twice")


def test_a_lock_is_free_again_when_its_holder_fails(config):
    folder = open_run(config())
    with pytest.raises(ZeroDivisionError), locked(folder):
        raise ZeroDivisionError
    with locked(folder):
        assert storage.exists(f"{folder.uri}/lock")


def test_every_place_of_a_run_stands_in_its_folder():
    folder = RunFolder("s3://bucket/runs/a")
    places = [folder.checkpoints, folder.journal, folder.report, folder.stop_request, folder.state]
    assert len(set(places)) == 5
    assert all(place.startswith("s3://bucket/runs/a/") for place in places)
