"""Registering, promoting and pulling, on a real sqlite store."""

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

import metarec
from jobs.train import beside_champion, champion_learner
from metarec import storage
from metarec.config import load_config
from metarec.errors import RegistryError, StorageError
from metarec.registry import candidate, champion, promote, pull
from metarec.tracking import start_run
from tests.planted_evaluation import planted_evaluation
from tests.registered import REPORT, VERDICT, bundle_of, register
from tests.tiny_learner import ITEMS, tiny_learner

RATINGS = {"7": 5, "13": 2}


@pytest.fixture(scope="module")
def version(store, config):
    """Version 1 of `tiny`."""
    return register(store, config, "tiny")


def expected():
    return tiny_learner().adapt(RATINGS).predict(ITEMS)


@pytest.mark.parametrize(
    "form", ["models:/tiny/1", "models:/tiny@candidate", "runs:/{run_id}/model", "{bundle}", "{model}"]
)
def test_a_pulled_learner_predicts_as_the_one_registered(store, version, form):
    bundle = bundle_of(store, version)
    uri = form.format(run_id=version.run_id, bundle=bundle, model=bundle.parent.parent)
    pulled = metarec.pull(uri, tracking_uri=store.uri)
    assert pulled.adapt(RATINGS).predict(ITEMS) == pytest.approx(expected(), abs=1e-6)


def test_a_version_says_where_it_comes_from(store, version):
    assert version.uri == "models:/tiny/1"
    assert version.fingerprint == "ab" * 32
    assert version.verdict == VERDICT
    assert version.tags["run.name"] == "run-1"
    assert [float(version.tags[f"metric.mae{end}"]) for end in ("", ".low", ".high")] == [0.75, 0.7, 0.8]


def test_config_and_report_travel_with_the_model(store, version):
    record = bundle_of(store, version).parent / "record"
    assert load_config(record / "config.toml") == tiny_learner().config
    assert (record / "report.json").read_bytes() == REPORT


def test_the_newest_version_is_the_candidate_and_nothing_is_champion_by_itself(store, config):
    register(store, config, "two")
    second = register(store, config, "two")
    assert candidate(store, "two") == second
    assert champion(store, "two") is None


def test_an_unknown_model_is_answered_with_what_is_registered(store, version):
    with pytest.raises(
        RegistryError, match=r"no model models:/tyny@champion; registered: .*tiny.*python -m jobs\.train"
    ):
        pull("models:/tyny@champion", tracking_uri=store.uri)


def test_an_unknown_alias_is_answered_with_the_aliases_there(store, version):
    with pytest.raises(RegistryError, match=r"no models:/tiny@winner; tiny has versions 1 and aliases @candidate"):
        pull("models:/tiny@winner", tracking_uri=store.uri)


@pytest.mark.parametrize("uri", ["models:/tiny", "models:tiny@champion", "models:/tiny/latest", "runs:/0123/other"])
def test_a_malformed_uri_is_answered_with_the_right_form(store, version, uri):
    with pytest.raises(RegistryError, match=r"is no model URI; use models:/NAME@ALIAS"):
        pull(uri, tracking_uri=store.uri)


def test_a_run_without_a_model_says_so(store, config):
    with start_run(store, "bare", config) as run:
        pass
    with pytest.raises(RegistryError, match="has logged no model"):
        pull(f"runs:/{run.run_id}/model", tracking_uri=store.uri)


def test_an_unknown_run_is_named(store, version):
    with pytest.raises(RegistryError, match="no model runs:/0123/model: the run is not in this store"):
        pull("runs:/0123/model", tracking_uri=store.uri)


