"""What every command shares: how it ends, and what a signal does to it."""

import os
import signal

import pytest

from jobs import command
from metarec.config import load_config
from metarec.errors import ClusterError, ConfigError
from metarec.train.run import open_run


def test_a_signal_in_the_middle_of_a_print_is_no_error(capfd):
    """Hundreds of signals beside prints: a handler that printed would be entered twice sooner or later."""
    for _ in range(300):
        with command.stop_on_signal() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            print("progress " * 50, flush=True)
            assert stop.is_set()
    assert capfd.readouterr().out.count("SIGTERM: saving a checkpoint and stopping") == 300


def test_the_second_signal_stops_at_once():
    with command.stop_on_signal() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_handlers_of_before_are_back_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    with command.stop_on_signal():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("ending", "code", "line"),
    [
        (ConfigError("inner.lr is -1.0; use a number above 0"), "error: inner.lr is -1.0; use a number above 0", None),
        (command.Interrupted("run a is saved"), 130, "stopped: run a is saved\n"),
        (KeyboardInterrupt(), 130, "stopped: interrupted\n"),
    ],
)
def test_a_command_ends_with_one_sentence_and_a_code(monkeypatch, capsys, ending, code, line):
    monkeypatch.setattr("sys.argv", ["job"])
    before = signal.getsignal(signal.SIGTERM)

    def run(config, arguments):
        raise ending

    with pytest.raises(SystemExit) as exit_info:
        command.main("A job.", run)
    signal.signal(signal.SIGTERM, before)
    assert exit_info.value.code == code
    assert line is None or capsys.readouterr().err == line


def test_overrides_may_be_given_in_one_go_or_several():
    parser = command.make_parser("A job.")
    parsed = parser.parse_args(["--set", "inner.lr=1", "run.seed=2", "--set", "outer.lr=3"])
    assert parsed.set == ["inner.lr=1", "run.seed=2", "outer.lr=3"]


def no_room(config):
    raise ClusterError("no room")


def test_a_run_without_room_is_refused_before_anything_is_written(tmp_path):
    config = load_config(None, ["run.name=a", f"output.root={tmp_path}"])
    with pytest.raises(ClusterError, match="no room"), command.room_for(config, no_room):
        pytest.fail("went on")
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_finished_asks_for_no_room(tmp_path):
    config = load_config(None, ["run.name=a", f"output.root={tmp_path}"])
    open_run(config).update_state(summary="its result")
    with command.room_for(config, no_room) as due:
        assert not due
