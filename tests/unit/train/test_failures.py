"""Which failures end a run at once, and what a person reads of the last one."""

import errno

import pytest
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

from metarec import storage
from metarec.config import load_config
from metarec.errors import ClusterError, StorageError, TrainingError, UnreachableError
from metarec.train.failures import EndAtOnce, in_one_sentence

FULL = StorageError("cannot write /x: no space left on the device")


@pytest.fixture
def config():
    return load_config(None, ["run.name=r", "train.num_workers=2", "train.max_failures=3"])


def test_an_error_of_ours_ends_a_run_at_once_whichever_worker_had_it():
    with pytest.raises(StorageError, match="no space left"):
        EndAtOnce().after_exception(None, {0: RuntimeError("Connection closed by peer"), 1: FULL})


@pytest.mark.parametrize("failure", [RuntimeError("a bug"), UnreachableError("cannot read s3://x: no answer")])
def test_what_another_try_may_mend_is_left_to_ray(failure):
    EndAtOnce().after_exception(None, {0: failure})


def test_a_refusal_of_the_operating_system_is_final_and_a_silence_of_the_net_is_not():
    full = storage._failed("write", "/x", OSError(errno.ENOSPC, "No space left on device"))
    assert (type(full), full.message) == (StorageError, "cannot write /x: no space left on the device")
    silent = storage._failed("read", "s3://x", OSError("AWS Error NETWORK_CONNECTION during GetObject"))
    assert type(silent) is UnreachableError


def test_our_own_sentence_is_the_last_line_wherever_ray_has_put_it(config):
    assert in_one_sentence(ControllerError(FULL), config, 0.5) is FULL
    assert in_one_sentence(WorkerGroupError("", {1: RuntimeError("x"), 0: FULL}), config, 0.5) is FULL


def test_a_bug_in_a_worker_is_told_with_how_often_it_was_tried(config):
    told = in_one_sentence(WorkerGroupError("", {1: ValueError("odd")}), config, 0.5)
    assert isinstance(told, TrainingError)
    assert told.message.startswith(
        "worker 1 of run 'r' failed 4 times, last with ValueError: odd; run the same command"
    )


def test_a_wait_in_vain_is_told_with_what_was_needed(config):
    told = in_one_sentence(ControllerError(WorkerGroupStartupTimeoutError(num_workers=2)), config, 0.5)
    assert isinstance(told, ClusterError)
    assert told.message.startswith(
        "run 'r' found no room for its workers in the 30 minutes of train.max_wait_minutes: train.num_workers = 2 x "
        "0.5 CPUs + 2 x 0.25 for Ray Data = 1.5 CPUs; add nodes"
    )
