"""How sure a difference between two predictors is, given that the test users are a sample."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

_LEVEL = 0.95
_CHUNK = 4_000_000
"""Drawn user indices held at once."""


class Interval(NamedTuple):
    """A difference and the ends of its 95 % interval, in the unit of the metric; below 0 = the first is lower."""

    difference: float
    low: float
    high: float


def paired_interval(
    a: Float64[np.ndarray, " users"],
    b: Float64[np.ndarray, " users"],
    *,
    num_resamples: int,
    seed: int = 0,
    root: bool = False,
) -> Interval:
    """The mean of a minus the mean of b, with its percentile bootstrap interval over users.

    Each resample draws users with replacement, and both of a user's values with it, so that what makes a user hard for
    both cancels.

    Args:
        a, b: a user's value under each predictor; a user who has NaN in either is left out.
        num_resamples: how many resamples stand behind the interval.
        seed: of the resamples; the same seed and number of users draw the same users.
        root: compare the roots of the means: for RMSE, where the values are squared errors.

    Returns:
        The difference and its interval, which is infinite with fewer than two users and NaN with none.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.

    Example:
        >>> paired_interval(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 3.0, 4.0, 5.0]), num_resamples=100)
        Interval(difference=-1.0, low=-1.0, high=-1.0)
    """
    pairs = np.stack([a, b])
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    num_users = pairs.shape[1]
    if num_users == 0:
        return Interval(np.nan, np.nan, np.nan)
    difference = float(_difference(pairs.mean(axis=1), root))
    if num_users == 1:
        return Interval(difference, -np.inf, np.inf)
    resampled = _difference(_resampled_means(pairs, num_resamples, seed), root)
    low, high = np.quantile(resampled, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(difference, float(low), float(high))


def _difference(means: Float64[np.ndarray, "2 *resamples"], root: bool) -> Float64[np.ndarray, "*resamples"]:
    first, second = np.sqrt(means) if root else means
    return np.asarray(first - second)


def _resampled_means(
    pairs: Float64[np.ndarray, "2 users"], num_resamples: int, seed: int
) -> Float64[np.ndarray, "2 resamples"]:
    generator = np.random.default_rng(seed)
    num_users = pairs.shape[1]
    per_chunk = max(1, _CHUNK // num_users)
    sizes = [min(per_chunk, num_resamples - start) for start in range(0, num_resamples, per_chunk)]
    chunks = [pairs[:, generator.integers(num_users, size=(size, num_users))].mean(axis=2) for size in sizes]
    return np.concatenate(chunks, axis=1)
