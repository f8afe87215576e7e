"""What people hold in their hands: adapting, recommending, and travelling as safetensors and JSON."""

import json

import pytest
import torch

from metarec.errors import RequestError, StorageError
from metarec.evaluate.predictor import OrderAlone
from metarec.schema import Head
from metarec.serving.learner import CATALOGUE, DESCRIPTION, WEIGHTS, Learner
from metarec.serving.raw_features import encode_features
from tests.tiny_learner import FIELDS, ITEMS, TITLES, tiny_learner


@pytest.fixture(scope="module")
def floor():
    return tiny_learner("inner.lr=1e-9", "model.user_bias_damping=2", trained=False)


@pytest.fixture(scope="module")
def learner():
    return tiny_learner()


def test_without_training_it_predicts_item_bias_plus_the_damped_bias_of_the_user(floor):
    """The user gave 5 to an item whose base is 3.5 + 0.5, so the bias is (5 - 4) / (2 + 1)."""
    adapted = floor.adapt({"7": 5})
    assert adapted.predict(["11", "13"]) == pytest.approx([3.7 + 1 / 3, 3.1 + 1 / 3], abs=1e-5)


def test_ranks_by_the_prediction_and_reports_it_clipped(floor):
    best = floor.adapt({"7": 5}).recommend(k=2)
    assert [(each.item, each.title) for each in best] == [("17", "Gamma"), ("11", "Beta")]
    assert [each.score for each in best] == pytest.approx([5.0, 3.7 + 1 / 3], abs=1e-5)


def test_items_beyond_the_scale_are_still_ranked():
    learner = tiny_learner("inner.lr=1e-9", "model.user_bias_damping=2", trained=False)
    learner.catalogue.item_bias[:] = torch.tensor([2.0, 3.0, 4.0, 1.9, 0.0])[:, None]
    best = learner.adapt({}).recommend(k=3)
    assert [(each.item, each.score) for each in best] == [("13", 5.0), ("11", 5.0), ("7", 5.0)]


def test_an_item_that_the_user_rated_is_never_recommended(learner):
    best = learner.adapt({"11": 5, "17": 1}).recommend(k=3)
    assert sorted(each.item for each in best) == ["13", "19", "7"]


def test_a_user_without_ratings_gets_the_best_of_an_unknown_user(floor):
    assert [each.item for each in floor.adapt({}).recommend(k=3)] == ["17", "7", "11"]


def test_adapting_moves_predictions_towards_the_ratings():
    learner = tiny_learner("inner.lr=0.1", "model.residual='none'")
    with torch.no_grad():
        learner.module.model.head.parts[0].bias.fill_(3.0)
    before = learner.adapt({}).predict(["13"])[0]
    low, high = (learner.adapt({"13": rating}).predict(["13"])[0] for rating in (1, 5))
    assert low < before < high


def test_the_support_of_a_request_has_the_negatives_that_it_had_in_training(monkeypatch):
    """Two events of five items, of which "19" has no id in the vocabulary, so that "11" and "17" are left."""
    events = ("data.source=tables", "tables.rating=", "task.num_negatives=1", "outer.loss=cross_entropy")
    learner, supports = tiny_learner(*events, head=Head("event", 0.0, 1.0)), []
    adapt = learner.module.adapt
    monkeypatch.setattr(
        learner.module, "adapt", lambda c, support, seed: supports.append(support) or adapt(c, support, seed)
    )
    for _ in range(2):
        learner.adapt({"7": 1, "13": 1}).recommend(k=1)
    assert supports[0].item[0, ::2].tolist() == [0, 2]
    assert sorted(supports[0].item[0, 1::2].tolist()) == [1, 3]
    assert supports[0].target[0, :, 0].tolist() == [1, 0, 1, 0]
    assert all(torch.equal(first, second) for first, second in zip(*supports, strict=True))


def test_one_user_leaves_no_trace_on_the_next(learner):
    first = learner.adapt({"7": 5}).predict(ITEMS)
    learner.adapt({"7": 1, "11": 1}).recommend(k=1)
    assert learner.adapt({"7": 5}).predict(ITEMS) == first


def test_pairs_and_mappings_mean_the_same(learner):
    assert learner.adapt([("7", 5.0), ("11", 2.0)]).predict(ITEMS) == learner.adapt({"7": 5, "11": 2}).predict(ITEMS)


def test_features_of_the_user_change_predictions_and_unknown_values_count_as_unknown(learner):
    plain = learner.adapt({"7": 5}).predict(ITEMS)
    assert learner.adapt({"7": 5}, user={"age": "25", "height": 190}).predict(ITEMS) != plain
    assert learner.adapt({"7": 5}, user={"age": "99"}).predict(ITEMS) == plain


def test_every_kind_of_user_feature_is_encoded():
    user = {"age": "25", "tastes": "tango|jazz", "height": "180", "survey": "0.5 -1"}
    encoded = encode_features(FIELDS, [user], "|", word="user")
    assert encoded["age"].tolist() == [[2]]
    assert sorted(encoded["tastes"].tolist()[0]) == [1, 3]
    assert encoded["height"].tolist() == [[1.0]]
    assert encoded["survey"].tolist() == [[0.5, -1.0]]


