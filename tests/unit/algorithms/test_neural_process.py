"""The neural process with weights so simple that its one pass can be done by hand."""

import math

import pytest
import torch

from tests.points import plane, points_task, predictions, set_exp
from tests.worlds import make_batch, make_catalogue, make_learner

RATED = {(1.0, 0.0): 3.0, (2.0, 0.0): 5.0}


def simple():
    """A latent of width 1: a row says its x, a rating itself, m = 11; γ(u) is the latent, β 0, W_2 = 1/2, b_2 = 1."""
    learner = plane("neural_process", "algorithm.latent_width=1")
    algorithm = learner.algorithm
    with torch.no_grad():
        for parameter in algorithm.parameters():
            parameter.zero_()
        for weight in (algorithm.rows.weight, algorithm.ratings.weight, algorithm.hidden.weight):
            weight[0, 0] = 1.0
        algorithm.modulation.weight[0, 0] = 1.0
        algorithm.decision.weight.fill_(0.5)
        algorithm.decision.bias.fill_(1.0)
    set_exp(algorithm.log_prior_mass, 11.0)
    return learner


def latent(learner, rated):
    catalogue, batch = points_task(rated, {(0.0, 0.0): 1.0})
    return learner.adapt(catalogue, batch.support, batch.task_seed).latent[0].tolist()


def test_the_latent_is_the_damped_mean_of_rows_times_ratings_and_the_log_of_their_number():
    """(1 * 3 + 2 * 5) / (2 + 11) and log(1 + 2)."""
    assert latent(simple(), RATED) == pytest.approx([1.0, math.log(3)], abs=1e-14)


def test_the_latent_of_nothing_is_zero():
    assert latent(simple(), {}) == [0.0, 0.0]


def test_the_latent_scales_the_hidden_units_of_the_decoder():
    """(1 + 1) * 3 / 2 + 1 at x = 3; at x = -3 the ReLU leaves b_2."""
    assert predictions(simple(), RATED, (3.0, 0.0), (-3.0, 0.0)) == pytest.approx([4.0, 1.0], abs=1e-14)


def test_the_latent_shifts_the_hidden_units_before_the_relu():
    """With β(u) twice the latent of 1 beside γ: (2 * -0.5 + 2) / 2 + 1 at x = -0.5."""
    learner = simple()
    with torch.no_grad():
        learner.algorithm.modulation.weight[1, 0] = 2.0
    assert predictions(learner, RATED, (-0.5, 0.0)) == pytest.approx([1.5], abs=1e-14)


@pytest.mark.parametrize("num_support", [0, 4])
def test_untrained_it_predicts_the_base(num_support):
    """Offset, item bias, and the user bias of n ratings with a damping of 2."""
    learner = make_learner("algorithm.name=neural_process", perturbed=False)
    catalogue, batch = make_catalogue(), make_batch(num_support)

    def floor(rows):
        return catalogue.offset + catalogue.item_bias[rows.item[0]]

    user_bias = (batch.support.target[0] - floor(batch.support)).sum(0) / (num_support + 2)
    torch.testing.assert_close(learner.predict(catalogue, batch)[0], floor(batch.query) + user_bias)


def test_it_is_amortised_and_its_scores_may_be_logits():
    capabilities = plane("neural_process").algorithm.capabilities
    assert capabilities.amortised
    assert not capabilities.regresses
    learner = make_learner("algorithm.name=neural_process", "outer.loss=cross_entropy")
    found = learner.predict(make_catalogue(), make_batch(4))
    assert ((found > 1) & (found < 5)).all()
