"""A search, run as a person would: its trials, its best, its runs in MLflow, and how it goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

import tune_spaces
from jobs.tune import load_space
from metarec import storage
from metarec.config import load_config
from metarec.errors import ConfigError
from metarec.search.trials import Trials
from metarec.train.checkpoint import KIND
from metarec.train.journal import read_journal
from tests.jobs.command_line import SMALL, last_line, run_job, start_job

IN_PROCESS = (*SMALL, "train.num_workers=0", "search.grace_epochs=1")
ALONE = ("train.num_workers=0",)
POPULATION = (
    *IN_PROCESS,
    "outer.epochs=120",
    "search.algorithm=population",
    "train.cpus_per_worker=0.5",
    "train.keep_checkpoints=1000",
)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The home of a finished search of two trials, and what it printed."""
    root = tmp_path_factory.mktemp("home")
    done = run_job(
        "tune", "--space", "rates", "--trials", "2", "--set", "run.name=s", *IN_PROCESS, root=root, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return root, done


def test_a_search_ends_with_its_trials_the_results_of_the_best_and_where_to_look(searched):
    root, done = searched
    assert done.stderr == ""
    table = done.stdout.split("\ntrial")[1].splitlines()
    assert [len(line.split()) >= 6 for line in table[1:3]] == [True] * 2
    assert "best: trial " in done.stdout
    assert "item + user bias" in done.stdout
    assert f"  python -m jobs.train --config {root}/runs/s/best.toml" in done.stdout.splitlines()
    assert f"mlflow ui --backend-store-uri sqlite:///{root}/mlflow.db" in done.stdout
    assert (root / "runs/s/trials.png").read_bytes().startswith(b"\x89PNG")


def test_the_best_of_the_trials_is_what_the_best_config_says(searched):
    root, _ = searched
    trials = Trials(str(root / "runs/s/trials")).all()
    assert [trial.number for trial in trials] == [0, 1]
    best = min(trials, key=lambda trial: trial.result.metric)
    config = load_config(root / "runs/s/best.toml")
    assert (config.inner.lr, config.outer.lr) == (best.values["inner.lr"], best.values["outer.lr"])
    assert (config.run.name, config.outer.epochs, config.model.hidden) == ("", 2, (8,))


def test_each_trial_is_a_child_of_the_run_of_the_search(searched):
    root, _ = searched
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("metarec").experiment_id])
    (parent,) = (run for run in runs if run.info.run_name == "s")
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert sorted(run.info.run_name for run in children) == ["s.000", "s.001"]
    assert len(runs) == 3
    endings = {run.data.tags["search.ending"]: run.info.status for run in children}
    truth = {"finished": "FINISHED", "stopped early": "KILLED"}
    assert endings == {ending: truth[ending] for ending in endings}
    rates = {float(run.data.params["inner.lr"]) for run in children}
    assert len(rates) == 2
    assert all("validation.metric" in run.data.metrics for run in children)
    assert [[each.dataset.name for each in run.inputs.dataset_inputs] for run in runs] == [["synthetic"]] * 3
    assert all(client.list_artifacts(run.info.run_id, "dataset") for run in runs)
    assert "system/cpu_utilization_percentage" in parent.data.metrics
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} >= {
        "best.toml",
        "trials.png",
        "trials.txt",
    }


def test_the_winner_alone_meets_the_test_users(searched):
    root, _ = searched
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("metarec").experiment_id])
    judged = [run for run in runs if "test.mae" in run.data.metrics]
    (parent,) = (run for run in runs if run.info.run_name == "s")
    assert [run.info.run_name for run in judged] == [f"s.{int(parent.data.tags['best.trial']):03d}"]
    assert len(list(root.glob("runs/*/report.json"))) == 1


