"""`python -m jobs.recommend`, on a small model in a folder."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import metarec
from jobs import recommend
from metarec import storage
from metarec.build import build_learner
from metarec.config import load_config
from metarec.errors import RegistryError, RequestError
from metarec.schema import FeatureField, Schema
from metarec.serving.learner import STATISTICS, Learner
from metarec.task import Catalogue

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Four items with biases 1, 0.5, 0 and -0.5 over an offset of 3, and no training."""
    folder = str(tmp_path_factory.mktemp("model"))
    config = load_config(overrides=["inner.lr=1e-9"])
    fields = FeatureField("id", "categorical", ("50", "181")), FeatureField("genres", "multi_valued", ("war",))
    schema = Schema((FeatureField("age", "categorical", ("25",)),), fields)
    bias = torch.tensor([[1.0], [0.5], [0.0], [-0.5]])
    features = {"id": torch.tensor([[1], [2], [0], [0]]), "genres": torch.tensor([[1], [0], [0], [0]])}
    catalogue = Catalogue({}, features, torch.tensor([3.0]), bias)
    titles = ["Star Way (1977)", "Return (1983)", "Third", "Fourth: a title, long"]
    learner = Learner(build_learner(config, schema), config, schema, catalogue, ["50", "181", "a:b", "9"], titles, {})
    storage.write_bundle(folder, "model", learner.to_files())
    return folder


def arguments(model, ratings=None, user="", k=None, **others):
    others = {"explain": False, "allow": None, "deny": None, "users": None, "out": None, "ask": None} | others
    others = {"items": None} | others
    return argparse.Namespace(model=model, ratings=ratings, user=user, k=k, **{"by": None} | others)


def test_prints_a_numbered_table_of_what_the_user_has_not_rated(model, capsys):
    """The user gave 4 to an item whose base is 4, so the bias is 0 and the rest keep theirs."""
    recommend.run(load_config(), arguments(model, "50:4", "age=25", k=3))
    assert capsys.readouterr().out.splitlines() == [
        "   item  title                  score",
        "1  181   Return (1983)           3.50",
        "2  a:b   Third                   3.00",
        "3  9     Fourth: a title, long   2.50",
    ]


def test_without_ratings_the_best_for_anybody_are_printed(model, capsys):
    recommend.run(load_config(), arguments(model, "", k=1))
    assert capsys.readouterr().out.splitlines()[1].split() == ["1", "50", "Star", "Way", "(1977)", "4.00"]


def test_under_each_item_stands_what_the_ratings_did_to_its_score(model, capsys):
    """One rating of 5 leaves 1 over its base of 4; the user's bias is 1 / (1 + 5) with the default damping."""
    recommend.run(load_config(), arguments(model, "50:5", k=1, explain=True))
    _, line, reason = capsys.readouterr().out.splitlines()
    damping = load_config().model.user_bias_damping
    assert line.split() == ["1", "181", "Return", "(1983)", f"{3.5 + 1 / (1 + damping):.2f}"]
    assert reason == f"     {1 / (1 + damping):+.2f}  5 for Star Way (1977) (50)"


def test_lists_say_what_may_be_recommended(model, capsys, tmp_path):
    (tmp_path / "allow").write_text("181\n9\na:b\nabsent\n")
    (tmp_path / "deny").write_text("181\n\n")
    lists = {name: str(tmp_path / name) for name in ("allow", "deny")}
    recommend.run(load_config(), arguments(model, "a:b:3", k=1, **lists))
    first, _, line = capsys.readouterr().out.splitlines()
    assert first == "1 listed items are unknown to the model: absent"
    assert line.split()[1] == "9"
    with pytest.raises(RequestError, match="k is 2; use 1 to 1, the items without a rating"):
        recommend.run(load_config(), arguments(model, "a:b:3", k=2, **lists))


def test_items_of_a_table_are_rated_recommended_and_explained(model, capsys, tmp_path):
    """They are at the offset of 3; the user gave 4 to one of them, which is 1 / (1 + 5) above for all others."""
    place, damping = tmp_path / "items.csv", load_config().model.user_bias_damping
    place.write_text("item_id,name,genres,stock\n50,Renamed,war,1\nnew:1,First,war|drama,2\nnew:2,Second,,3\n,,,\n")
    (tmp_path / "allow").write_text("new:2\n")
    config = load_config(overrides=["tables.title=name"])
    lists = {"allow": str(tmp_path / "allow")}
    recommend.run(config, arguments(model, "new:1:4", k=1, items=str(place), explain=True, **lists))
    assert capsys.readouterr().out.splitlines() == [
        f"1 rows of {place} left out: the id is missing",
        f"1 items of {place} are known to the model and stay as they are",
        "   item   title   score",
        f"1  new:2  Second   {3 + 1 / (1 + damping):.2f}",
        f"     {1 / (1 + damping):+.2f}  4 for First (new:1)",
    ]


def test_columns_that_a_table_of_items_lacks_are_named(model, capsys, tmp_path):
    (tmp_path / "items.csv").write_text("item_id\nnew\n")
    config = load_config(overrides=["tables.title=name"])
    recommend.run(config, arguments(model, "", k=5, items=f"{tmp_path}/items.csv"))
    first, _, *lines = capsys.readouterr().out.splitlines()
    assert first == f"{tmp_path}/items.csv has no column name, genres: unknown of its 1 new items"
    assert ["4", "new", "new", "3.00"] in [line.split() for line in lines]


