"""Inner steps and their loss on functions whose derivatives are known."""

import math

import pytest
import torch

from metarec.algorithms.inner_loop import absolute_error, damped_loss, gradient_steps, squared_error


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def quadratic(weights):
    return (weights["a"] - 3).square().sum() + 2 * weights["b"].square().sum()


def start():
    return {
        "a": torch.tensor([1.0], dtype=torch.float64, requires_grad=True),
        "b": torch.tensor([2.0], dtype=torch.float64, requires_grad=True),
    }


def rate(a, b):
    return {"a": torch.tensor(a, dtype=torch.float64), "b": torch.tensor(b, dtype=torch.float64)}


def test_the_squared_error_is_the_mean_over_what_was_observed():
    """Errors 1 and 3 are observed, the 100 is not: (1 + 9) / 2."""
    observed = column(1, 1, 0).bool()
    assert squared_error(column(1, 0, 100), column(0, 3, 0), observed).item() == 5.0


def test_the_absolute_error_is_the_mean_over_what_was_observed_and_0_of_nothing():
    """Errors 1 and -3 are observed, the 100 is not: (1 + 3) / 2."""
    assert absolute_error(column(1, 0, 100), column(0, 3, 0), column(1, 1, 0).bool()).item() == 2.0
    assert absolute_error(column(7), column(0), column(0).bool()).item() == 0.0


def test_damping_adds_ratings_without_an_error():
    """(1 + 9) / (2 + 3)."""
    assert damped_loss(column(1, 0), column(0, 3), column(1, 1).bool(), damping=3.0).item() == 2.0


@pytest.mark.parametrize("damping", [0.0, 2.0])
@pytest.mark.parametrize("values", [(), (7.0,)])
def test_the_loss_of_nothing_is_zero_with_a_gradient_of_zero(values, damping):
    scores = column(*values).requires_grad_()
    loss = damped_loss(scores, torch.zeros_like(scores), torch.zeros_like(scores, dtype=torch.bool), damping)
    assert loss.item() == 0.0
    assert not torch.autograd.grad(loss, scores)[0].any()


def test_a_target_that_is_not_a_number_counts_for_nothing_where_it_was_not_observed():
    scores = column(1.0, 2.0).requires_grad_()
    loss = squared_error(scores, column(0.0, math.nan), column(1, 0).bool())
    assert loss.item() == 1.0
    assert torch.autograd.grad(loss, scores)[0].flatten().tolist() == [2.0, 0.0]


def test_each_tensor_and_step_has_its_own_rate():
    """a: 1 - 0.25 (2)(-2) = 2, then 2 - 0.5 (2)(-1) = 3. b: 2 - 0.125 (4)(2) = 1, then 1 - 0 = 1."""
    after = gradient_steps(quadratic, start(), [rate(0.25, 0.125), rate(0.5, 0.0)], first_order=False)
    assert (after["a"].item(), after["b"].item()) == (3.0, 1.0)


def test_without_a_step_the_weights_stay():
    weights = start()
    assert gradient_steps(quadratic, weights, [], first_order=False) == weights


@pytest.mark.parametrize(("first_order", "expected"), [(False, 0.5 * 0.2), (True, 1.0)])
def test_the_derivative_goes_through_the_steps_unless_it_is_first_order(first_order, expected):
    """a_1 = a - 2 r (a - 3), so that da_1/da = 1 - 2 r: 0.5 for r = 0.25 and 0.2 for r = 0.4; 1 in first order."""
    weights = start()
    after = gradient_steps(quadratic, weights, [rate(0.25, 0.1), rate(0.4, 0.1)], first_order=first_order)
    (slope,) = torch.autograd.grad(after["a"], weights["a"])
    assert slope.item() == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("first_order", [False, True])
def test_the_derivative_by_the_rate_is_the_gradient_it_multiplies(first_order):
    """da_1/dr = -2 (a - 3) = 4 at a = 1."""
    rates = rate(0.25, 0.1)
    rates["a"].requires_grad_()
    after = gradient_steps(quadratic, start(), [rates], first_order=first_order)
    assert torch.autograd.grad(after["a"].sum(), rates["a"])[0].item() == 4.0


def test_an_array_of_rates_is_one_for_each_element():
    weights = {"a": torch.zeros(2, dtype=torch.float64)}
    after = gradient_steps(
        lambda w: (w["a"] - 3).square().sum(), weights, [{"a": torch.tensor([0.5, 0.0])}], first_order=False
    )
    assert after["a"].tolist() == [3.0, 0.0]
