"""What an evaluation found: every predictor's metrics at every support size, per user and per draw."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

from metarec.evaluate.interval import Interval, Resampled, finite_or_none, mean_defined, resample
from metarec.evaluate.metric import ALL_METRICS, Metric
from metarec.evaluate.segments import Segment
from metarec.schema import FORMAT_VERSION, USER_TASKS, TaskWords

Size = int | Literal["all"]
METRICS = tuple(metric.name for metric in ALL_METRICS)
"""Those that every evaluation has."""


@dataclass(frozen=True)
class Evaluation:
    """Metrics of several predictors on the same tasks.

    Attributes:
        predictors: their names, the candidate last.
        sizes: support sizes; `all` is the last.
        users: the test users, as indices into the catalogue.
        num_support: how many support ratings each of them has.
        num_query: query ratings of a task; where a protocol fixes them, the median over users.
        num_candidates: items that a user's are ranked among, mean over users.
        k: the length of the lists.
        seconds: time spent adapting and predicting, by predictor; over all sizes and draws.
        user_values: a user's mean over draws; NaN where the metric is not defined for the user in any draw. Of rmse it
            is the mean squared error.
        squared_errors: of each predictor a user's mean squared error in each round: in each draw, and of a mean over
            seeds in each draw with each seed.
        coverage: the share of the catalogue that stands in somebody's list of k.
        metrics: what the third axis holds.
        training_seconds: what fitting each predictor took, where it is known.
        segments: groups of the users to be looked at by themselves.
        words: what tasks are called where they are no users.
        known_ratings: how many training ratings each support holds besides, at most.
        num_without_list: users with fewer candidates than k, whom the metrics at k leave out.
        num_resamples: bootstrap resamples of users behind each interval.
    """

    predictors: tuple[str, ...]
    sizes: tuple[Size, ...]
    users: Int64[np.ndarray, " users"]
    num_support: Int64[np.ndarray, " users"]
    num_query: int | float
    num_candidates: float
    k: int
    seconds: Mapping[str, float]
    user_values: Float64[np.ndarray, "predictors sizes metrics users"]
    squared_errors: tuple[Float64[np.ndarray, "sizes _ users"], ...]
    coverage: Float64[np.ndarray, "predictors sizes draws"]
    metrics: tuple[Metric, ...] = ALL_METRICS
    training_seconds: Mapping[str, float] = field(default_factory=dict)
    segments: tuple[Segment, ...] = ()
    words: TaskWords = USER_TASKS
    known_ratings: int = 0
    num_without_list: int = 0
    num_resamples: int = 2000

    @property
    def num_draws(self) -> int:
        """Draws of query and support order of each user."""
        return int(self.coverage.shape[-1])

    def value(self, predictor: str, size: Size, metric: str, segment: Segment | None = None) -> float:
        """A metric over all users, or those of a segment: the mean of what each has, itself a mean over draws.

        RMSE is of each draw the root of the mean over users of their mean squared error, and then the mean over draws;
        intervals and differences take it so as well. Users for whom the metric is not defined are left out;
        `num_undefined` counts them.
        """
        members = slice(None) if segment is None else segment.members
        if metric == "rmse":
            return float(np.sqrt(mean_defined(self._rounds(predictor, size)[:, members])).mean())
        return float(mean_defined(self.per_user(predictor, size, metric)[members]))

    def per_user(self, predictor: str, size: Size, metric: str) -> Float64[np.ndarray, " users"]:
        """A user's metric, mean over draws; for rmse the mean *squared* error, since roots do not average."""
        return self.user_values[self._index(predictor, size, metric)]

    def interval(self, predictor: str, size: Size, metric: str) -> Interval:
        """A metric over all users with its 95 % interval; of rmse, users are resampled inside the root."""
        return self._resampled[self._index(predictor, size, metric)].interval()

    def compare(
        self, first: str, second: str, *, metric: str, size: Size = "all", segment: Segment | None = None
    ) -> Interval:
        """The value of the first minus that of the second, with its 95 % interval over the same resamples of users.

        With a segment, over its users alone.
        """
        if segment is None:
            a, b = (self._resampled[self._index(name, size, metric)] for name in (first, second))
        else:
            a, b = (self._resampled_segment(segment, name, size, metric) for name in (first, second))
        return (a - b).interval()

    @functools.cached_property
    def _resampled(self) -> Resampled:
        """Every figure over the same resamples of the users: predictors, sizes and metrics as in `user_values`."""
        found = resample(self.user_values, num_resamples=self.num_resamples)
        rmse = self._metric_index("rmse")
        for place, squared in enumerate(self.squared_errors):
            rounds = resample(squared.swapaxes(0, 1), num_resamples=self.num_resamples, root=True).mean_of_rounds()
            found.value[place, :, rmse], found.resampled[place, :, rmse] = rounds.value, rounds.resampled
        return found

    def _resampled_segment(self, segment: Segment, predictor: str, size: Size, metric: str) -> Resampled:
        if metric == "rmse":
            squared = self._rounds(predictor, size)[:, segment.members]
            return resample(squared, num_resamples=self.num_resamples, root=True).mean_of_rounds()
        return resample(self.per_user(predictor, size, metric)[segment.members], num_resamples=self.num_resamples)

    def _rounds(self, predictor: str, size: Size) -> Float64[np.ndarray, "rounds users"]:
        return self.squared_errors[self.predictors.index(predictor)][self.sizes.index(size)]

    def coverage_of(self, predictor: str, size: Size) -> float:
        """The share of the catalogue in the lists of a draw, mean over draws."""
        return float(self.coverage[self.predictors.index(predictor), self.sizes.index(size)].mean())

    def task_milliseconds(self, predictor: str) -> float:
        """What adapting to one task and predicting its query took, in milliseconds, mean over sizes and draws."""
        return 1000 * self.seconds[predictor] / (len(self.users) * len(self.sizes) * self.num_draws)

    def num_short(self, size: Size) -> int:
        """How many users have fewer support ratings than `size`; at that size they keep all they have."""
        return 0 if size == "all" else int((self.num_support < size).sum())

    def undefined(self, metric: str) -> Bool[np.ndarray, " users"]:
        """Which users have no value of a metric, whatever is predicted: for nDCG, those whose query targets are all 0.

        A predictor that has none of anybody, since its scores tell an order alone, says nothing about users.
        """
        return np.isnan(self.user_values[:, 0, self._metric_index(metric)]).all(axis=0)

    def num_undefined(self, metric: str) -> int:
        """How many users have no value of a metric."""
        return int(self.undefined(metric).sum())

    def to_json(self) -> dict[str, Any]:
        """The figures as plain dictionaries, without anything about a single user.

        `values` goes by predictor, support size (as text) and metric; a value that is not defined is null.
        """
        return {
            "format_version": FORMAT_VERSION,
            "num_users": len(self.users),
            "num_query": self.num_query,
            "num_draws": self.num_draws,
            "median_support": float(np.median(self.num_support)),
            "known_ratings": self.known_ratings,
            "num_short": {str(size): self.num_short(size) for size in self.sizes},
            "num_undefined": {metric.name: self.num_undefined(metric.name) for metric in self.metrics},
            "num_candidates": self.num_candidates,
            "num_without_list": self.num_without_list,
            "k": self.k,
            "seconds": dict(self.seconds),
            "training_seconds": dict(self.training_seconds),
            "values": {name: {str(size): self._figures(name, size) for size in self.sizes} for name in self.predictors},
            "segments": {segment.name: self._segment_figures(segment) for segment in self.segments},
        }

    def _figures(self, predictor: str, size: Size) -> dict[str, float | None]:
        values = {metric.name: self.value(predictor, size, metric.name) for metric in self.metrics}
        values[f"coverage_at_{self.k}"] = self.coverage_of(predictor, size)
        return {name: finite_or_none(value) for name, value in values.items()}

    def _segment_figures(self, segment: Segment) -> dict[str, Any]:
        """The figures of a segment with all support ratings."""
        values = {
            name: {m.name: finite_or_none(self.value(name, "all", m.name, segment)) for m in self.metrics}
            for name in self.predictors
        }
        return {"num_users": int(segment.members.sum()), "values": values}

    def _index(self, predictor: str, size: Size, metric: str) -> tuple[int, int, int]:
        return self.predictors.index(predictor), self.sizes.index(size), self._metric_index(metric)

    def _metric_index(self, metric: str) -> int:
        return [each.name for each in self.metrics].index(metric)