def test_a_table_of_known_items_changes_nothing(model, capsys, tmp_path):
    (tmp_path / "items.csv").write_text("item_id\n50\n9\n")
    recommend.run(load_config(), arguments(model, "", k=4, items=f"{tmp_path}/items.csv"))
    first, _, *lines = capsys.readouterr().out.splitlines()
    assert first == f"2 items of {tmp_path}/items.csv are known to the model and stay as they are"
    assert [line.split()[1] for line in lines] == ["50", "181", "a:b", "9"]


def test_lists_that_leave_nothing_are_refused(model, tmp_path):
    (tmp_path / "allow").write_text("absent\n")
    with pytest.raises(RequestError, match="leave none of the 4 items of this model; allow more or deny fewer"):
        recommend.run(load_config(), arguments(model, "", allow=str(tmp_path / "allow")))


def test_a_list_that_is_no_text_is_refused(model, tmp_path):
    (tmp_path / "deny").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(RequestError, match=r"deny is not text in UTF-8 .*; write one id a line"):
        recommend.run(load_config(), arguments(model, "", deny=str(tmp_path / "deny")))


def test_the_items_to_ask_about_are_printed(model, capsys, tmp_path):
    """Variances 0.25 and 1, both rated three times: log 4 = 1.386."""
    learner = metarec.pull(model)
    learner.facts[STATISTICS] = {"num_ratings": [3, 3, 0, 0], "mean": [4, 3, 0, 0], "variance": [0.25, 1.0, 0, 0]}
    storage.write_bundle(str(tmp_path), "model", learner.to_files())
    recommend.run(load_config(), arguments(str(tmp_path), ask=2))
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["item", "title", "variance"]
    assert [line.split()[1] for line in lines] == ["181", "50"]
    assert [line.split()[-1] for line in lines] == ["1.386", "0.347"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"users": "a.csv"}, "--users and --out go together"),
        ({"ratings": "", "out": "x"}, "--users and --out go together"),
        ({"users": "a.csv", "out": "x", "explain": True}, "--explain needs --ratings"),
        ({"ask": 3, "user": "age=25"}, "--user needs --ratings"),
        (
            {"ask": 3, "items": "x"},
            "--items: what to ask about is chosen by training ratings, which new items have none",
        ),
        ({"ratings": "", "by": "evidence"}, "--by says how --ask chooses"),
        ({"ask": 3, "k": 5}, "-k says how many items to recommend, --ask how many to ask about"),
        ({"ask": 3, "deny": "x"}, "--deny says what may be recommended; leave it out with --ask"),
    ],
)
def test_arguments_without_effect_are_refused(model, given, sentence):
    with pytest.raises(RequestError, match=sentence):
        recommend.run(load_config(), arguments(model, **given))


def test_ratings_and_features_are_read_from_text():
    assert recommend.parse_ratings(" 50:5, a:b:4.5 ") == [("50", 5.0), ("a:b", 4.5)]
    assert recommend.parse_ratings("") == []
    assert recommend.parse_user("age=25, gender=F") == {"age": "25", "gender": "F"}
    assert recommend.parse_user("") == {}


@pytest.mark.parametrize("text", ["50", "50:", ":5", "50:five", "50:5,,181:4", "50=5", ","])
def test_malformed_ratings_are_refused_with_the_form(text):
    with pytest.raises(RequestError, match=r'--ratings: .* is not of the form ITEM:RATING; write it like "50:5,181:4"'):
        recommend.parse_ratings(text)


@pytest.mark.parametrize("text", ["age", "=25", "age=25,", "age=25,age=30"])
def test_malformed_features_are_refused_with_the_form(text):
    with pytest.raises(RequestError, match=r'--user: .* write it like "age=25,gender=F"'):
        recommend.parse_user(text)


def test_the_store_of_the_config_is_asked_for_a_registered_model(tmp_path):
    config = load_config(overrides=[f'output.root="{tmp_path}"'])
    with pytest.raises(RegistryError, match=rf"nothing is registered in sqlite:///{tmp_path}/mlflow\.db"):
        recommend.run(config, arguments("models:/absent@champion", "50:5"))


def run_command(*words):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "jobs.recommend", *words],
        check=False, capture_output=True, text=True, timeout=120, cwd=ROOT, env=environment,
    )  # fmt: skip


def test_the_command_prints_the_table_and_does_not_load_ray(model):
    done = run_command("--model", model, "--ratings", "50:4", "-k", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["1", "181", "Return", "(1983)", "3.50"]
    assert not [line for line in done.stderr.splitlines() if line.split("|")[-1].strip() == "ray"]


def test_the_command_ends_with_the_reason_when_an_item_is_unknown(model):
    done = run_command("--model", model, "--ratings", "star:4")
    assert done.returncode == 1
    last = [line for line in done.stderr.splitlines() if not line.startswith("import time:")][-1]
    assert "item 'star' is not among the 4 items of this model; nearest: '50' (Star Way (1977))" in last
