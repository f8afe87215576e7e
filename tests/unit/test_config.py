"""Settings: one name each, defaults that are valid, and one clear sentence for each that is not."""

import ast
import dataclasses
import inspect

import pytest

from metarec import config as module
from metarec.config import (
    Config,
    config_from_dict,
    config_to_dict,
    differences,
    flatten,
    load_config,
    to_toml,
    with_values,
)
from metarec.errors import ConfigError, StorageError

CHANGES = (
    "inner.lr=0.125",
    "model.hidden=[7, 5]",
    "run.name=first",
    "evaluate.support_sizes=[0, 2]",
    "tables.users=users.csv",
    "tables.user_features.age=numeric",
    "tables.heads.click=clicked",
    "algorithm.first_order=true",
)


@pytest.fixture
def write(tmp_path):
    def write_config(text):
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_config


@pytest.mark.parametrize("overrides", [(), CHANGES])
def test_a_config_comes_back_from_toml_equal(write, overrides):
    config = load_config(None, overrides)
    assert load_config(write(to_toml(config))) == config
    assert config_from_dict(config_to_dict(config)) == config


def test_a_config_may_lie_on_a_storage(write, tmp_path):
    assert load_config(f"file://{write('inner.lr = 0.125')}").inner.lr == 0.125
    with pytest.raises(StorageError, match=r"cannot read file://.*/none\.toml: no such file or directory"):
        load_config(f"file://{tmp_path}/none.toml")


def test_an_empty_file_is_the_default_config(write):
    assert load_config(write("")) == load_config() == Config()


def test_overrides_reach_their_settings():
    config = load_config(None, CHANGES)
    assert config.inner.lr == 0.125
    assert config.model.hidden == (7, 5)
    assert config.run.name == "first"
    assert config.tables.user_features == {"age": "numeric"}
    assert config.algorithm.first_order is True


def test_an_override_beats_the_file_and_the_last_override_the_others(write):
    path = write("[inner]\nlr = 0.5\nsteps = 2\n")
    config = load_config(path, ["inner.lr=0.25", "inner.lr=0.125"])
    assert (config.inner.lr, config.inner.steps) == (0.125, 2)


@pytest.mark.parametrize("text", ["movies", " movies ", '"movies"'])
def test_text_needs_no_quotes(text):
    assert load_config(None, [f"tracking.experiment={text}"]).tracking.experiment == "movies"


def test_a_value_may_hold_an_equals_sign():
    assert load_config(None, ["output.root=s3://bucket/x?region=eu"]).output.uri == "s3://bucket/x?region=eu"


def test_whole_numbers_pass_for_floats_and_stay_floats():
    lr = load_config(None, ["inner.lr=1"]).inner.lr
    assert (type(lr), lr) == (float, 1.0)


