"""The evaluation of several models, over whole catalogues, and what it refuses before any work."""

import json
import socket

import pytest

from tests.jobs.command_line import SMALL, last_line, run_job, start_job
from tests.tracking_server import Gate, TrackingServer


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_pulled(tmp_path):
    (tmp_path / "file").write_text("")
    place = str(tmp_path / "file" / "report.json")
    refused = run_job("evaluate", "--model", "models:/none/1", "--report", place, root=tmp_path)
    assert refused.returncode == 1
    assert last_line(refused.stderr).startswith(f"error: cannot write {place}: ")
    assert refused.stdout == ""


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """The home of two models of one method, and of a third on other ratings."""
    root = tmp_path_factory.mktemp("home")
    for name, settings in {"a": [], "b": ["run.seed=1"], "other": ["synthetic.noise=0.6"]}.items():
        own = (f"run.name={name}", "train.num_workers=0", *settings)
        done = run_job("train", "--set", *SMALL, *own, root=root)
        assert done.returncode == 0, done.stderr
    return root


@pytest.mark.slow
def test_seeds_of_one_method_get_a_row_with_their_mean(seeds, tmp_path):
    models = ["models:/metarec-synthetic/1", "models:/metarec-synthetic/2"]
    report = tmp_path / "report.html"
    arguments = ("--model", *models, "--report", str(report), "--set", *SMALL[-2:])
    done = run_job("evaluate", *arguments, root=seeds)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "report.json").read_text())
    values = {name: sizes["all"]["mae"] for name, sizes in document["evaluation"]["values"].items()}
    both = "mean over seeds 0, 1"
    assert list(values)[-1] == both
    assert values[both] == pytest.approx((values[models[0]] + values[models[1]]) / 2)
    assert not set(models) & document["verdict"]["opponents"].keys()
    assert both in report.read_text()


@pytest.mark.slow
def test_held_out_ratings_are_ranked_in_the_whole_catalogue(seeds, tmp_path):
    report = tmp_path / "report.json"
    settings = (*SMALL[-2:], "evaluate.candidates=all", "evaluate.k=20", "evaluate.support_sizes=[0]")
    arguments = ("--model", "models:/metarec-synthetic/1", "--report", str(report), "--set", *settings)
    done = run_job("evaluate", *arguments, root=seeds)
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())["evaluation"]
    assert 10 < found["num_candidates"] < 40
    assert 0 < found["values"]["global mean"]["all"]["recall_at_20"] < 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("--config", "jobs/configs/movielens-100k.toml"),
            "error: data.source is 'movielens-100k' here, and models:/metarec-synthetic/1 was trained with "
            "'synthetic'; leave it out, or name another model",
        ),
        (
            ("--set", "protocol.name=item_cold"),
            "error: protocol.name is 'item_cold' here, and models:/metarec-synthetic/1 was trained with 'user_cold'; "
            "leave it out, or name another model",
        ),
        (
            ("--set", "inner.steps=7"),
            "error: inner.steps is 7 here, and models:/metarec-synthetic/1 was trained with 3; leave it out, or name "
            "another model",
        ),
    ],
)
def test_settings_that_would_have_no_effect_on_a_trained_model_are_refused(seeds, arguments, sentence):
    refused = run_job("evaluate", "--model", "models:/metarec-synthetic/1", *arguments, root=seeds)
    assert refused.returncode == 1
    assert last_line(refused.stderr) == sentence


@pytest.mark.slow
def test_a_model_is_judged_as_it_was_in_training_but_for_what_is_named(seeds, tmp_path):
    def num_draws(*arguments):
        report = tmp_path / "report.json"
        done = run_job(
            "evaluate", "--model", "models:/metarec-synthetic/1", "--report", str(report), *arguments, root=seeds
        )
        assert done.returncode == 0, done.stderr
        return json.loads(report.read_text())["evaluation"]["num_draws"]

    assert num_draws() == 1
    assert num_draws("--set", "evaluate.num_draws=2") == 2


@pytest.mark.slow
def test_models_of_different_datasets_are_not_judged_together(seeds):
    models = ["models:/metarec-synthetic/1", "models:/metarec-synthetic/3"]
    refused = run_job("evaluate", "--model", *models, root=seeds)
    assert refused.returncode == 1
    assert "models:/metarec-synthetic/3 was trained on dataset" in last_line(refused.stderr)
    assert "starting" not in refused.stdout


@pytest.fixture
def gate(tmp_path):
    """A gate before a server of MLflow."""
    (tmp_path / "server").mkdir()
    server = TrackingServer(tmp_path / "server")
    gate = Gate(server.uri)
    yield gate
    gate.close()
    server.kill()


def a_folder_with_a_model(root):
    return str(next(root.glob("mlflow-artifacts/models/*/artifacts")))


@pytest.mark.slow
def test_a_tracker_that_is_away_is_named_before_anything_is_evaluated(seeds, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    report = tmp_path / "report.json"
    model = ("--model", a_folder_with_a_model(seeds), "--report", str(report))
    refused = run_job("evaluate", *model, "--set", f"tracking.uri={uri}", root=seeds)
    assert refused.returncode == 1
    assert last_line(refused.stderr).startswith(f"error: the MLflow server {uri} does not answer: ")
    assert refused.stdout == ""


@pytest.mark.slow
def test_a_tracker_that_fails_in_the_end_leaves_the_report_and_the_table(seeds, gate, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    report = tmp_path / "report.json"
    model = ("--model", a_folder_with_a_model(seeds), "--report", str(report))
    said = ""
    with start_job("evaluate", *model, "--set", f"tracking.uri={gate.uri}", root=seeds) as job:
        for line in job.stdout:
            said += line
            if "evaluating" in line:
                gate.mode = "error"
    assert job.returncode == 1, said
    assert last_line(said).startswith(f"error: the MLflow server {gate.uri} answers 500; ")
    assert "factorisation + fold-in" in said
    assert json.loads(report.read_text())["kind"] == "report"
