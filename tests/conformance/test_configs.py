"""Every named run: it parses, it builds, and its first line is the command that runs it."""

import shlex
from pathlib import Path

import pytest

from metarec.build import build_learner
from metarec.config import load_config
from tests.worlds import make_schema

CHECKOUT = Path(__file__).parents[2]
CONFIGS = sorted((CHECKOUT / "jobs" / "configs").glob("*.toml"))


def test_there_are_named_runs():
    assert CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_named_run_builds_a_learner(path):
    assert list(build_learner(load_config(path), make_schema()).parameters())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_first_line_is_the_command_that_runs_it(path):
    command = shlex.split(path.read_text().splitlines()[0].removeprefix("# "))
    assert command == ["python", "-m", "jobs.train", "--config", f"jobs/configs/{path.name}"]
