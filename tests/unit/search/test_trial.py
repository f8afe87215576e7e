"""Who holds the run of a trial, and for how long."""

import pytest

from metarec.errors import ConfigError
from metarec.search.trial import HELD_TO_THE_END, locked_in_time
from metarec.train.run import RunFolder, locked


@pytest.fixture
def folder(tmp_path):
    yield RunFolder(str(tmp_path / "run"))
    while HELD_TO_THE_END:
        HELD_TO_THE_END.pop().close()


def test_a_trial_that_has_returned_or_failed_holds_its_run_no_longer(folder):
    with locked_in_time(folder):
        pass
    with pytest.raises(ValueError, match="broken"), locked_in_time(folder):
        raise ValueError("broken")
    with locked(folder):
        pass


def test_a_trial_that_tune_stops_holds_its_run_until_its_process_ends(folder):
    with pytest.raises(SystemExit), locked_in_time(folder):
        raise SystemExit(0)
    with pytest.raises(ConfigError, match="is being worked on by another process"), locked(folder):
        pass
