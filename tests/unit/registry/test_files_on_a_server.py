"""A registered model whose files lie with a real server, and what is said when they do not."""

import re
from types import SimpleNamespace

import pytest

from jobs.train import champion_learner
from metarec.config import load_config
from metarec.errors import StorageError, TrackingError
from metarec.registry import candidate, pull
from metarec.tracking import open_store
from tests.registered import register
from tests.tiny_learner import ITEMS, tiny_learner
from tests.tracking_server import Gate

pytestmark = pytest.mark.slow


@pytest.fixture
def config(server, tmp_path):
    return load_config(overrides=[f'output.root="{tmp_path}"', f'tracking.uri="{server.uri}"'])


def test_a_learner_is_pulled_from_a_server_as_it_was_registered(config):
    store = open_store(config)
    version = register(store, config, "whole")
    pulled = pull(version.uri, tracking_uri=store.uri)
    expected = tiny_learner().adapt({"7": 5}).predict(ITEMS)
    assert pulled.adapt({"7": 5}).predict(ITEMS) == pytest.approx(expected, abs=1e-6)


def test_a_champion_whose_files_are_gone_is_a_reason_not_to_promote_and_no_end_of_training(server, config):
    store = open_store(config)
    version = register(store, config, "gone")
    for file in sorted(files_of(store, server, version)):
        file.unlink()
    with pytest.raises(StorageError, match=r"^model models:/gone/1 cannot be used: its files are gone from mlflow-art"):
        pull(version.uri, tracking_uri=store.uri)
    rivals, fault = champion_learner(SimpleNamespace(fingerprint="ab" * 32), store, candidate(store, "gone"))
    assert rivals == {}
    assert re.fullmatch(
        r"models:/gone/1, the champion, cannot be read \(model models:/gone/1 cannot be used: its files are gone from "
        r"mlflow-artifacts:/.*/bundle\); python -m jobs\.promote --force makes the candidate champion in its place",
        fault,
    )


def files_of(store, server, version):
    source = store.client.get_model_version_download_uri(version.name, str(version.number))
    folder = server.folder / "files" / source.removeprefix("mlflow-artifacts:/") / "artifacts/bundle"
    return list(folder.iterdir())


def test_a_damaged_file_is_named_by_where_it_lies(server, config):
    store = open_store(config)
    version = register(store, config, "hurt")
    (weights,) = (file for file in files_of(store, server, version) if file.name == "weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(
        StorageError, match=r"mlflow-artifacts:/.*/bundle/weights\.safetensors is damaged: its \d+ byte"
    ):
        pull(version.uri, tracking_uri=store.uri)


def test_a_server_that_fails_to_give_files_ends_training_with_all_that_it_says(server, config, monkeypatch):
    """It is not known then whether the champion is there."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    store = open_store(config)
    version = register(store, config, "away")
    gate = Gate(server.uri)
    gate.refused = "/mlflow-artifacts/artifacts/"
    behind = open_store(load_config(overrides=[f'output.root="{config.output.root}"', f'tracking.uri="{gate.uri}"']))
    with pytest.raises(TrackingError, match=rf"the MLflow server {gate.uri} answers 500; look at its log"):
        champion_learner(SimpleNamespace(fingerprint="ab" * 32), behind, version)
    gate.close()
