"""Registering leaves a candidate or nothing, and a run that is tried again finds what it made."""

import re
import shutil
import string

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from metarec.config import Config, load_config
from metarec.config.running import RegistryConfig
from metarec.errors import ConfigError, RegistryError, TrackingError
from metarec.evaluate.interval import Interval
from metarec.registry import candidate, log_and_register, pull
from metarec.tracking import open_store, start_run
from tests.registered import REPORT, VERDICT, register
from tests.tiny_learner import tiny_learner

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own


def log(run, name, *, mae=0.75, verdict=VERDICT):
    metrics = {"mae": Interval(mae, 0.7, 0.8)}
    return log_and_register(run, tiny_learner(), name=name, metrics=metrics, verdict=verdict, report=REPORT)


def fail(*arguments, **named):
    raise MlflowException("the database is full")


def failing_after(call):
    """The call arrives, and its answer does not."""

    def lose(*arguments, **named):
        call(*arguments, **named)
        raise MlflowException("the answer is lost")

    return lose


def models_of(store, run):
    """Logged models that are there, of a run."""
    found = store.client.search_logged_models([store.experiment_id])
    return [model for model in found if model.source_run_id == run.run_id]


@pytest.mark.parametrize("step", ["log_model_artifacts", "create_model_version", "set_registered_model_alias"])
def test_where_a_first_registration_fails_nothing_is_left_of_it(store, config, monkeypatch, step):
    name = f"first-{step}"
    with start_run(store, "a", config) as run:
        with monkeypatch.context() as broken:
            broken.setattr(MlflowClient, step, fail)
            with pytest.raises(TrackingError, match="the database is full"):
                log(run, name)
        assert name not in [model.name for model in store.client.search_registered_models()]
        assert models_of(store, run) == []
        assert log(run, name).number == 1
        assert candidate(store, name).number == 1
        assert len(models_of(store, run)) == 1


@pytest.mark.parametrize("step", ["create_model_version", "set_registered_model_alias"])
def test_where_a_further_registration_fails_the_candidate_is_the_one_before(store, config, monkeypatch, step):
    name = f"further-{step}"
    register(store, config, name)
    with start_run(store, "a", config) as run:
        with monkeypatch.context() as broken:
            broken.setattr(MlflowClient, step, failing_after(getattr(MlflowClient, step)))
            with pytest.raises(TrackingError, match="the answer is lost"):
                log(run, name)
        assert [each.version for each in store.client.search_model_versions(f"name = '{name}'")] == [1]
        assert candidate(store, name).number == 1
        made = log(run, name)
    assert candidate(store, name) == made


def test_a_run_that_is_tried_again_finds_the_version_that_it_made_with_what_is_found_now(store, config, monkeypatch):
    """The first try was killed when the version was there and no alias, so that nothing could be undone."""
    with start_run(store, "a", config) as run:
        with monkeypatch.context() as killed:
            killed.setattr(MlflowClient, "set_registered_model_alias", fail)
            killed.setattr(MlflowClient, "delete_model_version", fail)
            with pytest.raises(TrackingError):
                log(run, "again")
        assert candidate(store, "again") is None
        made = log(run, "again", mae=0.5, verdict={**VERDICT, "passed": False})
    assert (made.number, made.verdict["passed"], made.tags["metric.mae"]) == (1, False, "0.5")
    assert candidate(store, "again") == made
    assert len(store.client.search_model_versions("name = 'again'")) == 1
    with start_run(store, "b", config) as other:
        assert log(other, "again").number == 2


def test_where_files_cannot_be_written_nothing_is_registered(tmp_path):
    config = load_config(overrides=[f'output.root="{tmp_path}"'])
    store = open_store(config)
    with start_run(store, "full", config) as run:
        shutil.rmtree(tmp_path / "mlflow-artifacts")
        (tmp_path / "mlflow-artifacts").write_text("no folder")
        with pytest.raises(TrackingError, match=rf"the files of the MLflow store sqlite:///{tmp_path}.*cannot be writ"):
            log_and_register(run, tiny_learner(), name="half", metrics={}, verdict=VERDICT, report=REPORT)
    assert store.client.search_registered_models() == []


def test_who_has_no_candidate_is_not_sent_to_promote_it(store, config):
    register(store, config, "bare")
    store.client.delete_registered_model_alias("bare", "candidate")
    with pytest.raises(
        RegistryError, match=r"no models:/bare@champion; .*aliases none; python -m jobs\.train registers"
    ):
        pull("models:/bare@champion", tracking_uri=store.uri)
    register(store, config, "bare")
    with pytest.raises(RegistryError, match=r"no models:/bare@champion; .*; python -m jobs\.promote makes the candida"):
        pull("models:/bare@champion", tracking_uri=store.uri)


def taken(name):
    """Whether a config takes a model name."""
    try:
        return Config(registry=RegistryConfig(model=name)).model_name == name
    except ConfigError:
        return False


def can_be_named(store, name):
    """Whether a model of that name can be registered, is found by it, and stands in a URI."""
    try:
        store.client.create_registered_model(name)
        found = candidate(store, name)
    except (MlflowException, TrackingError):
        return False
    return found is None and re.fullmatch("models:/([^/@]+)@champion", f"models:/{name}@champion") is not None


def test_a_config_takes_just_the_names_that_can_be_registered_and_named(store):
    characters = [character for character in string.printable if character.isprintable()]
    names = [*(f"a{character}b" for character in characters), ".", "..", " ", "a ", "näme"]
    assert {name: taken(name) for name in names} == {name: can_be_named(store, name) for name in names}
