"""What an evaluation found: every predictor's metrics at every support size, per user and per draw."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64, Int64

from metarec.evaluate.interval import Interval, paired_interval
from metarec.evaluate.metric import ALL_METRICS
from metarec.schema import FORMAT_VERSION, USER_TASKS, TaskWords

Size = int | Literal["all"]
METRICS = tuple(metric.name for metric in ALL_METRICS)
"""In the order in which arrays hold them; where users are apart, rmse stands as their mean squared error."""


@dataclass(frozen=True)
class Evaluation:
    """Metrics of several predictors on the same tasks.

    Attributes:
        predictors: their names, the candidate last.
        sizes: support sizes; `all` is the last.
        users: the test users, as indices into the catalogue.
        num_support: how many support ratings each of them has.
        num_query: query ratings of a task; where a protocol fixes them, the median over users.
        seconds: time spent in each predictor.
        user_values: a user's mean over draws; NaN where the metric is not defined for the user in any draw.
        draw_values: a draw's mean over users.
        words: what tasks are called where they are no users.
    """

    predictors: tuple[str, ...]
    sizes: tuple[Size, ...]
    users: Int64[np.ndarray, " users"]
    num_support: Int64[np.ndarray, " users"]
    num_query: int | float
    seconds: Mapping[str, float]
    user_values: Float64[np.ndarray, "predictors sizes metrics users"]
    draw_values: Float64[np.ndarray, "predictors sizes metrics draws"]
    words: TaskWords = USER_TASKS

    @property
    def num_draws(self) -> int:
        """Draws of query and support order of each user."""
        return int(self.draw_values.shape[-1])

    def value(self, predictor: str, size: Size, metric: str) -> float:
        """A metric over all users: a draw's mean over users (for rmse its root), then the mean over draws.

        Users for whom the metric is not defined are left out; `num_undefined` counts them.
        """
        draws = self.draw_values[self._index(predictor, size, metric)]
        return float(mean_defined(np.sqrt(draws) if metric == "rmse" else draws))

    def per_user(self, predictor: str, size: Size, metric: str) -> Float64[np.ndarray, " users"]:
        """A user's metric, mean over draws; for rmse the mean *squared* error, since roots do not average."""
        return self.user_values[self._index(predictor, size, metric)]

    def compare(
        self, first: str, second: str, *, metric: str, size: Size = "all", num_resamples: int = 2000
    ) -> Interval:
        """First minus second with its 95 % interval over users; for rmse the roots are compared."""
        values = (self.per_user(name, size, metric) for name in (first, second))
        return paired_interval(*values, num_resamples=num_resamples, root=metric == "rmse")

    def num_short(self, size: Size) -> int:
        """How many users have fewer support ratings than `size`; at that size they keep all they have."""
        return 0 if size == "all" else int((self.num_support < size).sum())

    def num_undefined(self, metric: str) -> int:
        """How many users have no value of a metric: for nDCG, those whose query targets are all 0."""
        return int(np.isnan(self.user_values[0, 0, METRICS.index(metric)]).sum())

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
            "num_short": {str(size): self.num_short(size) for size in self.sizes},
            "num_undefined": {metric: self.num_undefined(metric) for metric in METRICS},
            "seconds": dict(self.seconds),
            "values": {
                name: {
                    str(size): {metric: finite_or_none(self.value(name, size, metric)) for metric in METRICS}
                    for size in self.sizes
                }
                for name in self.predictors
            },
        }

    def _index(self, predictor: str, size: Size, metric: str) -> tuple[int, int, int]:
        return self.predictors.index(predictor), self.sizes.index(size), METRICS.index(metric)


def mean_defined(values: Float64[np.ndarray, "*axes last"]) -> Float64[np.ndarray, "*axes"] | np.float64:
    """The mean over the last axis of what is not NaN; NaN where nothing is left."""
    num_defined = (~np.isnan(values)).sum(-1)
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(values).sum(-1) / num_defined


def finite_or_none(value: float) -> float | None:
    """The value as JSON can hold it: NaN and infinities become null."""
    return value if math.isfinite(value) else None
