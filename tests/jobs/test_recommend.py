"""`python -m jobs.recommend`, on a small model in a folder."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from jobs import recommend
from metarec import storage
from metarec.build import build_learner
from metarec.config import load_config
from metarec.errors import RegistryError, RequestError
from metarec.learner import Learner
from metarec.schema import FeatureField, Schema
from metarec.task import Catalogue

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Four items with biases 1, 0.5, 0 and -0.5 over an offset of 3, and no training."""
    folder = str(tmp_path_factory.mktemp("model"))
    config = load_config(overrides=["inner.lr=1e-9"])
    schema = Schema((FeatureField("age", "categorical", ("25",)),), (FeatureField("id", "categorical", ("50", "181")),))
    bias = torch.tensor([[1.0], [0.5], [0.0], [-0.5]])
    catalogue = Catalogue({}, {"id": torch.tensor([[1], [2], [0], [0]])}, torch.tensor([3.0]), bias)
    titles = ["Star Way (1977)", "Return (1983)", "Third", "Fourth: a title, long"]
    learner = Learner(build_learner(config, schema), config, schema, catalogue, ["50", "181", "a:b", "9"], titles, {})
    storage.write_bundle(folder, "model", learner.to_files())
    return folder


def arguments(model, ratings, user="", k=2):
    return argparse.Namespace(model=model, ratings=ratings, user=user, k=k)


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