def test_what_is_left_out_is_unknown():
    encoded = encode_features(FIELDS, [{"tastes": ["chess"]}], "|", word="user")
    assert {name: tensor.tolist() for name, tensor in encoded.items()} == {
        "age": [[0]], "tastes": [[0, 0]], "height": [[0.0]], "survey": [[0.0, 0.0]]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("ratings", "user", "message"),
    [
        ({"beta": 4}, {}, r"item 'beta' is not among the 5 items.*nearest: '11' \(Beta\), '13' \(Beta Returns\)"),
        ({"111": 4}, {}, r"item '111' is not among .*nearest: '11' \(Beta\)"),
        ({"": 4}, {}, r"item '' is not among .*named like '7', '11', '13'"),
        ({"7": 5.5}, {}, "item '7' has rating 5.5; use 1 to 5"),
        ({"7": float("nan")}, {}, "item '7' has rating nan; use 1 to 5"),
        ([("7", 5), ("7", 4)], {}, "item '7' has 2 ratings"),
        ({}, {"agee": "25"}, "user feature 'agee' is unknown; this model knows age, tastes, height, survey"),
        ({}, {"height": "tall"}, "user feature 'height' is 'tall'; it takes a finite number"),
        ({}, {"height": "inf"}, "user feature 'height' is 'inf'; it takes a finite number"),
        ({}, {"survey": "1 2 3"}, "user feature 'survey' has 3 numbers; it takes 2"),
    ],
)
def test_a_request_that_cannot_be_met_says_why(learner, ratings, user, message):
    with pytest.raises(RequestError, match=message):
        learner.adapt(ratings, user=user)


def test_a_learner_of_item_tasks_speaks_of_users():
    learner = tiny_learner("protocol.name=item_tasks")
    best = learner.adapt({"7": 5}, user={"age": "25"}).recommend(k=4)
    assert {each.item for each in best} == set(ITEMS) - {"7"}
    with pytest.raises(
        RequestError, match=r"user 'beta' is not among the 5 users of this model; nearest: '11' \(Beta\)"
    ):
        learner.adapt({"beta": 4})
    with pytest.raises(RequestError, match="user '7' has 2 ratings; give one rating for each user"):
        learner.adapt([("7", 5), ("7", 4)])
    with pytest.raises(RequestError, match="k is 5; use 1 to 4, the users without a rating"):
        learner.adapt({"7": 5}).recommend(k=5)


@pytest.mark.parametrize("k", [0, 5])
def test_more_items_than_there_are_cannot_be_recommended(learner, k):
    with pytest.raises(RequestError, match=f"k is {k}; use 1 to 4"):
        learner.adapt({"7": 3}).recommend(k=k)


def test_an_item_to_predict_must_be_known(learner):
    with pytest.raises(RequestError, match="item '8' is not among"):
        learner.adapt({}).predict(["8"])


def test_files_and_back_gives_identical_predictions(learner):
    again = Learner.from_files(learner.to_files())
    for support in ({}, {"7": 5, "17": 2}):
        assert again.adapt(support).predict(ITEMS) == learner.adapt(support).predict(ITEMS)
    assert (again.item_ids, again.item_titles, again.facts) == (ITEMS, TITLES, learner.facts)
    assert (again.config, again.schema) == (learner.config, learner.schema)


def test_files_hold_no_feature_of_a_user(learner):
    assert learner.catalogue.user_features == {}
    assert b"user" not in learner.to_files()[CATALOGUE]


def test_a_missing_file_is_named(learner):
    files = learner.to_files()
    del files[CATALOGUE]
    with pytest.raises(StorageError, match=r"the model has no catalogue\.safetensors"):
        Learner.from_files(files)


def test_weights_of_another_config_are_refused(learner):
    files = learner.to_files()
    description = json.loads(files[DESCRIPTION])
    description["config"]["model"]["embedding_width"] = 8
    files[DESCRIPTION] = json.dumps(description).encode()
    with pytest.raises(StorageError, match=rf"{WEIGHTS} does not fit the config"):
        Learner.from_files(files)


@pytest.mark.parametrize(
    ("settings", "is_exact"),
    [
        (("algorithm.name=maml",), False),
        (("algorithm.name=alpaca", "model.name=mf", "model.residual=item"), True),
        (("algorithm.name=alpaca", "model.member_names=['mf', 'melu']", "model.residual=item"), True),
    ],
)
def test_a_committee_is_served_as_a_learner_is(settings, is_exact):
    learner = tiny_learner(*settings, "model.members=2")
    again = Learner.from_files(learner.to_files())
    user = learner.adapt([("7", 5), ("13", 2), ("11", 1)])
    assert again.adapt([("7", 5), ("13", 2), ("11", 1)]).predict(ITEMS) == user.predict(ITEMS)
    assert len(user.explain("17")) == 3
    followed = learner.adapt({"7": 5}).follow({"13": 2}).follow({"11": 1})
    if is_exact:
        assert followed.predict(ITEMS) == pytest.approx(user.predict(ITEMS), abs=1e-4)
    else:
        assert followed.predict(ITEMS) != learner.adapt({"7": 5}).predict(ITEMS)


@pytest.mark.parametrize(("loss", "order_alone"), [("pairwise", True), ("softmax", True), ("cross_entropy", False)])
def test_a_learner_says_whether_its_scores_tell_an_order_alone(loss, order_alone):
    learner = tiny_learner(f"outer.loss={loss}", "evaluate.primary=ndcg@5")
    assert isinstance(learner.predictor, OrderAlone) == order_alone