def test_the_same_search_again_prints_its_result_and_trains_nothing(searched):
    root, first = searched
    before = {path: path.stat().st_mtime_ns for path in root.glob("runs/s.*/metrics.jsonl")}
    again = run_job("tune", "--space", "rates", "--trials", "2", "--set", "run.name=s", *IN_PROCESS, root=root)
    assert again.returncode == 0
    assert again.stdout.splitlines()[-4:] == first.stdout.splitlines()[-4:]
    assert {path: path.stat().st_mtime_ns for path in root.glob("runs/s.*/metrics.jsonl")} == before
    other = run_job("tune", "--space", "rates", "--trials", "5", "--set", "run.name=s", *IN_PROCESS, root=root)
    assert other.returncode == 1
    assert last_line(other.stderr) == (
        "error: search 's' was started with another num_trials (2); choose another run.name, or leave it out for a new "
        "search"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--space", "rate"), "error: --space is 'rate'; there are crosses, factors, "),
        (("--space", "rates", "--trials", "0"), "error: --trials is 0; use 1 or more"),
        (
            ("--space", "rates", "--trials", "1", "--set", "evaluate.k=11", "evaluate.known_ratings=5"),
            "error: evaluate.k is 11, but a task has 10 query rows to rank (task.num_query); use 10 or less, or "
            "evaluate.candidates=all",
        ),
        (
            ("--space", "rates", "--set", "evaluate.known_ratings=5"),
            "error: evaluate.known_ratings is 5, but test tasks of user_cold either have no training ratings or hold "
            "them in their supports already; use 0, or protocol.name=item_cold",
        ),
        (
            ("--space", "rates", "--set", "evaluate.primary=rmse"),
            "error: tune_spaces/rates.py: METRIC is 'mae', but the job measures evaluate.primary = 'rmse' on "
            "validation users; change one of them",
        ),
        (
            ("--space", "rates", "--set", "search.algorithm=population", "train.num_workers=0"),
            "error: search.algorithm is 'population' and tune_spaces/rates.py draws inner.lr, which acts on new "
            "weights alone, so that a change of it would silently do nothing; draw from outer.lr, ",
        ),
        (
            ("--space", "rates", "--set", "train.num_workers=64"),
            "error: train.num_workers = 64 x 0.5 CPUs + 64 x 0.25 for Ray Data = 48 CPUs, but the cluster has ",
        ),
        (
            ("--space", "while_training", "--trials", "999", "--set", "search.algorithm=population", *ALONE),
            "error: a population of 999 trains side by side, and the cluster has room for ",
        ),
    ],
)
def test_a_search_that_makes_no_sense_ends_with_one_sentence_before_any_work(arguments, sentence, tmp_path):
    refused = run_job("tune", *arguments, root=tmp_path)
    assert refused.returncode == 1
    assert last_line(refused.stderr).startswith(sentence)
    assert "Traceback" not in refused.stderr
    assert not list(tmp_path.iterdir())


