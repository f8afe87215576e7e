"""Which items to ask a new user about."""

import numpy as np
import pytest
from test_learner import ITEMS, tiny_learner

from metarec.errors import RequestError
from metarec.learner import Learner
from metarec.onboarding import STATISTICS, choose_questions, evidence_values, variance_values

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


@pytest.mark.parametrize("by", ["variance", "evidence"])
def test_nobody_is_asked_about_an_item_without_a_training_rating(learner, by):
    assert {each.item for each in choose_questions(learner, 4, by=by)} == set(ITEMS[:4])
    with pytest.raises(RequestError, match="5 items to ask about; use 1 to 4, those with a training rating"):
        choose_questions(learner, 5, by=by)


def test_batches_of_questions_change_no_value(learner, monkeypatch):
    together = evidence_values(learner, COUNT, MEAN, VARIANCE)
    monkeypatch.setattr("metarec.onboarding.ASKED_AT_ONCE", 1)
    assert evidence_values(learner, COUNT, MEAN, VARIANCE) == pytest.approx(together, abs=1e-6)


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
