"""Meta-SGD on the line, done by hand, and what its rates are."""

import pytest
import torch

from metarec.contracts import Algorithm
from tests.line import LINE_BATCH, LINE_CATALOGUE, WEIGHT, adapted_weight, line_gradients, make_line
from tests.worlds import make_batch, make_catalogue, make_learner

CATALOGUE = make_catalogue()


def line(*overrides, rate=0.1):
    learner = make_line("algorithm.name=meta_sgd", *overrides)
    with torch.no_grad():
        rate_of(learner).fill_(rate)
    return learner


def rate_of(learner):
    return learner.algorithm.rate()[WEIGHT]


def slope_of_the_rate(learner):
    (slope,) = torch.autograd.grad(learner(LINE_CATALOGUE, LINE_BATCH).surrogate, rate_of(learner))
    return slope.item()


def test_it_keeps_the_contract_of_an_algorithm():
    assert isinstance(line().algorithm, Algorithm)


@pytest.mark.parametrize(("rate", "weight"), [(0.1, 1.3), (0.0, 0.0), (-0.1, -1.3)])
def test_a_step_goes_down_nowhere_or_up_as_the_sign_of_the_rate_says(rate, weight):
    """L'(0) = -13."""
    assert adapted_weight(line(rate=rate)) == pytest.approx(weight, abs=1e-15)


def test_the_slope_of_the_rate_is_the_one_taken_by_hand():
    """L_query'(1.3) = -0.6 and dw' / dα = -L'(0) = 13."""
    assert slope_of_the_rate(line()) == pytest.approx(-7.8, abs=1e-13)


def test_two_steps_share_the_rate():
    """w_2 = 26 α - 65 α² = 1.95, L_query'(w_2) = 11.1 and dw_2 / dα = 26 - 130 α = 13."""
    learner = line("inner.steps=2")
    assert adapted_weight(learner) == pytest.approx(1.95, abs=1e-14)
    assert slope_of_the_rate(learner) == pytest.approx(144.3, abs=1e-12)


@pytest.mark.parametrize(("first_order", "slope"), [("false", -0.3), ("true", -0.6)])
def test_the_meta_gradient_of_the_weight_is_the_one_taken_by_hand(first_order, slope):
    """L_query'(1.3) = -0.6 and dw' / dw = 1 - 0.1 · 5, which first order leaves out."""
    learner = line(f"algorithm.first_order={first_order}")
    assert line_gradients(learner)[0] == pytest.approx(slope, abs=1e-14)


def test_a_minibatch_step_is_that_of_one_of_the_ratings():
    """The first alone has L'(0) = -6 and the second -20; seeds draw both."""
    learner = line("inner.batch_size=1")
    seeds = torch.arange(16)[:, None]
    weights = {learner.adapt(LINE_CATALOGUE, LINE_BATCH.support, seed).weights[WEIGHT].item() for seed in seeds}
    assert sorted(weights) == pytest.approx([0.6, 2.0], abs=1e-15)


@pytest.mark.parametrize("learned", ["true", "false"])
def test_rates_start_at_inner_lr_and_are_always_learned(learned):
    learner = make_learner(
        "algorithm.name=meta_sgd",
        "inner.lr=0.25",
        f"inner.learned={learned}",
        "algorithm.adapt=head.*",
        perturbed=False,
    )
    rates = {name: p for name, p in learner.named_parameters() if name.startswith("algorithm.")}
    assert list(rates) == [f"algorithm.rate.numbers.head/parts/{part}" for part in ("0/bias", "0/weight", "1/weight")]
    assert all((rate == 0.25).all() and rate.requires_grad for rate in rates.values())


@pytest.mark.parametrize("padding", [0, 3])
def test_an_empty_support_leaves_the_initialisation(padding):
    learner, batch = make_learner("algorithm.name=meta_sgd"), make_batch(0, padding)
    state = learner.adapt(CATALOGUE, batch.support, batch.task_seed)
    for name in learner.algorithm.loop.adapted:
        torch.testing.assert_close(state.weights[name][0], learner.model.get_parameter(name), rtol=0, atol=0)