def test_lists_longer_than_any_query_that_the_protocol_fixes_are_refused_before_any_trial(tmp_path):
    settings = (*IN_PROCESS, "protocol.name=warm", "evaluate.k=80")
    refused = run_job("tune", "--space", "rates", "--trials", "1", "--set", *settings, root=tmp_path)
    assert refused.returncode == 1
    assert last_line(refused.stderr).startswith("error: evaluate.k is 80, but no test user of synthetic has more than ")
    assert "Traceback" not in refused.stderr
    assert "plan:" not in refused.stdout


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("SPACE = {", "cannot be read: SyntaxError: '{' was never closed (mine.py, line 1)"),
        ("SPACE = {'inner.lr': unknown}", "cannot be read: NameError: name 'unknown' is not defined"),
        ("SPACE = {}; METRIC = 'mae'; NUM_TRIALS = 2", "has no MODE; a space has SPACE, METRIC, MODE, NUM_TRIALS"),
        (
            "SPACE = [('inner.lr', 0.1)]; METRIC = 'mae'; MODE = 'min'; NUM_TRIALS = 2",
            "SPACE is a list; expected a table of settings, such as {'inner.lr': tune.loguniform(0.01, 1.0)}",
        ),
        (
            "SPACE = {1: 0.1}; METRIC = 'mae'; MODE = 'min'; NUM_TRIALS = 2",
            "SPACE has 1, where a name such as inner.lr belongs",
        ),
        (
            "SPACE = {}; METRIC = ['mae']; MODE = 'min'; NUM_TRIALS = 2",
            "METRIC is a list; expected a text, such as 'mae'",
        ),
        ("SPACE = {}; METRIC = 'mae'; MODE = 'min'; NUM_TRIALS = '2'", "NUM_TRIALS is '2'; expected a whole number"),
        ("SPACE = {}; METRIC = 'mae'; MODE = 'min'; NUM_TRIALS = 2.5", "NUM_TRIALS is 2.5; expected a whole number"),
    ],
)
def test_a_module_that_is_no_space_is_refused_with_one_sentence(text, sentence, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(text)
    monkeypatch.setattr(tune_spaces, "__path__", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "tune_spaces.mine", raising=False)
    with pytest.raises(ConfigError) as refused:
        load_space("mine")
    colon = "" if sentence.startswith(("cannot", "has")) else ":"
    assert str(refused.value).startswith(f"tune_spaces/mine.py{colon} {sentence}")


@pytest.mark.slow
def test_in_a_population_a_trial_goes_on_from_the_weights_of_another_with_changed_settings(tmp_path):
    done = run_job(
        "tune", "--space", "while_training", "--trials", "2", "--set", "run.name=p", *POPULATION,
        root=tmp_path, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    trials = Trials(str(tmp_path / "runs/p/trials")).all()
    assert [trial.result.ending for trial in trials] == ["finished"] * 2
    took_over = [trial for trial in trials if trial.takeovers]
    assert took_over
    drawn = [load_space("while_training").sample(0, number) for number in range(2)]
    for trial in took_over:
        last = trial.takeovers[-1]
        assert last.source == 1 - trial.number
        assert trial.values == last.values
        assert trial.values not in drawn
        run = tmp_path / f"runs/p.{trial.number:03d}"
        assert weights_at(run / f"checkpoints/step-{last.step:010d}") == weights_given(tmp_path, last.source, last.step)
        steps = [line.step for line in read_journal(str(run / "metrics.jsonl"))]
        assert steps[steps.index(last.step) :] == list(range(last.step, steps[-1] + 1))
        assert f"; took over from {last.source}" in done.stdout or f"  took over from {last.source}" in done.stdout


def weights_at(folder: Path) -> str:
    """The checksum of the weights in a checkpoint."""
    return storage.read_bundle_manifest(str(folder), KIND)["files"]["weights.safetensors"]["sha256"]


def weights_given(root: Path, number: int, step: int) -> str:
    """The checksum of the weights that a trial of a population gave to Tune at a step."""
    for manifest in root.glob("runs/p/tune/*/*/checkpoint_*/manifest.json"):
        facts = storage.read_bundle_manifest(str(manifest.parent), KIND)
        if (facts["trial"], facts["step"]) == (number, step):
            return weights_at(manifest.parent)
    raise AssertionError(f"trial {number} gave nothing at step {step}")


@pytest.mark.slow
def test_a_search_by_optuna_is_stopped_and_goes_on_to_its_end(tmp_path):
    """Layers are lists, which Optuna does not keep."""
    pytest.importorskip("optuna")
    settings = ("run.name=k", *IN_PROCESS, "search.algorithm=optuna", "search.early_stopping=false")
    arguments = ("--trials", "6", "--set", *settings)
    job = start_search(tmp_path, *arguments, space="hidden_layers")
    wait_for(tmp_path, 2, job)
    job.send_signal(signal.SIGTERM)
    said = job.communicate(timeout=120)[0]
    assert job.returncode == 130, said
    resumed = run_job("tune", "--space", "hidden_layers", *arguments, root=tmp_path, timeout=580)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert resumed.stderr == ""
    trials = Trials(str(tmp_path / "runs/k/trials")).all()
    assert [trial.result.ending for trial in trials] == ["finished"] * 6
    assert len({trial.values["outer.lr"] for trial in trials}) == 6
    best = min(trials, key=lambda trial: trial.result.metric)
    assert list(load_config(tmp_path / "runs/k/best.toml").model.hidden) == best.values["model.hidden"]


@pytest.mark.slow
def test_trials_on_ray_train_do_not_wait_for_each_other_for_good(tmp_path):
    """Two workers a trial, on as many CPUs as the machine has."""
    done = run_job(
        "tune", "--space", "rates", "--trials", "2", "--set", "run.name=w", *SMALL, "train.num_workers=2",
        root=tmp_path, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert {trial.result.ending for trial in Trials(str(tmp_path / "runs/w/trials")).all()} <= {
        "finished",
        "stopped early",
    }


def start_search(root: Path, *arguments: str, space: str = "rates") -> subprocess.Popen[str]:
    """`jobs.tune` in a process group of its own."""
    return start_job("tune", "--space", space, *arguments, root=root, own_session=True)


def wait_for(root: Path, ended: int, job: subprocess.Popen[str]) -> set[int]:
    """The numbers of the trials that have ended, once there are so many."""
    trials = Trials(str(root / "runs/k/trials"))
    while True:
        numbers = {trial.number for trial in trials.all() if trial.result}
        if len(numbers) >= ended:
            return numbers
        assert job.poll() is None, job.communicate()[0]
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_search_that_was_killed_or_stopped_goes_on_and_no_trial_that_ended_trains_again(tmp_path, how):
    arguments = ("--trials", "6", "--set", "run.name=k", *IN_PROCESS, "outer.epochs=6", "search.early_stopping=false")
    job = start_search(tmp_path, *arguments)
    ended = wait_for(tmp_path, 2, job)
    if how == signal.SIGKILL:
        os.killpg(job.pid, how)
        said = job.communicate()[0]
    else:
        job.send_signal(how)
        said = job.communicate(timeout=120)[0]
        assert job.returncode == 130, said
        assert "go on with --set run.name=k" in last_line(said)
    begun = Trials(str(tmp_path / "runs/k/trials")).all()
    ended |= {trial.number for trial in begun if trial.result}
    assert len(ended) < 6
    synced = run_job("sync", root=tmp_path)
    assert synced.returncode == 0, synced.stdout + synced.stderr
    names = {trial.number: f"k.{trial.number:03d}" for trial in begun}
    tracked = {  # a trial that began a moment before may have none yet
        number: name
        for number, name in names.items()
        if "mlflow_run_id" in json.loads((tmp_path / f"runs/{name}/run.json").read_text())
    }
    statuses = statuses_in_mlflow(tmp_path)
    assert {name: statuses[name] for name in ("k", *tracked.values())} == {"k": "KILLED"} | {
        name: "FINISHED" if number in ended else "KILLED" for number, name in tracked.items()
    }
    assert tracked
    journals = {number: tmp_path / f"runs/k.{number:03d}/metrics.jsonl" for number in ended}
    before = {number: (path.stat().st_mtime_ns, path.read_bytes()) for number, path in journals.items()}
    resumed = run_job("tune", "--space", "rates", *arguments, root=tmp_path, timeout=500)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert f"going on: {len(ended)} of 6 trials have ended" in resumed.stdout
    assert {number: (path.stat().st_mtime_ns, path.read_bytes()) for number, path in journals.items()} == before
    trials = Trials(str(tmp_path / "runs/k/trials")).all()
    assert [trial.number for trial in trials] == list(range(6))
    assert {trial.result.ending for trial in trials} == {"finished"}
    assert {trial.result.num_epochs for trial in trials} == {6}
    assert statuses_in_mlflow(tmp_path) == dict.fromkeys(["k", *(f"k.{number:03d}" for number in range(6))], "FINISHED")


def statuses_in_mlflow(root: Path) -> dict[str, str]:
    """The status of each run by its name, which no two have."""
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("metarec").experiment_id])
    assert len({run.info.run_name for run in runs}) == len(runs)
    return {run.info.run_name: run.info.status for run in runs}


@pytest.mark.slow
def test_a_population_that_was_killed_goes_on_with_the_weights_and_settings_it_had(tmp_path):
    num_epochs = 360  # on a busy machine one trial is far before the other when that takes over
    arguments = ("--trials", "2", "--set", "run.name=p", *POPULATION, f"outer.epochs={num_epochs}")
    job, records = start_search(tmp_path, *arguments, space="while_training"), Trials(str(tmp_path / "runs/p/trials"))
    while not any(trial.takeovers for trial in records.all()):
        assert job.poll() is None, job.communicate()[0]
        time.sleep(0.1)
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate()
    before = records.all()
    assert [trial.result for trial in before] == [None] * 2
    journals = [str(tmp_path / f"runs/p.{number:03d}/metrics.jsonl") for number in range(2)]
    began = [read_journal(journal)[0].time for journal in journals]
    resumed = run_job("tune", "--space", "while_training", *arguments, root=tmp_path, timeout=400)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    after = records.all()
    assert [trial.result.ending for trial in after] == ["finished"] * 2
    assert [trial.takeovers[: len(earlier.takeovers)] for trial, earlier in zip(after, before, strict=True)] == [
        trial.takeovers for trial in before
    ]
    assert [read_journal(journal)[0].time for journal in journals] == began
    assert [read_journal(journal)[-1].step for journal in journals] == [num_epochs * 2 - 1] * 2


@pytest.mark.slow
def test_a_trial_whose_process_is_killed_goes_on_in_the_same_search(tmp_path):
    arguments = ("--trials", "2", "--set", "run.name=k", *IN_PROCESS, "outer.epochs=60", "search.early_stopping=false")
    job = start_search(tmp_path, *arguments)
    while not list(tmp_path.glob("runs/k.000/checkpoints/*/manifest.json")):
        assert job.poll() is None, job.communicate()[0]
        time.sleep(0.1)
    (victim, *_) = trial_processes(job.pid)
    os.kill(victim, signal.SIGKILL)
    said = job.communicate(timeout=400)[0]
    assert job.returncode == 0, said
    trials = Trials(str(tmp_path / "runs/k/trials")).all()
    assert [(trial.result.ending, trial.result.num_epochs) for trial in trials] == [("finished", 60)] * 2


def trial_processes(ancestor: int) -> list[int]:
    """The processes of Tune's trials in the session that a job started."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"ImplicitFunc" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue  # gone by now
    return [process for process in found if descends(process, ancestor)]


def descends(process: int, ancestor: int) -> bool:
    while process > 1 and process != ancestor:
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return process == ancestor
