"""The decision on a few ratings by hand, and what its hats hold."""

import math

import pytest
import torch

from metarec.algorithms.decision import NUM_KNOTS, Decision
from metarec.schema import Head

RATING, CLICK = Head("rating", 1.0, 5.0), Head("click", 0.0, 1.0)
EVERY = (NUM_KNOTS - 1) // 4
"""Knots from one whole rating to the next."""


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_untrained_it_decides_for_the_estimate_on_and_off_the_scale():
    decision = Decision([RATING], width=4).double()
    estimate = column(-2.0, 1.0, 3.3, 9.0)
    assert torch.equal(decision(estimate, decision.habit(column(), column().bool())), estimate)


def test_a_habit_is_how_often_which_rating_was_given():
    """Ratings 5, 5 and 1, and a 3 that was not observed: 2/4 at the highest knot, 1/4 at the lowest, and log 4 / 4."""
    observed = torch.tensor([[True], [True], [True], [False]])
    habit = Decision([RATING], width=4).double().habit(column(5, 5, 1, 3), observed)
    expected = torch.zeros(NUM_KNOTS + 1, dtype=torch.float64)
    expected[0], expected[-2], expected[-1] = 0.25, 0.5, math.log(4) / 4
    torch.testing.assert_close(habit, expected, rtol=0, atol=1e-15)


def test_a_value_between_two_knots_is_shared_by_them():
    """2.1 is 0.4 of the way from the knot at 2 to the one at 2.25."""
    habit = Decision([RATING], width=4).double().habit(column(2.1), torch.tensor([[True]]))[:-1] * 2
    assert habit[[EVERY, EVERY + 1]].tolist() == pytest.approx([0.6, 0.4], abs=1e-12)
    assert habit.sum().item() == pytest.approx(1.0, abs=1e-12)


def test_each_head_has_its_own_scale_and_its_own_count():
    """A click of 1 and a rating of 5 are ends of their scales; the click was observed once, the rating twice."""
    observed = torch.tensor([[True, True], [True, False]])
    targets = torch.tensor([[5.0, 1.0], [1.0, 0.0]]).double()
    habit = Decision([RATING, CLICK], width=4).double().habit(targets, observed)
    assert habit[[NUM_KNOTS - 1, 2 * NUM_KNOTS - 1]].tolist() == pytest.approx([1 / 3, 1 / 2])
    assert habit[-2:].tolist() == pytest.approx([math.log(3) / 4, math.log(2) / 4])


def test_trained_on_absolute_errors_it_moves_toward_the_median():
    """Where the estimate is 3.8, three of five ratings are 4 and two are 3.5: squared errors want 3.8, absolute 4."""
    torch.manual_seed(0)
    decision = Decision([RATING], width=8).double()
    optimizer = torch.optim.Adam(decision.parameters(), lr=0.02)
    habit = decision.habit(column(), column().bool())
    for _ in range(200):
        optimizer.zero_grad()
        (decision(column(3.8).expand(5, 1), habit) - column(4, 4, 4, 3.5, 3.5)).abs().mean().backward()
        optimizer.step()
    assert decision(column(3.8), habit).item() == pytest.approx(4.0, abs=0.03)
