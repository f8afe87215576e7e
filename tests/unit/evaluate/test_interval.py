"""The paired bootstrap."""

import numpy as np
import pytest

from metarec.evaluate.interval import paired_interval


def test_a_constant_difference_has_no_width():
    a = np.random.default_rng(0).normal(size=50)
    interval = paired_interval(a, a + 0.5, num_resamples=200)
    assert interval == pytest.approx((-0.5, -0.5, -0.5))


def test_the_difference_is_that_of_the_means():
    interval = paired_interval(np.array([1.0, 2.0, 6.0]), np.array([1.0, 1.0, 1.0]), num_resamples=200)
    assert interval.difference == 2.0
    assert interval.low < 2.0 < interval.high


def test_the_interval_covers_a_known_difference_as_often_as_it_says():
    """400 samples of 80 users whose differences have mean 0.3: 95 % of the intervals should hold it."""
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        hardness, difference = generator.normal(0, 5, 80), generator.normal(0.3, 1, 80)
        interval = paired_interval(hardness + difference, hardness, num_resamples=400)
        covered += interval.low <= 0.3 <= interval.high
    assert 0.92 <= covered / 400 <= 0.98


def test_the_interval_has_the_width_of_the_normal_one():
    difference = np.random.default_rng(2).normal(0, 1, 2000)
    interval = paired_interval(difference, np.zeros(2000), num_resamples=4000)
    expected = 2 * 1.96 * difference.std() / np.sqrt(2000)
    assert interval.high - interval.low == pytest.approx(expected, rel=0.05)


def test_roots_of_the_means_are_compared_where_asked():
    """Squared errors of mean 9 and mean 4."""
    interval = paired_interval(np.array([0.0, 18.0]), np.array([4.0, 4.0]), num_resamples=100, root=True)
    assert interval.difference == 1.0


def test_a_user_without_a_value_under_either_is_left_out():
    a, b = np.array([1.0, np.nan, 3.0, 9.0]), np.array([0.0, 5.0, 2.0, np.nan])
    assert paired_interval(a, b, num_resamples=100) == (1.0, 1.0, 1.0)


def test_one_user_tells_nothing_of_the_others():
    interval = paired_interval(np.array([1.0]), np.array([2.0]), num_resamples=100)
    assert interval == (-1.0, -np.inf, np.inf)


def test_no_user_has_no_difference():
    assert np.isnan(paired_interval(np.array([np.nan]), np.array([2.0]), num_resamples=100)).all()


def test_the_same_seed_draws_the_same_users_however_many_are_drawn_at_once(monkeypatch):
    a, b = np.random.default_rng(3).normal(size=(2, 30))
    at_once = paired_interval(a, b, num_resamples=500, seed=4)
    monkeypatch.setattr("metarec.evaluate.interval._CHUNK", 100)
    assert paired_interval(a, b, num_resamples=500, seed=4) == pytest.approx(at_once, abs=1e-15)
    assert paired_interval(a, b, num_resamples=500, seed=5) != at_once
