"""The README and its measurements: each command parses, settings and files exist, and links lead somewhere; the
clustered commands are those that a test runs."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from jobs.benchmark import BENCHMARKS
from jobs.command import make_parser
from metarec.build import ALGORITHMS, MODELS
from metarec.config import load_config
from tests.jobs import test_submit

CHECKOUT = Path(__file__).parents[2]
TEXTS = {name: (CHECKOUT / name).read_text() for name in ("README.md", "jobs/benchmarks/README.md")}
README = TEXTS["README.md"]
LINKING = (*TEXTS, "CONTRIBUTING.md", "cluster/README.md")
SETTINGS = {f"{table}.{key}" for table, settings in vars(load_config()).items() for key in vars(settings)}


def shell(text):
    """The lines of the blocks of commands, those that go on in the next one put together."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", "").splitlines()]


def spans(text):
    """What stands as code within sentences and tables."""
    return re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def jobs(text):
    """Every command that is whole: `…` leaves something out, and WHAT stands for a name."""
    found = [command for line in shell(text) for command in re.findall(r"python -m jobs\.[^&#]+", line)]
    found += [span for span in spans(text) if span.startswith("python -m jobs.")]
    return [command for command in found if "…" not in command and "WHAT" not in command]


def anchors(text):
    """The headings as GitHub names them in links."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", TEXTS)
def test_the_text_shows_commands(name):
    assert len(jobs(TEXTS[name])) >= 4


@pytest.mark.parametrize("command", list(dict.fromkeys(job for text in TEXTS.values() for job in jobs(text))))
def test_a_job_in_the_text_parses(command):
    _, _, module, *arguments = shlex.split(command)
    job = importlib.import_module(module)
    parsed = make_parser(job.__doc__, getattr(job, "add_arguments", lambda parser: None)).parse_args(arguments)
    if parsed.config != "shop.toml":  # the reader's own
        assert load_config(parsed.config and CHECKOUT / parsed.config, parsed.set)


@pytest.mark.parametrize("name", TEXTS)
def test_every_benchmark_that_is_named_exists(name):
    named = set(re.findall(r"python -m jobs\.benchmark\s+(\w+)", TEXTS[name])) - {"WHAT"}
    assert named
    assert named <= {*BENCHMARKS}


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
        assert any(line.startswith(" ".join(["ray", *words])) for line in shell(README)), words
        assert ", ".join(f'"{word}"' for word in words) in source, words


@pytest.mark.parametrize("name", TEXTS)
def test_every_setting_in_the_text_exists(name):
    tables = "|".join(vars(load_config()))
    words = {word for span in spans(TEXTS[name]) for word in span.replace("'", "").split()}
    named = {match[1] for word in words if (match := re.fullmatch(rf"((?:{tables})\.[a-z_]+)(?:=.*)?", word))}
    assert named
    assert named <= SETTINGS


def test_the_readme_names_every_algorithm_and_recommender():
    rows = {name for row in re.findall(r"^\| (`.*?`) \|", README, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert {*ALGORITHMS, *MODELS} <= rows


@pytest.mark.parametrize("name", LINKING)
def test_a_link_leads_to_a_file_and_a_heading_that_exist(name):
    place = CHECKOUT / name
    for link in re.findall(r"\]\((?!https?://)([^)\s]+)\)", place.read_text()):
        path, _, heading = link.partition("#")
        target = place.parent / path if path else place
        assert target.exists(), link
        assert not heading or heading in anchors(target.read_text()), link


@pytest.mark.parametrize("name", LINKING)
def test_the_rows_of_a_table_have_as_many_cells_as_its_head(name):
    text = re.sub(r"```.*?```", "", (CHECKOUT / name).read_text(), flags=re.DOTALL)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows = [re.sub(r"`[^`]*`", "", row).count("|") for row in table.splitlines()]
        assert set(rows) == {rows[0]}, table.splitlines()[0]