def test_lists_become_tuples_and_go_back_to_lists():
    config = load_config(None, ["model.hidden=[]"])
    assert config.model.hidden == ()
    assert config_to_dict(config)["model"]["hidden"] == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("inner.lr=-1", "inner.lr is -1.0; use a number above 0"),
        ("inner.lr=fast", "inner.lr is 'fast'; expected a finite number"),
        ("inner.lr=nan", "inner.lr is nan; expected a finite number"),
        ("inner.lr=inf", "inner.lr is inf; expected a finite number"),
        ("inner.steps=2.5", "inner.steps is 2.5; expected a whole number"),
        ("inner.steps=true", "inner.steps is True; expected a whole number"),
        ("algorithm.first_order=1", "algorithm.first_order is 1; expected true or false"),
        ("tracking.experiment=3", "tracking.experiment is 3; expected a text"),
        ("train.meta_batch=0", "train.meta_batch is 0; use 1 or more"),
        ("train.num_workers=-1", "train.num_workers is -1; use 0 or more"),
        ("outer.squared_weight=0", "outer.squared_weight is 0.0; use a number above 0"),
        ("model.hidden=3", "model.hidden is 3; expected a list"),
        ("model.hidden=[8, 'a']", "model.hidden[1] is 'a'; expected a whole number"),
        ("model.hidden=[0]", "model.hidden is [0]; use widths of 1 or more"),
        ("evaluate.k=0", "evaluate.k is 0; use 1 or more"),
        ("evaluate.known_ratings=-1", "evaluate.known_ratings is -1; use 0 or more"),
        ("evaluate.candidates=some", "evaluate.candidates is 'some'; use one of rated, all"),
        ("evaluate.support_sizes=[3, 1]", "evaluate.support_sizes is [3, 1]; use increasing numbers of 0 or more"),
        ("data.max_quarantined=1.5", "data.max_quarantined is 1.5; use a share between 0 and 1"),
        ("data.extra_genres=true", "data.extra_genres is True; synthetic has none; use false"),
        (
            "data.source=movielens",
            "data.source is 'movielens'; use one of synthetic, movielens-100k, movielens-1m, tables",
        ),
        (
            "tables.user_features.age=number",
            "tables.user_features.age is 'number'; use one of categorical, multi_valued, numeric, dense",
        ),
        ("tables.heads.rating=stars", "tables.heads is 'rating'; give the head a name of its own"),
        ("tables.heads.click=item_id", "tables.heads.click is 'item_id'; name a column with no other meaning"),
        ("tables.user_features=3", "tables.user_features is 3; expected a table of texts"),
        ("task.max_query=5", "task.max_query is 5; use task.num_query or more"),
        (
            "data.min_ratings=5",
            "data.min_ratings is 5; a task needs task.num_query (10) query ratings and 1 support rating: "
            "use 11 or more, or lower task.num_query",
        ),
        (
            "run.name=a/b",
            "run.name is 'a/b'; use letters, digits, '-', '_' and '.', not starting with '.' or '-'",
        ),
        ("registry.model=a/b", "registry.model is 'a/b'; use a name without '/', ':', '@' and \"'\""),
        ("iner.lr=1", "unknown setting 'iner'; did you mean 'inner'?"),
        ("inner.step=1", "unknown setting 'inner.step'; did you mean 'inner.steps'?"),
        ("lr=1", "override 'lr=1' is not of the form table.key=value, such as inner.lr=0.1"),
        ("inner.lr", "override 'inner.lr' is not of the form table.key=value, such as inner.lr=0.1"),
    ],
)
def test_an_impossible_setting_is_refused_with_its_value_and_what_to_do(override, message):
    with pytest.raises(ConfigError) as caught:
        load_config(None, [override])
    assert str(caught.value) == message


def test_a_setting_like_no_other_is_refused_with_those_that_exist():
    with pytest.raises(ConfigError, match=r"unknown setting 'zzz'; known here: run, data, synthetic, .*, registry$"):
        load_config(None, ["zzz.q=1"])


EVENTS = ("data.source=tables", "tables.rating=''")
NEGATIVES = (*EVENTS, "task.num_negatives=3")


@pytest.mark.parametrize("loss", ["cross_entropy", "pairwise", "softmax"])
@pytest.mark.parametrize("name", ["inner", "outer"])
def test_events_without_negatives_teach_nothing_to_a_loss_that_tells_0_from_1(name, loss):
    settings = (f"{name}.loss={loss}", "evaluate.primary=ndcg@5")
    with pytest.raises(
        ConfigError, match=rf"^{name}\.loss is '{loss}'; .* all 1: set task\.num_negatives to 1 or more$"
    ):
        load_config(None, [*EVENTS, *settings])
    assert load_config(None, [*NEGATIVES, *settings]).task.num_negatives == 3


@pytest.mark.parametrize("source", [(), ("data.source=tables",)])
def test_ratings_have_no_sampled_negatives(source):
    with pytest.raises(ConfigError, match=r"^task\.num_negatives is 2; .* use 0, or plain events \(data\.source = "):
        load_config(None, [*source, "task.num_negatives=2"])


@pytest.mark.parametrize("primary", ["mae", "rmse"])
@pytest.mark.parametrize("loss", ["pairwise", "softmax squared"])
def test_an_order_is_not_judged_by_an_error(primary, loss):
    with pytest.raises(ConfigError, match=rf"^evaluate\.primary is '{primary}'; outer\.loss '{loss}' .* use ndcg@5$"):
        load_config(None, [f"outer.loss={loss}", f"evaluate.primary={primary}"])
    assert load_config(None, [f"outer.loss={loss}", "evaluate.primary=ndcg@5"]).outer.loss == loss