def test_pulling_from_a_store_that_does_not_exist_makes_none(tmp_path):
    with pytest.raises(RegistryError, match=r"nothing is registered in sqlite:///.*python -m jobs\.train"):
        pull("models:/tiny@champion", tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(StorageError, match=rf"model {tmp_path} cannot be used: cannot read {tmp_path}/manifest.json"):
        pull(str(tmp_path))


@pytest.mark.parametrize("name", ["weights.safetensors", "catalogue.safetensors", "learner.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_file_is_refused_by_name(tmp_path, name, damage):
    storage.write_bundle(str(tmp_path), "model", tiny_learner().to_files())
    content = (tmp_path / name).read_bytes()
    damaged = {"flip": content[:-1] + bytes([content[-1] ^ 1]), "truncate": content[:-1]}
    (tmp_path / name).unlink()
    if damage in damaged:
        (tmp_path / name).write_bytes(damaged[damage])
    with pytest.raises(StorageError, match=rf"model .* cannot be used: .*{name}"):
        pull(str(tmp_path))


def test_a_model_holds_nothing_to_unpickle(store, version):
    folder = bundle_of(store, version).parent.parent
    suffixes = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert suffixes <= {"", ".py", ".c", ".h", ".json", ".toml", ".yaml", ".txt", ".safetensors", ".typed"}
    assert not list(folder.rglob("__pycache__"))


def test_its_requirements_are_met_without_any_index(store, version):
    folder = bundle_of(store, version).parent.parent
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-index",
        "--dry-run",
        "-r",
        str(folder / "requirements.txt"),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Would install" not in done.stdout


def test_its_requirements_are_pinned_and_metarec_travels_with_it(store, version):
    folder = bundle_of(store, version).parent.parent
    requirements = (folder / "requirements.txt").read_text().split()
    assert all("==" in line and "+" not in line for line in requirements)
    assert {line.split("==")[0] for line in requirements} >= {"mlflow", "torch", "safetensors", "pyarrow", "tomli-w"}
    assert (folder / "code" / "metarec" / "serving" / "learner.py").exists()


AUDITED = """
import json, sys
import mlflow, mlflow.artifacts, mlflow.pyfunc, safetensors.torch, torch
import metarec.registry
uri, store, folder = sys.argv[1:]
seen = []
def hook(event, args):
    if event == "pickle.find_class" or (event in ("exec", "compile", "import") and folder in str(args)):
        seen.append((event, str(args)[:200]))
sys.addaudithook(hook)
learner = metarec.pull(uri, tracking_uri=store)
scores = learner.adapt({"7": 5, "13": 2}).predict(["7", "11", "13", "17", "19"])
by_pulling = list(seen)
mlflow.set_tracking_uri(store)
mlflow.pyfunc.load_model(uri)
print(json.dumps({"scores": scores, "by_pulling": by_pulling, "by_mlflow": len(seen)}))
"""


def test_pulling_in_a_fresh_process_unpickles_and_runs_nothing_of_the_artifact(store, version):
    """MLflow's own loading runs the model's code, which shows that the hook would notice."""
    folder = str(bundle_of(store, version).parent.parent)
    command = [sys.executable, "-c", AUDITED, "models:/tiny/1", store.uri, folder]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["scores"] == pytest.approx(expected(), abs=1e-6)
    assert answer["by_pulling"] == []
    assert answer["by_mlflow"] > 0


SERVED = """
import json, sys
import mlflow, pandas
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/tiny@candidate")
example = model.predict(model.input_example, params={"k": 2})
users = pandas.DataFrame({"support_items": [["7", "13"], []], "support_ratings": [[5.0, 2.0], []]})
import metarec.serving.learner
best = model.predict(users, params={"k": 3}).to_dict("list")
ours = [module.__file__ for name, module in sys.modules.items() if name.startswith("metarec") and module.__file__]
print(json.dumps([metarec.serving.learner.__file__, len(example["items"][0]), best, ours]))
"""


def test_mlflow_serves_it_from_its_own_code_in_a_fresh_process(store, version, tmp_path):
    command = [sys.executable, "-c", SERVED, store.uri]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    code, example, users, ours = json.loads(done.stdout.splitlines()[-1])
    requirements = (bundle_of(store, version).parent.parent / "requirements.txt").read_text().split()
    assert distributions_imported_by(ours) <= {line.split("==")[0] for line in requirements}
    assert "/artifacts/code/metarec/" in code
    assert example == 2
    best = [tiny_learner().adapt(ratings).recommend(k=3) for ratings in (RATINGS, {})]
    assert users["items"] == [[each.item for each in row] for row in best]
    assert users["titles"] == [[each.title for each in row] for row in best]
    assert pd.DataFrame(users["scores"]).values == pytest.approx(
        pd.DataFrame([[each.score for each in row] for row in best]).values, abs=1e-6
    )


def distributions_imported_by(files):
    """What must be installed for these files: the distributions of all that they import."""
    homes, found = importlib.metadata.packages_distributions(), set()
    for node in (node for file in files for node in ast.walk(ast.parse(Path(file).read_text()))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        roots = {name.partition(".")[0] for name in names} - {"metarec"} - sys.stdlib_module_names
        found |= {homes[root][0].replace("_", "-") for root in roots}
    return found


def test_the_champion_is_judged_with_the_seconds_that_its_training_took(store, config, monkeypatch):
    trained, candidate = tiny_learner(), tiny_learner()
    trained.facts["training_seconds"], candidate.facts["training_seconds"] = 7.0, 9.0
    promote(store, config.model_name, register(store, config, config.model_name, trained).number)
    given = {}

    def judged(config, dataset, predictors, *, training_seconds):
        given.update(training_seconds)
        return planted_evaluation(predictors=("global mean", "item-kNN", *predictors))

    monkeypatch.setattr("metarec.baselines.floors_for", lambda config: {})
    monkeypatch.setattr("jobs.evaluate.evaluate_on_test", judged)
    dataset = SimpleNamespace(fingerprint="ab" * 32, catalogue=lambda: None, histories=lambda split: None)
    tracked = SimpleNamespace(store=store, run_id="of the candidate")
    beside_champion(config, dataset, tracked, candidate, "maml")
    assert given == {"champion v1": 7.0, "maml": 9.0}


def test_a_champion_that_cannot_be_read_is_a_reason_not_to_promote_and_no_end_of_training(store, config):
    dataset = SimpleNamespace(fingerprint="ab" * 32)
    assert champion_learner(dataset, store, None) == ({}, None)
    version = register(store, config, "hurt")
    rivals, fault = champion_learner(dataset, store, version)
    assert list(rivals) == ["champion v1"]
    assert fault is None
    other = SimpleNamespace(fingerprint="cd" * 32)
    assert champion_learner(other, store, version)[1] == (
        "models:/hurt/1, the champion, was trained on another dataset (fingerprint abababababab, not cdcdcdcdcdcd), so "
        "that the two cannot be compared"
    )
    weights = next(bundle_of(store, version).rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1])
    rivals, fault = champion_learner(dataset, store, version)
    assert rivals == {}
    assert re.fullmatch(
        r"models:/hurt/1, the champion, cannot be read \(model models:/hurt/1 cannot be used: .*\.safetensors.*\); "
        r"python -m jobs\.promote --force makes the candidate champion in its place",
        fault,
    )
