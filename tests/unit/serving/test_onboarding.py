"""Which items to ask a new user about."""

import numpy as np
import pytest
import torch

from metarec.build import ALGORITHMS, build_learner
from metarec.config import load_config
from metarec.errors import RequestError
from metarec.schema import FeatureField, Head, Schema
from metarec.serving.learner import STATISTICS, Learner
from metarec.serving.onboarding import choose_questions, evidence_values, gradient_values, variance_values
from metarec.task import Catalogue
from tests.tiny_learner import ITEMS, tiny_learner

COUNT = np.array([8, 4, 4, 1, 0])
MEAN = np.array([4.0, 3.5, 3.0, 5.0, 0.0])
VARIANCE = np.array([0.0, 0.5, 2.0, 0.0, 0.0])


@pytest.fixture(scope="module")
def learner():
    """Untrained: predictions are item bias and the user's bias, damped by 2."""
    made = tiny_learner("inner.lr=1e-9", "model.user_bias_damping=2", trained=False)
    made.facts[STATISTICS] = {"num_ratings": COUNT.tolist(), "mean": MEAN.tolist(), "variance": VARIANCE.tolist()}
    return made


def test_the_variance_choice_is_variance_times_the_logarithm_of_popularity(learner):
    assert variance_values(COUNT, VARIANCE) == pytest.approx([0, 0.5 * np.log(5), 2 * np.log(5), 0, 0])
    chosen = choose_questions(learner, 2, by="variance")
    assert [(each.item, each.title, each.num_ratings) for each in chosen] == [
        ("13", "Beta Returns", 4), ("11", "Beta", 4),
    ]  # fmt: skip


def test_the_evidence_choice_is_how_far_answers_move_predictions_times_popularity(learner):
    """A rating r of an item with base b moves each prediction by (r - b) / 3; the bases are 4, 3.7, 3.1 and 4.9.

    Over the two answers: r - b is 0 and 0, -0.2 ± 0.707, -0.1 ± 1.414, and 0.1; the counts scale to 1, 3/7, 3/7, 0.
    """
    moved = np.array([0.0, np.hypot(0.2, 0.5**0.5), np.hypot(0.1, 2**0.5), 0.1]) / 3
    expected = (moved - moved.min()) / (moved.max() - moved.min()) * np.array([1, 3 / 7, 3 / 7, 0])
    assert evidence_values(learner, COUNT, MEAN, VARIANCE) == pytest.approx([*expected, 0], abs=1e-5)
    assert [each.item for each in choose_questions(learner, 1, by="evidence")] == ["13"]


def linear_learner(num_items):
    """MAML on score = w x + b from w = b = 0; x goes from -1 to 1 over the items, and targets are whole ratings."""
    settings = ("model.name=linear", "model.residual=none", "model.embedding_width=1")
    config, names = load_config(overrides=list(settings)), tuple(f"film {number}" for number in range(num_items))
    schema = Schema((), (FeatureField("x", "numeric"),), (Head("rating", 1.0, 5.0),))
    module = build_learner(config, schema)
    with torch.no_grad():
        for name, parameter in module.model.named_parameters():
            parameter.fill_(float(name.startswith("encoder")))
    points = torch.linspace(-1, 1, num_items)[:, None]
    catalogue = Catalogue({}, {"x": points}, torch.tensor([3.0]), torch.zeros(num_items, 1))
    return Learner(module, config, schema, catalogue, names, names, {})


def test_the_gradient_choice_is_melus_norm_of_the_inner_gradient_times_popularity():
    """The gradient of (w x + b - r)² at 0 is -2 r (x, 1), so that its norm goes as r √(1 + x²), the mean as the mean.

    Items have x = -1, 0, 1, means 4, 3, 5 and counts 4, 8, 0: norms go as 4 √2 and 3, the third has no rater.
    """
    learner, count = linear_learner(3), np.array([4, 8, 0])
    found = gradient_values(learner, count, np.array([4.0, 3.0, 5.0]), np.array([0.0, 1.0, 0.0]))
    assert found == pytest.approx([4 / 8, 3 / (4 * 2**0.5), 0], abs=1e-6)
    learner.facts[STATISTICS] = {"num_ratings": count.tolist(), "mean": [4.0, 3.0, 5.0], "variance": [0.0, 1.0, 0.0]}
    assert [each.item for each in choose_questions(learner, 2, by="gradient")] == ["film 1", "film 0"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_algorithm_without_inner_steps_has_no_gradient_to_ask_by(algorithm):
    learner = tiny_learner(f"algorithm.name={algorithm}")
    learner.facts[STATISTICS] = {"num_ratings": COUNT.tolist(), "mean": MEAN.tolist(), "variance": VARIANCE.tolist()}
    if algorithm in ("maml", "meta_sgd", "reptile", "imaml", "learned_mask", "fine_tuned"):
        assert len(choose_questions(learner, 4, by="gradient")) == 4
        return
    with pytest.raises(RequestError, match=f"{algorithm} on melu takes no inner steps, .*; ask by evidence"):
        choose_questions(learner, 4, by="gradient")


def test_a_loss_of_orders_has_no_gradient_of_a_single_rating():
    learner = tiny_learner("inner.loss=pairwise", "outer.loss=pairwise", "evaluate.primary=ndcg@5")
    with pytest.raises(RequestError, match=r"inner\.loss is 'pairwise', of which a single rating has no gradient"):
        gradient_values(learner, COUNT, MEAN, VARIANCE)


@pytest.mark.parametrize("by", ["variance", "evidence", "gradient"])
def test_nobody_is_asked_about_an_item_without_a_training_rating(learner, by):
    assert {each.item for each in choose_questions(learner, 4, by=by)} == set(ITEMS[:4])
    with pytest.raises(RequestError, match="5 items to ask about; use 1 to 4, those with a training rating"):
        choose_questions(learner, 5, by=by)


def test_batches_of_questions_change_no_value(learner, monkeypatch):
    choices = (evidence_values, gradient_values)
    together = [values(learner, COUNT, MEAN, VARIANCE) for values in choices]
    monkeypatch.setattr("metarec.serving.onboarding.ASKED_AT_ONCE", 1)
    for values, expected in zip(choices, together, strict=True):
        assert values(learner, COUNT, MEAN, VARIANCE) == pytest.approx(expected, abs=1e-6)


def test_the_statistics_travel_with_the_model(learner):
    again = Learner.from_files(learner.to_files())
    assert choose_questions(again, 3, by="evidence") == choose_questions(learner, 3, by="evidence")


def test_a_model_without_statistics_says_what_to_do():
    with pytest.raises(RequestError, match=r"does not say how often .*; train and register it again"):
        choose_questions(tiny_learner(), 1, by="variance")


def test_events_which_are_all_alike_are_not_asked_about_by_variance():
    learner = tiny_learner()
    learner.facts[STATISTICS] = {"num_ratings": [1] * 5, "mean": [1.0] * 5, "variance": [0.0] * 5}
    with pytest.raises(RequestError, match="no item has training ratings that differ; ask by evidence"):
        choose_questions(learner, 1, by="variance")