def test_two_shares_that_leave_no_training_user_are_refused():
    with pytest.raises(ConfigError, match=r"protocol\.validation \+ protocol\.test must stay below 1$"):
        load_config(None, ["protocol.validation=0.6", "protocol.test=0.5"])


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["protocol.cutoff=5"], r"^protocol\.cutoff is 5; user_cold goes by no time: use 0$"),
        (
            ["protocol.name=interest_drift", "protocol.split=x"],
            r"^protocol\.split is 'x'; interest_drift splits by time",
        ),
        (["protocol.name=item_tasks", "protocol.split=x"], r"^protocol\.split is 'x'; a split divides no item_tasks"),
        (['protocol.scenarios=["books"]'], r"^protocol\.scenarios is \['books'\]; user_cold knows no scenarios: use"),
        (
            ["protocol.name=scenario_transfer", "data.source=tables"],
            r"^protocol\.name is 'scenario_transfer'; each rating needs a scenario: set tables\.scenario to a column$",
        ),
        (
            ["protocol.name=scenario_transfer", "data.source=movielens-1m"],
            "^protocol.name is 'scenario_transfer'; the ratings of movielens-1m have no scenario: use tables with a",
        ),
        (
            ["protocol.name=item_tasks", "data.source=tables", "tables.users=u", "tables.user_features.id=numeric"],
            r"^tables\.user_features\.id is 'numeric'; in item tasks the raters' own field is called so$",
        ),
        (["protocol.max_ratings=11"], r"^protocol\.max_ratings is 11; use data\.min_ratings \(12\) or more, or 0$"),
        (
            [*NEGATIVES, "protocol.name=item_cold"],
            r"^task\.num_negatives is 3; .* no query item of item_cold is: use 0$",
        ),
    ],
)
def test_a_setting_that_means_nothing_under_the_protocol_is_refused(overrides, sentence):
    with pytest.raises(ConfigError, match=sentence):
        load_config(None, overrides)


@pytest.mark.parametrize("overrides", [["inner.lr=1", "inner.lr.x=2"], ["inner.lr.x=2", "inner.lr=1", "inner.lr.x=3"]])
def test_an_override_below_a_plain_setting_is_refused(overrides):
    with pytest.raises(ConfigError, match=r"inner\.lr"):
        load_config(None, overrides)


def test_a_setting_where_a_table_belongs_is_refused(write):
    path = write("inner = 3\n")
    with pytest.raises(ConfigError, match=r"^inner is 3; expected a table$"):
        load_config(path)
    with pytest.raises(ConfigError, match="inner"):
        load_config(path, ["inner.lr=1"])


def test_a_missing_file_is_named():
    with pytest.raises(ConfigError, match=r"^cannot read config /no/such\.toml: No such file or directory; name an "):
        load_config("/no/such.toml")


def test_a_file_that_is_no_toml_is_named_with_the_place(write):
    with pytest.raises(ConfigError, match=r"config\.toml is not valid TOML: .*line 2"):
        load_config(write("[inner]\nlr = = 3\n"))


def test_every_default_is_valid_by_itself():
    for field in dataclasses.fields(Config):
        table = field.default_factory()
        assert config_from_dict({field.name: config_to_dict(Config())[field.name]}) == Config(**{field.name: table})


def test_every_setting_is_explained_under_it():
    """The sentence under a field is what the documentation of settings is made of."""
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef) and node.name != "Config":
            for field, following in zip(node.body, node.body[1:], strict=False):
                if isinstance(field, ast.AnnAssign):
                    explained = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
                    assert explained, f"{node.name}.{ast.unparse(field.target)}"


def test_with_values_replaces_settings_by_their_dotted_name():
    config = with_values(Config(), {"inner.lr": 0.0625, "model.hidden": (3,)})
    assert (config.inner.lr, config.model.hidden) == (0.0625, (3,))
    assert differences(config, Config()) == ["model.hidden", "inner.lr"]


def test_with_values_refuses_what_a_file_would():
    with pytest.raises(ConfigError, match=r"unknown setting 'inner\.rate'"):
        with_values(Config(), {"inner.rate": 0.5})


def test_differences_leave_out_what_is_ignored():
    changed = load_config(None, ["inner.lr=0.0625", "train.num_workers=1"])
    assert differences(Config(), changed, ignore=["train.num_workers"]) == ["inner.lr"]
    assert differences(changed, changed) == []


def test_flat_names_are_the_names_of_overrides():
    for name, value in flatten(Config()).items():
        if isinstance(value, int | float):
            assert load_config(None, [f"{name}={str(value).lower()}"]) == Config()


