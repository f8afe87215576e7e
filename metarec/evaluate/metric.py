"""The metrics of an evaluation: what they are called, and which direction is better. Nothing else knows that."""

from typing import NamedTuple


class Metric(NamedTuple):
    """A metric as results show it.

    Attributes:
        name: in arrays, reports and the tracker.
        title: in tables.
        unit: behind the title of an axis; empty = none.
        lower_is_better: for errors; of a ranking metric more is better.
    """

    name: str
    title: str
    unit: str
    lower_is_better: bool

    def improvement(self, value: float) -> float:
        """A value, or a difference of values, so that higher is better."""
        return -value if self.lower_is_better else value


ALL_METRICS = (
    Metric("mae", "MAE", "rating points", True),
    Metric("rmse", "RMSE", "rating points", True),
    Metric("ndcg_at_1", "nDCG@1", "", False),
    Metric("ndcg_at_3", "nDCG@3", "", False),
    Metric("ndcg_at_5", "nDCG@5", "", False),
)


def metric_named(name: str) -> Metric:
    """The metric of a name, also as `evaluate.primary` writes it: `ndcg@5` is `ndcg_at_5`."""
    (found,) = (metric for metric in ALL_METRICS if metric.name == name.replace("@", "_at_"))
    return found
