"""Inner steps and their loss on functions whose derivatives are known."""

import pytest
import torch

from metarec.algorithms.inner_loop import gradient_steps, minibatches


def quadratic(weights):
    return (weights["a"] - 3).square().sum() + 2 * weights["b"].square().sum()


def start():
    return {
        "a": torch.tensor([1.0], dtype=torch.float64, requires_grad=True),
        "b": torch.tensor([2.0], dtype=torch.float64, requires_grad=True),
    }


def rate(a, b):
    return {"a": torch.tensor(a, dtype=torch.float64), "b": torch.tensor(b, dtype=torch.float64)}


def test_each_tensor_and_step_has_its_own_rate():
    """a: 1 - 0.25 (2)(-2) = 2, then 2 - 0.5 (2)(-1) = 3. b: 2 - 0.125 (4)(2) = 1, then 1 - 0 = 1."""
    after = gradient_steps([quadratic] * 2, start(), [rate(0.25, 0.125), rate(0.5, 0.0)], first_order=False)[-1]
    assert (after["a"].item(), after["b"].item()) == (3.0, 1.0)


def test_without_a_step_the_weights_stay():
    weights = start()
    assert gradient_steps([], weights, [], first_order=False) == [weights]


@pytest.mark.parametrize(("first_order", "expected"), [(False, 0.5 * 0.2), (True, 1.0)])
def test_the_derivative_goes_through_the_steps_unless_it_is_first_order(first_order, expected):
    """a_1 = a - 2 r (a - 3), so that da_1/da = 1 - 2 r: 0.5 for r = 0.25 and 0.2 for r = 0.4; 1 in first order."""
    weights = start()
    rates = [rate(0.25, 0.1), rate(0.4, 0.1)]
    after = gradient_steps([quadratic] * 2, weights, rates, first_order=first_order)[-1]
    (slope,) = torch.autograd.grad(after["a"], weights["a"])
    assert slope.item() == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("first_order", [False, True])
def test_the_derivative_by_the_rate_is_the_gradient_it_multiplies(first_order):
    """da_1/dr = -2 (a - 3) = 4 at a = 1."""
    rates = rate(0.25, 0.1)
    rates["a"].requires_grad_()
    after = gradient_steps([quadratic], start(), [rates], first_order=first_order)[-1]
    assert torch.autograd.grad(after["a"].sum(), rates["a"])[0].item() == 4.0


def test_an_array_of_rates_is_one_for_each_element():
    weights = {"a": torch.zeros(2, dtype=torch.float64)}
    rates = [{"a": torch.tensor([0.5, 0.0])}]
    _, after = gradient_steps([lambda w: (w["a"] - 3).square().sum()], weights, rates, first_order=False)
    assert after["a"].tolist() == [3.0, 0.0]


def draw(num_rows, size, seed=5, steps=40, padding=0):
    mask = torch.arange(num_rows + padding) < num_rows
    return torch.stack(minibatches(mask, torch.tensor(seed), steps=steps, size=size))


def test_a_minibatch_has_its_size_or_all_there_is():
    assert draw(7, 3).sum(1).tolist() == [3] * 40
    assert draw(2, 3).sum(1).tolist() == [2] * 40
    assert draw(7, 0).all()
    assert draw(0, 3).shape == (40, 0)


def test_every_row_has_its_turn_and_steps_differ():
    """Of 40 draws of 3 from 7, each row is in 17 on average, 3.1 one standard deviation."""
    drawn = draw(7, 3)
    assert all(5 < count < 30 for count in drawn.sum(0).tolist())
    assert len({tuple(row) for row in drawn.tolist()}) > 15


def test_a_minibatch_depends_on_the_seed_and_not_on_padding():
    assert torch.equal(draw(7, 3, padding=4)[:, :7], draw(7, 3))
    assert not draw(7, 3, padding=4)[:, 7:].any()
    assert not torch.equal(draw(7, 3, seed=6), draw(7, 3))


def test_a_minibatch_does_not_depend_on_padding_between_rows():
    """As where two padded sets are joined: the same real rows are drawn, wherever they stand."""
    seed, gaps = torch.tensor(11), torch.tensor([1, 1, 0, 0, 1, 0, 1, 1], dtype=torch.bool)
    drawn = minibatches(gaps, seed, steps=4, size=2)
    alone = minibatches(torch.ones(5, dtype=torch.bool), seed, steps=4, size=2)
    assert [rows[gaps].tolist() for rows in drawn] == [rows.tolist() for rows in alone]
    assert not any(rows[~gaps].any() for rows in drawn)
