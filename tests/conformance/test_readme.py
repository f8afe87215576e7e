"""The README's commands: each parses, names files that exist, and the clustered ones are those that a test runs."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from jobs.command import make_parser
from metarec.build import ALGORITHMS, MODELS
from metarec.config import load_config
from tests.jobs import test_submit

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text()
SHELL = [line for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
JOBS = [command for line in SHELL for command in re.findall(r"python -m jobs\.[^&#]+", line)]


def test_the_readme_shows_commands():
    assert len(JOBS) >= 4


@pytest.mark.parametrize("command", JOBS)
def test_a_job_in_the_readme_parses(command):
    _, _, module, *arguments = shlex.split(command)
    job = importlib.import_module(module)
    parsed = make_parser(job.__doc__, getattr(job, "add_arguments", lambda parser: None)).parse_args(arguments)
    assert load_config(parsed.config and CHECKOUT / parsed.config, parsed.set)


@pytest.mark.parametrize("table", re.findall(r"```toml\n(.*?)```", README, re.DOTALL))
def test_a_config_in_the_readme_is_valid(table, tmp_path):
    (tmp_path / "shop.toml").write_text(table)
    assert load_config(tmp_path / "shop.toml").dataset_name == "shop"


def test_the_first_command_stands_before_line_25():
    lines = README.splitlines()
    assert lines.index(next(line for line in lines if "python -m jobs.train" in line)) < 25


def test_the_commands_for_a_cluster_are_those_that_a_test_runs():
    source = Path(test_submit.__file__).read_text()
    for words in (["get-auth-token", "--generate"], ["start", "--head"], ["job", "submit", "--address"]):
        assert any(line.startswith(" ".join(["ray", *words])) for line in SHELL), words
        assert ", ".join(f'"{word}"' for word in words) in source, words


@pytest.mark.parametrize(
    "name", re.findall(r"^\| `([a-z_]+\.[a-z_]+)`(?:, `([a-z_]+\.[a-z_]+)`)? \|", README, re.MULTILINE)
)
def test_a_setting_in_the_readme_exists(name):
    known = {f"{table}.{key}" for table, settings in vars(load_config()).items() for key in vars(settings)}
    assert {each for each in name if each} <= known


def test_the_readme_names_every_algorithm_and_recommender():
    rows = {name for row in re.findall(r"^\| (`.*?`) \|", README, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert {*ALGORITHMS, *MODELS} <= rows
