"""The paired bootstrap: against loops over the same resamples, and how often intervals hold what they should."""

import numpy as np
import pytest

from metarec.evaluate.interval import paired_interval, resample


def test_a_constant_difference_has_no_width():
    a = np.random.default_rng(0).normal(size=50)
    interval = paired_interval(a, a + 0.5, num_resamples=200)
    assert interval == pytest.approx((-0.5, -0.5, -0.5))


def test_the_difference_is_that_of_the_means():
    interval = paired_interval(np.array([1.0, 2.0, 6.0]), np.array([1.0, 1.0, 1.0]), num_resamples=200)
    assert interval.value == 2.0
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
    assert interval.value == 1.0


def test_a_user_without_a_value_under_either_is_left_out():
    a, b = np.array([1.0, np.nan, 3.0, 9.0]), np.array([0.0, 5.0, 2.0, np.nan])
    assert paired_interval(a, b, num_resamples=100) == pytest.approx((1.0, 1.0, 1.0))


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


def test_all_figures_are_of_the_same_resamples_each_over_the_users_who_have_a_value():
    """Against a loop over the resamples; the last row is one of squared errors."""
    generator = np.random.default_rng(6)
    values = generator.random((2, 3, 20))
    values[0, 1, :9] = np.nan
    values[1, 0] = np.nan
    root = np.array([False, False, True])
    found = resample(values, num_resamples=150, root=root, seed=7)
    drawn = np.random.default_rng(7).integers(20, size=(150, 20))
    for place in np.ndindex(2, 3):
        means = [row.mean() if len(row := each[~np.isnan(each)]) else np.nan for each in values[place][drawn]]
        expected = np.sqrt(means) if root[place[1]] else means
        np.testing.assert_allclose(found.resampled[place], expected, rtol=1e-12)
        low, high = np.nanquantile(expected, [0.025, 0.975]) if place != (1, 0) else (np.nan, np.nan)
        assert found[place].interval()[1:] == pytest.approx((low, high), nan_ok=True)
    assert found.num_users.tolist() == [[20, 11, 20], [0, 20, 20]]


def test_the_interval_of_an_rmse_holds_the_true_one_as_often_as_it_says():
    """Squared errors of normal errors with standard deviation 2, in 400 samples of 150 users."""
    squares = np.square(np.random.default_rng(8).normal(0, 2, (400, 150)))
    intervals = [resample(each, num_resamples=400, root=True)[()].interval() for each in squares]
    assert 0.91 <= np.mean([low <= 2 <= high for _, low, high in intervals]) <= 0.98


def test_equal_predictors_differ_by_nothing_wherever_they_stand_in_the_matrix():
    """Sums of two equal rows may differ in the last digits, which must not pass for an improvement."""
    row = np.random.default_rng(9).random(997) / 3
    found = resample(np.tile(row, (37, 1)), num_resamples=200)
    assert {(found[i,] - found[j,]).interval() for i in range(37) for j in range(37)} == {(0, 0, 0)}
