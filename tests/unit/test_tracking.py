"""The MLflow store and runs, on real sqlite stores."""

import json
import logging
import multiprocessing
import socket
import time
import warnings
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from jobs.train import mlflow_page
from metarec.config import load_config
from metarec.errors import ConfigError, TrackingError
from metarec.tracking import Store, connect, open_store, sampled_machine, start_run, store_uri, talking_to, track
from metarec.train.journal import read_journal
from metarec.train.run import RunFolder
from tests.tracking_server import Gate

# MLflow's own use of sqlalchemy


def config_in(folder, *overrides):
    return load_config(overrides=[f'output.root="{folder}"', *overrides])


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return config_in(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def store(config):
    """One store for all tests: a fresh one costs seconds of migrations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return open_store(config)


def get(run):
    return run.store.client.get_run(run.run_id)


def first_use(folder, barrier, results):
    barrier.wait()
    opened = open_store(config_in(folder))
    with start_run(opened, "parallel", config_in(folder)) as run:
        run.log_metrics(1, {"loss": 0.5})
    results.put(opened.experiment_id)


def test_four_processes_may_use_a_fresh_store_first_at_the_same_moment(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(4), context.Queue()
    processes = [context.Process(target=first_use, args=(tmp_path, barrier, results)) for _ in range(4)]
    for process in processes:
        process.start()
    experiments = {results.get(timeout=120) for _ in processes}
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(experiments) == 1
    client = MlflowClient(store_uri(config_in(tmp_path)))
    assert len(client.search_runs(list(experiments), filter_string="attributes.status = 'FINISHED'")) == 4


def test_the_store_is_sqlite_under_the_output_root_unless_a_uri_says_otherwise(tmp_path, monkeypatch):
    assert store_uri(config_in(tmp_path)) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker:5000")
    assert store_uri(config_in(tmp_path)) == "http://tracker:5000"
    assert store_uri(config_in(tmp_path, 'tracking.uri="http://other:1"')) == "http://other:1"


def test_a_relative_sqlite_uri_does_not_depend_on_the_working_directory_later(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert store_uri(config_in(tmp_path, 'tracking.uri="sqlite:///mine.db"')) == f"sqlite:///{tmp_path}/mine.db"


def test_a_storage_uri_as_output_root_needs_a_tracking_uri():
    with pytest.raises(ConfigError, match=r"output\.root is 's3://bucket/x'.*set tracking\.uri"):
        store_uri(config_in("s3://bucket/x"))


def test_a_folder_as_tracking_uri_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"tracking\.uri is '/runs', a folder"):
        store_uri(config_in(tmp_path, 'tracking.uri="/runs"'))


def test_artifacts_lie_under_the_output_root_whatever_the_working_directory(store, config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with start_run(store, "a", config) as run:
        run.log_artifact_bytes("plots/curve.png", b"image")
    assert list(tmp_path.iterdir()) == []
    kept = Path(config.output.uri, "mlflow-artifacts", run.run_id, "artifacts/plots/curve.png")
    assert kept.read_bytes() == b"image"


def test_the_artifacts_of_a_root_on_an_object_store_lie_beside_the_database(tmp_path):
    store = open_store(config_in("s3://bucket/x?region=here", f'tracking.uri="sqlite:///{tmp_path}/mine.db"'))
    assert store.client.get_experiment(store.experiment_id).artifact_location == f"{tmp_path}/mlflow-artifacts"


def test_an_unreachable_server_is_named_within_seconds(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    start = time.monotonic()
    with pytest.raises(TrackingError, match=rf"{uri} does not answer.*tracking\.uri"):
        open_store(config_in(tmp_path, f'tracking.uri="{uri}"'))
    assert time.monotonic() - start < 10


def test_a_server_that_refuses_the_credentials_says_how_to_give_them():
    gate = Gate("nowhere", mode="deny")
    with pytest.raises(TrackingError, match=rf"{gate.uri} refuses these credentials .*; set MLFLOW_TRACKING_USERNAME"):
        connect(gate.uri)
    gate.close()


def test_a_server_that_never_answers_is_named_within_seconds(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(TrackingError, match="does not answer: timed out"):
            connect(uri)


def test_a_password_in_a_uri_does_not_get_into_messages():
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(TrackingError, match=f"the MLflow server http://{place} does not answer"):
        connect(f"http://me:secret@{place}")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://me:secret@host:5000/", "http://host:5000/#/experiments/7"),
        ("https://host/mlflow", "https://host/mlflow/#/experiments/7"),
        ("sqlite:////a folder/mlflow.db", "mlflow ui --backend-store-uri 'sqlite:////a folder/mlflow.db'"),
        ("postgresql://me:secret@host/db", "mlflow ui --backend-store-uri $MLFLOW_TRACKING_URI"),
        ("mysql://host/db?user=me&password=secret", "mlflow ui --backend-store-uri $MLFLOW_TRACKING_URI"),
    ],
)
def test_the_page_to_look_at_is_on_the_server_or_on_one_that_a_command_starts(uri, expected):
    assert mlflow_page(Store(uri, MlflowClient("http://nowhere"), "7")) == expected


def test_of_what_mlflow_says_all_headings_stand_before_the_first_sentence():
    said = "These files failed in http://me:secret@place/files:\n##### File a #####\n404: none.\n#### b ####"
    with pytest.raises(TrackingError) as refused, talking_to("http://place"):
        raise MlflowException(said)
    assert refused.value.message == (
        "the MLflow store http://place refuses: These files failed in http://place/files: File a: 404: none; check "
        "tracking.uri, or move a damaged store away"
    )


def test_a_root_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match=r"cannot write the MLflow store.*/file/mlflow\.db.*output\.root"):
        open_store(config_in(tmp_path / "file"))


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "mlflow.db").write_text("not a database, but long enough to be taken for one" * 20)
    with pytest.raises(TrackingError, match=r"sqlite:///.*mlflow\.db refuses: "):
        open_store(config_in(tmp_path))


def test_params_carry_the_config_names(store, config):
    with start_run(store, "a", config, tags={"job": "train"}) as run:
        pass
    data = get(run).data
    assert data.params["inner.lr"] == str(config.inner.lr)
    assert data.params["model.hidden"] == str(list(config.model.hidden))
    assert data.params["algorithm.first_order"] == "False"
    assert data.tags["job"] == "train"
    assert {"version.torch", "version.ray", "version.mlflow", "version.python"} <= data.tags.keys()


def test_a_value_too_long_for_mlflow_is_cut_and_whole_in_the_artifact(store, tmp_path):
    features = {f"column{index}": "categorical" for index in range(600)}
    settings = ", ".join(f'"{name}" = "{kind}"' for name, kind in features.items())
    config = config_in(tmp_path, 'tables.users="u.csv"', f"tables.user_features={{{settings}}}")
    with start_run(store, "a", config) as run:
        pass
    assert len(get(run).data.params["tables.user_features"]) == 6000
    written = store.client.download_artifacts(run.run_id, "config.toml")
    assert load_config(written) == config


def test_metrics_keep_step_and_time(store, config):
    with start_run(store, "a", config) as run:
        run.log_metrics(3, {"validation/ndcg@5": 0.25}, time_seconds=1000.5)
    (metric,) = store.client.get_metric_history(run.run_id, "validation/ndcg_at_5")
    assert (metric.value, metric.step, metric.timestamp) == (0.25, 3, 1000500)


def test_a_metric_that_is_not_a_number_does_not_end_the_run(store, config):
    with start_run(store, "a", config) as run:
        run.log_metrics(1, {"loss": float("nan"), "norm": float("inf")})
    assert get(run).info.status == "FINISHED"


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_run_that_ends_in_an_error_says_so(store, config, error, status):
    run = start_run(store, "a", config)
    run.log_metrics(1, {"loss": 2.0})
    with pytest.raises(error), run:
        raise error
    assert get(run).info.status == status
    assert get(run).data.metrics == {"loss": 2.0}


def test_a_resumed_run_is_the_same_run_with_changes_as_tags(store, config):
    with pytest.raises(ValueError, match="crash"), start_run(store, "a", config) as first:
        raise ValueError("crash")
    changed = config_in(config.output.uri, "train.num_workers=0")
    with start_run(store, "a", changed, resume_run_id=first.run_id) as second:
        assert get(second).info.status == "RUNNING"
    assert second.run_id == first.run_id
    data = get(second).data
    assert data.params["train.num_workers"] == "2"
    assert {key: value for key, value in data.tags.items() if key.startswith("changed.")} == {
        "changed.train.num_workers": "0"
    }
    assert get(second).info.status == "FINISHED"


def test_a_run_that_is_not_there_cannot_be_resumed(store, config):
    with pytest.raises(TrackingError, match=r"run 0123 is not in sqlite.*choose another run\.name"):
        start_run(store, "a", config, resume_run_id="0123")


def test_a_deleted_run_cannot_be_resumed(store, config):
    with start_run(store, "a", config) as run:
        pass
    store.client.delete_run(run.run_id)
    with pytest.raises(TrackingError, match=r"was deleted from sqlite.*choose another run\.name"):
        start_run(store, "a", config, resume_run_id=run.run_id)


def test_a_folder_goes_on_with_the_run_it_knows_or_else_with_one_that_was_noted_or_made_for_it(
    store, config, tmp_path, monkeypatch
):
    folder = RunFolder(str(tmp_path))
    noted = start_run(store, "a", config)
    assert track(store, folder, config, noted.run_id).run_id == noted.run_id
    assert track(store, folder, config, "0123").run_id == noted.run_id
    cut = RunFolder(str(tmp_path / "cut"))
    with monkeypatch.context() as killed:
        killed.setattr("metarec.tracking.run.Run.set_tags", stop)
        with pytest.raises(SystemExit):
            track(store, cut, config)
    assert "mlflow_run_id" not in cut.read_state()
    resumed = track(store, cut, config)
    assert (
        [run.info.run_id for run in named_alike(store, cut)] == [resumed.run_id] == [track(store, cut, config).run_id]
    )
    other = track(store, RunFolder(str(tmp_path / "other")), config)
    assert len({noted.run_id, resumed.run_id, other.run_id}) == 3


def stop(*arguments):
    """What a kill does as soon as the run is made."""
    raise SystemExit


def named_alike(store, folder):
    return store.client.search_runs([store.experiment_id], f"tags.`metarec.identity` = '{folder.identity()}'")


def test_the_dataset_of_a_run_is_recorded_with_its_manifest(store, config):
    manifest = {"name": "synthetic", "fingerprint": "f" * 64, "counts": {"users": 9}, "source": "synthetic"}
    with start_run(store, "a", config) as run:
        run.log_dataset(manifest)
    (used,) = get(run).inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("synthetic", "f" * 36)
    assert get(run).data.tags["dataset.fingerprint"] == "f" * 64
    with open(store.client.download_artifacts(run.run_id, "dataset/manifest.json")) as file:
        assert json.load(file) == manifest


def test_a_run_that_goes_on_keeps_its_manifest_and_one_with_another_dataset_has_that(store, config, monkeypatch):
    manifest = {"name": "synthetic", "fingerprint": "f" * 64, "counts": {"users": 9}, "source": "synthetic"}
    with start_run(store, "a", config) as run:
        run.log_dataset(manifest)
    kept, keep = [], run.log_artifact_bytes
    monkeypatch.setattr(type(run), "log_artifact_bytes", lambda run, *file: kept.append(keep(*file)))
    run.log_dataset(manifest)
    assert not kept
    run.log_dataset(manifest | {"fingerprint": "e" * 64})
    assert len(kept) == 1
    assert get(run).data.tags["dataset.fingerprint"] == "e" * 64


def test_an_experiment_id_in_the_environment_does_not_redirect_runs(store, config, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    with start_run(store, "a", config) as run:
        pass
    assert get(run).info.experiment_id == store.experiment_id != "0"


def test_a_first_use_says_nothing_and_leaves_the_root_logger_alone(tmp_path, capfd):
    handlers, level = list(logging.root.handlers), logging.root.level
    open_store(config_in(tmp_path))
    assert capfd.readouterr() == ("", "")
    assert (logging.root.handlers, logging.root.level) == (handlers, level)


def test_the_machine_is_sampled_into_a_journal_that_goes_on(tmp_path):
    journal = str(tmp_path / "machine.jsonl")
    for _ in range(2):
        with sampled_machine(journal, seconds=0.1):
            time.sleep(0.15)
    lines = read_journal(journal)
    assert [line.step for line in lines] == list(range(len(lines)))
    assert len(lines) >= 4
    for line in lines:
        assert {"system/cpu_utilization_percentage", "system/network_receive_megabytes"} <= line.metrics.keys()
        assert 0 < line.metrics["system/system_memory_usage_percentage"] <= 100
