"""How sure a figure is, given that the test users are a sample: the bootstrap over users.

All figures of an evaluation are computed on the same resamples, so that the difference of any two is paired: what makes
a user hard for both cancels.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

_LEVEL = 0.95
_CHUNK = 4_000_000
"""Drawn user indices held at once."""
_NOISE = 1e-12
"""What two figures may differ by, as a share of them, and be the same: sums in another order differ as much."""


class Interval(NamedTuple):
    """A figure, or how far it lies above another, and the ends of its 95 % interval, in the unit of the metric."""

    value: float
    low: float
    high: float

    def to_json(self, name: str = "value") -> dict[str, float | None]:
        """As JSON can hold it, the figure under a name; what is not finite is null."""
        return {name: finite_or_none(self.value), "low": finite_or_none(self.low), "high": finite_or_none(self.high)}


@dataclass(frozen=True, eq=False)
class Resampled:
    """Figures over all users, and over each of the same resamples of them.

    Attributes:
        value: over all users; NaN where nobody has any.
        resampled: over the users of each resample; NaN where none of them has any.
        num_users: how many users have one.
    """

    value: Float64[np.ndarray, "*axes"]
    resampled: Float64[np.ndarray, "*axes resamples"]
    num_users: Int64[np.ndarray, "*axes"]

    def __getitem__(self, place: tuple[int, ...]) -> "Resampled":
        return Resampled(*(np.asarray(leaf[place]) for leaf in (self.value, self.resampled, self.num_users)))

    def mean_of_rounds(self) -> "Resampled":
        """The mean over the first axis: over draws of the tasks, say, each with all users."""
        return Resampled(self.value.mean(axis=0), self.resampled.mean(axis=0), self.num_users.min(axis=0))

    def __sub__(self, other: "Resampled") -> "Resampled":
        difference = self.resampled - other.resampled
        same = np.abs(difference) <= _NOISE * np.abs(self.resampled)
        num_users = np.minimum(self.num_users, other.num_users)
        value = np.asarray(self.value - other.value)
        return Resampled(value, np.where(same, 0.0, difference), np.asarray(num_users))

    def interval(self) -> Interval:
        """Of a single figure: it and its percentile interval, infinite with one user and NaN with none."""
        value = float(self.value)
        if math.isnan(value):
            return Interval(value, np.nan, np.nan)
        if self.num_users == 1:
            return Interval(value, -np.inf, np.inf)
        drawn = self.resampled[~np.isnan(self.resampled)]
        low, high = np.quantile(drawn, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
        return Interval(value, float(low), float(high))


def resample(
    values: Float64[np.ndarray, "*axes users"],
    *,
    num_resamples: int,
    root: Bool[np.ndarray, "#*axes"] | bool = False,
    seed: int = 0,
) -> Resampled:
    """The means of users' values, and those of resamples in which each user is drawn with replacement.

    With the value v_u of user u and w_ru, how often resample r drew her: Σ_u w_ru v_u / Σ_u w_ru over the users who
    have a value. One matrix w serves all figures.

    Args:
        values: v; NaN for a user without one.
        num_resamples: how many resamples are drawn.
        root: of which figures the root of the mean is meant: of RMSE, where values are squared errors.
        seed: of the resamples; the same seed and number of users draw the same users.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    *axes, num_users = values.shape
    flat = values.reshape(-1, num_users)
    known = ~np.isnan(flat)
    filled = np.nan_to_num(flat)
    patterns, pattern = np.unique(known, axis=0, return_inverse=True)
    totals, counts = [], []
    for weights in _weights(num_users, num_resamples, seed):
        totals.append(filled @ weights)
        counts.append(patterns.astype(np.float64) @ weights)
    with np.errstate(invalid="ignore"):
        means = np.concatenate(totals, axis=1) / np.concatenate(counts, axis=1)[pattern.ravel()]
    return Resampled(
        _root_where(root, np.asarray(mean_defined(values))),
        _root_where(np.asarray(root)[..., None], means.reshape(*axes, num_resamples)),
        known.sum(axis=1).reshape(axes),
    )


def paired_interval(
    a: Float64[np.ndarray, " users"],
    b: Float64[np.ndarray, " users"],
    *,
    num_resamples: int,
    seed: int = 0,
    root: bool = False,
) -> Interval:
    """The mean of a minus the mean of b, with its interval.

    Args:
        a, b: a user's value under each predictor; a user who has NaN in either is left out.
        num_resamples, seed, root: as in `resample`.

    Example:
        >>> paired_interval(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 3.0, 4.0, 5.0]), num_resamples=100)
        Interval(value=-1.0, low=-1.0, high=-1.0)
    """
    pairs = np.where(np.isnan(a) | np.isnan(b), np.nan, [a, b])
    both = resample(pairs, num_resamples=num_resamples, root=root, seed=seed)
    return (both[0,] - both[1,]).interval()


def mean_defined(values: Float64[np.ndarray, "*axes last"]) -> Float64[np.ndarray, "*axes"] | np.float64:
    """The mean over the last axis of what is not NaN; NaN where nothing is left."""
    num_defined = (~np.isnan(values)).sum(-1)
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(values).sum(-1) / num_defined


def finite_or_none(value: float) -> float | None:
    """The value as JSON can hold it: NaN and infinities become null."""
    return value if math.isfinite(value) else None


def _weights(num_users: int, num_resamples: int, seed: int) -> Iterator[Float64[np.ndarray, "users resamples"]]:
    """How often each resample drew each user, some resamples at a time."""
    generator = np.random.default_rng(seed)
    per_chunk = max(1, _CHUNK // max(num_users, 1))
    for start in range(0, num_resamples, per_chunk):
        size = min(per_chunk, num_resamples - start)
        drawn = generator.integers(num_users, size=(size, num_users))
        drawn += np.arange(size)[:, None] * num_users
        counts = np.bincount(drawn.ravel(), minlength=size * num_users)
        yield counts.reshape(size, num_users).T.astype(np.float64)


def _root_where(
    root: Bool[np.ndarray, "#*axes"] | bool, means: Float64[np.ndarray, "*axes"]
) -> Float64[np.ndarray, "*axes"]:
    return np.where(root, np.sqrt(np.where(root, means, 0.0)), means)
