"""The learned mask on the line, done by hand, and what it switches."""

import math

import pytest
import torch

from metarec.algorithms.learned_mask import START, straight_through
from metarec.contracts import Algorithm
from tests.line import LINE_BATCH, LINE_CATALOGUE, WEIGHT, adapted_weight, line_gradients, make_line
from tests.worlds import make_batch, make_catalogue, make_learner

CATALOGUE = make_catalogue()


def line(*overrides, mask=START):
    learner = make_line("algorithm.name=learned_mask", *overrides)
    with torch.no_grad():
        mask_of(learner).fill_(mask)
        learner.algorithm.log_rate.fill_(math.log(0.1))
    return learner


def mask_of(learner):
    return learner.algorithm.mask()[WEIGHT]


def test_it_keeps_the_contract_of_an_algorithm():
    assert isinstance(line().algorithm, Algorithm)


@pytest.mark.parametrize(("mask", "weight"), [(START, 1.3), (0.0, 1.3), (-START, 0.0)])
def test_a_weight_moves_where_its_mask_is_not_negative(mask, weight):
    assert adapted_weight(line(mask=mask)) == pytest.approx(weight, abs=1e-15)


def test_the_switch_is_hard_and_its_slope_is_one():
    mask = torch.tensor([-3.0, -1e-9, 0.0, 1e-9, 0.1], dtype=torch.float64, requires_grad=True)
    switch = straight_through(mask)
    assert switch.tolist() == [0.0, 0.0, 1.0, 1.0, 1.0]
    assert torch.autograd.grad(switch.sum(), mask)[0].tolist() == [1.0] * 5


@pytest.mark.parametrize(("mask", "slope"), [(START, -0.6 * 1.3), (-START, -24 * 1.3)])
def test_the_slope_of_the_mask_is_that_of_the_step_whether_taken_or_not(mask, slope):
    """-α L'(0) = 1.3 is what the step adds, and L_query' is -0.6 at w' = 1.3 and -24 at 0."""
    learner = line(mask=mask)
    (found,) = torch.autograd.grad(learner(LINE_CATALOGUE, LINE_BATCH).surrogate, mask_of(learner))
    assert found.item() == pytest.approx(slope, abs=1e-13)


@pytest.mark.parametrize(("mask", "slope"), [(START, -0.3), (-START, -24.0)])
def test_a_weight_whose_mask_is_off_has_the_plain_query_gradient(mask, slope):
    """dw' / dw is 1 - 0.1 · 5 where the step is taken and 1 where it is not."""
    assert line_gradients(line(mask=mask))[0] == pytest.approx(slope, abs=1e-13)


@pytest.mark.parametrize("learned", ["true", "false"])
def test_at_first_it_is_maml(learned):
    settings = (f"inner.learned={learned}", "inner.steps=3")
    masked = make_learner("algorithm.name=learned_mask", *settings, perturbed=False)
    plain = make_learner(*settings, perturbed=False)
    batch = make_batch(5, 0, 2)
    for learner in (masked, plain):
        torch.nn.init.ones_(learner.model.head.parts[0].weight)
    assert torch.equal(masked.predict(CATALOGUE, batch), plain.predict(CATALOGUE, batch))
    assert ("algorithm.log_rate" in dict(masked.named_parameters())) is (learned == "true")


def test_each_weight_has_a_switch_of_its_own():
    learner, batch = make_learner("algorithm.name=learned_mask"), make_batch(5)
    name = "head.parts.0.weight"
    (mask, start), off = (learner.algorithm.mask()[name], learner.model.get_parameter(name)), [True, False, True]
    with torch.no_grad():
        learner.model.get_parameter("network.layers.0.bias").fill_(5.0)  # no unit is at rest
        mask.copy_(torch.tensor([[-1.0 if closed else 1.0 for closed in off]]))
    after = learner.adapt(CATALOGUE, batch.support, batch.task_seed).weights[name][0]
    assert (after == start)[0].tolist() == off


@pytest.mark.parametrize("padding", [0, 3])
def test_an_empty_support_leaves_the_initialisation(padding):
    learner, batch = make_learner("algorithm.name=learned_mask"), make_batch(0, padding)
    state = learner.adapt(CATALOGUE, batch.support, batch.task_seed)
    for name in learner.algorithm.loop.adapted:
        torch.testing.assert_close(state.weights[name][0], learner.model.get_parameter(name), rtol=0, atol=0)