def test_the_output_root_follows_config_then_environment_then_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("METAREC_HOME", str(tmp_path / "elsewhere"))
    assert load_config(None, ["output.root=~/here"]).output.uri == str(tmp_path / "here")
    assert Config().output.uri == str(tmp_path / "elsewhere")
    monkeypatch.delenv("METAREC_HOME")
    assert Config().output.uri == str(tmp_path / ".metarec")


def test_a_relative_root_becomes_absolute_and_a_uri_stays(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert load_config(None, ["output.root=out"]).output.uri == str(tmp_path / "out")
    monkeypatch.setenv("METAREC_HOME", "s3://bucket/metarec")
    assert Config().output.uri == "s3://bucket/metarec"


@pytest.mark.parametrize(
    ("overrides", "dataset", "model"),
    [
        ([], "synthetic", "metarec-synthetic"),
        (["data.source=movielens-100k"], "ml-100k", "metarec-ml-100k"),
        (["data.source=movielens-1m", "data.path=/data/other"], "ml-1m", "metarec-ml-1m"),
        (["data.source=tables", "data.path=/data/shop/"], "shop", "metarec-shop"),
        (["registry.model=mine"], "synthetic", "mine"),
    ],
)
def test_dataset_and_model_are_named_after_the_source(overrides, dataset, model):
    config = load_config(None, overrides)
    assert (config.dataset_name, config.model_name) == (dataset, model)


def test_a_folder_that_gives_a_model_no_name_is_refused_with_where_the_name_comes_from():
    sentence = (
        r"registry\.model is 'metarec-a:b'; use a name without .*; this one comes from the folder that data\.path"
    )
    with pytest.raises(ConfigError, match=sentence):
        load_config(None, ["data.source=tables", "data.path=/data/a:b", "tables.ratings=r.csv"])


@pytest.mark.parametrize(
    ("name", "uri", "shown", "remedy"),
    [
        ("tracking.uri", "http://me:pw@host:1/x", "http://host:1/x", "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PA"),
        ("tracking.uri", "https://token@host", "https://host", "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"),
        (
            "tracking.uri",
            "postgresql://me:pw@host/db",
            "postgresql://host/db",
            "MLFLOW_TRACKING_URI in the environment",
        ),
        ("tracking.uri", "mysql://host/db?user=me&password=pw", "mysql://host/db", "MLFLOW_TRACKING_URI in the env"),
        (
            "output.root",
            "s3://key:pw@bucket/x?region=y",
            "s3://bucket/x",
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        ("data.path", "s3://key:pw@bucket/x", "s3://bucket/x", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_a_setting_with_a_password_is_refused_without_showing_it(name, uri, shown, remedy):
    with pytest.raises(ConfigError) as caught:
        load_config(None, [f"{name}='{uri}'"])
    kept = "has a password or token in it, which would be kept with every run and model; leave it out and set"
    assert caught.value.message.startswith(f"{name} ({shown}) {kept} ")
    assert remedy in caught.value.message
    assert "pw" not in caught.value.message
    assert "token@" not in caught.value.message


@pytest.mark.parametrize(
    "override",
    [
        "output.root='gs://anonymous@bucket/x'",
        "output.root='s3://bucket/x?endpoint_override=http://host:1&region=y'",
        "tracking.uri='sqlite:////folder:a@b/mlflow.db'",
        "tracking.uri='http://host:5000/a@b'",
        "data.path='/folder:a@b'",
    ],
)
def test_a_uri_without_a_password_is_taken(override):
    assert load_config(None, [override])


def test_a_password_in_the_environments_output_root_is_refused(monkeypatch):
    monkeypatch.setenv("METAREC_HOME", "s3://key:pw@bucket/x")
    with pytest.raises(ConfigError, match=r"^METAREC_HOME \(s3://bucket/x\) has a password"):
        load_config()


def test_a_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().inner.lr = 1.0


@pytest.mark.parametrize(
    ("overrides", "in_time"),
    [
        ([], False),
        (["protocol.name=item_tasks"], True),
        (["protocol.name=item_tasks", "data.source=tables"], True),
        (["protocol.name=item_tasks", "data.source=tables", "tables.timestamp="], False),
    ],
)
def test_supports_are_what_came_first_in_item_tasks_whose_ratings_have_times(overrides, in_time):
    assert load_config(None, overrides).in_time is in_time


def test_models_that_recommend_users_have_a_name_of_their_own():
    assert load_config(None, ["protocol.name=item_tasks"]).model_name == "metarec-synthetic-item-tasks"
    assert load_config(None, ["protocol.name=warm"]).model_name == "metarec-synthetic"
