"""The main job, run as a person would."""

import json
import re
import shlex
import signal
import subprocess
import time

import pytest
from mlflow import MlflowClient

from tests.jobs.command_line import SMALL, last_line, run_job, start_job, until


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The home of one finished small run on two workers, and what it printed."""
    root = tmp_path_factory.mktemp("home")
    done = run_job("train", "--set", "run.name=first", *SMALL, root=root)
    assert done.returncode == 0, done.stdout + done.stderr
    return root, done


def test_training_ends_with_the_table_where_its_report_lies_and_three_next_steps(finished):
    root, done = finished
    floors = (
        "global mean",
        "user median",
        "item + user bias",
        "item-kNN",
        "factorisation + fold-in",
        "factor analysis + fold-in",
    )
    assert all(name in done.stdout for name in floors)
    before, steps = done.stdout.split("next steps:")
    assert len(steps.strip().splitlines()) == 3
    folder = root / "runs" / "first"
    assert before.strip().splitlines()[-1] == f"report: {folder / 'report.json'} and {folder / 'report.html'}"
    assert done.stderr == ""


def test_every_training_task_is_seen_once_an_epoch(finished):
    _, done = finished
    assert "0 dropped or repeated" in done.stdout


def test_the_run_is_tracked_with_params_metrics_report_and_curve(finished):
    root, _ = finished
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    experiment = client.get_experiment_by_name("metarec")
    (run,) = client.search_runs([experiment.experiment_id], "attributes.run_name = 'first'")
    assert run.info.status == "FINISHED"
    assert run.data.params["inner.steps"] == "3"
    assert {"test.mae", "test.precision_at_5", "test.auc"} <= run.data.metrics.keys()
    steps = client.get_metric_history(run.info.run_id, "train.loss")
    assert [metric.step for metric in steps] == list(range(len(steps)))
    names = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert {"report.json", "report.html", "adaptation-curve.png", "results.txt"} <= names


def test_the_three_next_steps_work_as_they_are_printed(finished):
    """The one that starts a server is left to the MLflow it belongs to."""
    root, done = finished
    steps = [line.strip() for line in done.stdout.split("next steps:")[1].strip().splitlines()]
    recommend, evaluate = (shlex.split(step)[2:] for step in (steps[0], steps[2]))
    recommended = run_job(recommend[0].removeprefix("jobs."), *recommend[1:], root=root)
    assert recommended.returncode == 0, recommended.stderr
    assert len(recommended.stdout.strip().splitlines()) == 11
    rated = {pair.partition(":")[0] for pair in recommend[recommend.index("--ratings") + 1].split(",")}
    assert not rated & {line.split()[1] for line in recommended.stdout.splitlines()[1:]}
    evaluated = run_job(evaluate[0].removeprefix("jobs."), *evaluate[1:], root=root)
    assert evaluated.returncode == 0, evaluated.stderr
    assert "factorisation + fold-in" in evaluated.stdout


def test_a_finished_run_prints_its_result_again_without_training(finished):
    root, first = finished
    started = time.monotonic()
    again = run_job("train", "--set", "run.name=first", *SMALL, root=root)
    assert again.returncode == 0
    assert again.stdout.splitlines()[-3:] == first.stdout.splitlines()[-3:]
    assert "starting" not in again.stdout
    assert time.monotonic() - started < 30


def test_the_same_name_with_another_config_is_refused_with_the_keys_that_differ(finished):
    root, _ = finished
    refused = run_job("train", "--set", "run.name=first", *SMALL, "inner.lr=0.01", root=root)
    assert refused.returncode == 1
    assert last_line(refused.stderr) == (
        "error: run 'first' was started with other settings: inner.lr differ; "
        "choose another run.name, or leave it out for a new run"
    )


def test_evaluation_of_the_candidate_repeats_the_figures_of_training(finished, tmp_path):
    root, _ = finished
    report = tmp_path / "report.json"
    model = "models:/metarec-synthetic/1"
    done = run_job("evaluate", "--set", *SMALL[-2:], "--model", model, "--report", str(report), root=root)
    assert done.returncode == 0, done.stderr
    ours = json.loads(report.read_text())["evaluation"]["values"][model]["all"]["mae"]
    report_of_training = json.loads((root / "runs/first/report.json").read_text())
    trained = report_of_training["evaluation"]["values"]["maml on melu"]["all"]["mae"]
    assert ours == pytest.approx(trained, abs=1e-5)
    assert report_of_training["dataset"] == "synthetic"
    assert re.fullmatch("[0-9a-f]{64}", report_of_training["fingerprint"])
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    (run, *_) = client.search_runs(
        [client.get_experiment_by_name("metarec").experiment_id], f"attributes.run_name = 'evaluate {model}'"
    )
    assert run.info.status == "FINISHED"
    assert run.data.metrics["test.mae"] == pytest.approx(ours)


def test_an_evaluation_refuses_lists_longer_than_a_task_can_fill(finished):
    root, _ = finished
    refused = run_job("evaluate", "--model", "models:/metarec-synthetic/1", "--set", "evaluate.k=11", root=root)
    assert refused.returncode == 1
    assert last_line(refused.stderr) == (
        "error: evaluate.k is 11, but a task has 10 query rows to rank (task.num_query); use 10 or less, or "
        "evaluate.candidates=all"
    )
    assert refused.stdout == ""


@pytest.mark.slow
def test_a_run_that_was_killed_when_its_model_was_champion_already_finds_it_again(tmp_path):
    small = ("--set", "run.name=first", *SMALL, "train.num_workers=0")
    assert run_job("train", *small, root=tmp_path).returncode == 0
    assert run_job("promote", "--force", root=tmp_path).returncode == 0
    state = tmp_path / "runs/first/run.json"
    document = json.loads(state.read_text())
    del document["summary"]
    state.write_text(json.dumps({**document, "status": "running"}))
    again = run_job("train", *small, root=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "models:/metarec-synthetic@candidate is version 1" in again.stdout
    assert "champion v1" not in again.stdout
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    assert [version.version for version in client.search_model_versions("name = 'metarec-synthetic'")] == [1]


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("inner.lr=-1", "inner.lr is -1.0; use a number above 0"),
        ("algorithm.adapt=decoder.*", "algorithm.adapt: 'decoder.*' selects no parameter; there are network"),
        ("registry.model=a/b", "registry.model is 'a/b'; use a name without '/', ':', '@' and \"'\""),
        ("inner.rl=1", "unknown setting 'inner.rl'; did you mean 'inner.lr'?"),
        ("evaluate.k=11", "evaluate.k is 11, but a task has 10 query rows to rank (task.num_query); use 10 or less"),
    ],
)
def test_bad_settings_end_with_one_sentence(setting, sentence, tmp_path):
    refused = run_job("train", "--set", *SMALL, setting, root=tmp_path)
    assert refused.returncode == 1
    assert sentence in last_line(refused.stderr)
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("candidates", ["rated", "all"])
def test_lists_longer_than_any_test_task_can_fill_are_refused_before_training(candidates, tmp_path):
    """Of 40 items; `task.num_query`, which is 10, sets no query of warm."""
    settings = ("protocol.name=warm", "evaluate.k=41", f"evaluate.candidates={candidates}")
    refused = run_job("train", "--set", *SMALL, *settings, root=tmp_path)
    assert refused.returncode == 1
    assert last_line(refused.stderr).startswith("error: evaluate.k is 41, but no test user of synthetic has more than ")
    assert "Traceback" not in refused.stderr
    assert "plan:" not in refused.stdout


def test_more_workers_than_the_machine_has_room_for_are_refused_with_the_sum_and_nothing_is_left_behind(tmp_path):
    refused = run_job("train", "--set", *SMALL, "train.num_workers=64", root=tmp_path)
    assert refused.returncode == 1
    assert last_line(refused.stderr).startswith(
        "error: train.num_workers = 64 x 0.5 CPUs + 64 x 0.25 for Ray Data = 48 CPUs, but the cluster has "
    )
    assert not list(tmp_path.iterdir())


def test_an_output_root_that_cannot_be_written_ends_with_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    refused = run_job("train", "--set", *SMALL, root=tmp_path / "file")
    assert refused.returncode == 1
    assert "cannot write" in last_line(refused.stderr)
    assert "output.root" in last_line(refused.stderr)


def test_a_stopped_run_saves_says_how_to_go_on_and_goes_on(tmp_path):
    long = ("--set", "run.name=long", *SMALL, "outer.epochs=200", "train.checkpoint_every=50", "train.num_workers=0")
    process = start_job("train", *long, root=tmp_path, stderr=subprocess.PIPE)
    until(process, "epoch 2/")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "go on with --set run.name=long" in last_line(errors)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("metarec").experiment_id])
    assert run.info.status == "KILLED"
    resumed = run_job("train", *long[:-1], "train.num_workers=0", root=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "0 dropped or repeated" in resumed.stdout
    assert "epoch 1/" not in resumed.stdout.split("plan:")[1]
    assert client.get_run(run.info.run_id).info.status == "FINISHED"
