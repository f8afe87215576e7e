"""Steps that do not overshoot, on quadratics whose minimum is known."""

import pytest
import torch

from metarec.algorithms.descent import descend


def point(*values):
    return {"x": torch.tensor(values, dtype=torch.float64)}


def bowl(weights):
    """x² + 4 y²."""
    return (torch.tensor([1.0, 4.0], dtype=torch.float64) * weights["x"].square()).sum()


def step(rate, *values, loss=bowl):
    weights, length = descend(loss, point(*values), rate)
    return weights["x"].tolist(), length.item()


def test_a_step_that_stays_this_side_of_the_minimum_has_the_rate():
    """L' = 2 x = 6 at 3."""
    assert step(0.25, 3.0, 0.0) == ([1.5, 0.0], 0.25)


@pytest.mark.parametrize("rate", [0.5, 2.0, 64.0])
def test_a_longer_one_ends_at_the_minimum_along_the_slope(rate):
    """Along x the minimum is at 0, which the rate 1/2 = 1/L'' reaches."""
    assert step(rate, 3.0, 0.0) == ([0.0, 0.0], 0.5)


def test_the_minimum_along_a_slope_is_that_of_the_formula():
    """At (4, 1) the slope is (8, 8) and gᵀHg / gᵀg = (2 + 8) / 2 = 5."""
    weights, length = step(1.0, 4.0, 1.0)
    assert length == pytest.approx(0.2, abs=1e-15)
    assert weights == pytest.approx([4 - 1.6, 1 - 1.6], abs=1e-14)


def test_many_steps_arrive_at_any_rate():
    weights = point(4.0, 1.0)
    for _ in range(100):
        weights, _ = descend(bowl, weights, 1e6)
    assert weights["x"].tolist() == pytest.approx([0.0, 0.0], abs=1e-12)


def test_at_the_minimum_it_stays():
    assert step(0.5, 0.0, 0.0) == ([0.0, 0.0], 0.5)


def test_where_the_loss_bends_down_the_step_has_the_rate():
    """-x² has the slope -2 x = -2 at 1."""
    assert step(0.25, 1.0, loss=lambda weights: -weights["x"].square().sum()) == ([1.5], 0.25)


def test_mapped_over_tasks_each_has_its_own_length():
    starts = torch.tensor([[3.0, 0.0], [0.0, 3.0], [0.0, 0.0]], dtype=torch.float64)
    weights, lengths = torch.func.vmap(lambda x: descend(bowl, {"x": x}, 0.25))(starts)
    assert lengths.tolist() == [0.25, 0.125, 0.25]
    assert weights["x"].tolist() == [[1.5, 0.0], [0.0, 0.0], [0.0, 0.0]]
