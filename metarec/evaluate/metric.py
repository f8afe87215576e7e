"""The metrics of an evaluation: what they are called, and which direction is better. Nothing else knows that."""

from typing import NamedTuple


class Metric(NamedTuple):
    """A metric as results show it.

    Attributes:
        name: in arrays, reports and the tracker.
        title: in tables.
        unit: behind the title of an axis; empty = none.
        lower_is_better: for errors; of a ranking metric more is better.
        of_numbers: whether it judges scores as predictions of targets; from an order alone it does not follow.
    """

    name: str
    title: str
    unit: str
    lower_is_better: bool
    of_numbers: bool = False

    def improvement(self, value: float) -> float:
        """A value, or a difference of values, so that higher is better."""
        return -value if self.lower_is_better else value


ALL_METRICS = (
    Metric("mae", "MAE", "rating points", True, of_numbers=True),
    Metric("rmse", "RMSE", "rating points", True, of_numbers=True),
    Metric("ndcg_at_1", "nDCG@1", "", False),
    Metric("ndcg_at_3", "nDCG@3", "", False),
    Metric("ndcg_at_5", "nDCG@5", "", False),
)
"""Those that a model can be chosen by or is compared with in the literature."""


def list_metrics(k: int) -> tuple[Metric, ...]:
    """Those of relevant items and of lists of k; of diversity more is not better as such, but shown so."""
    return (
        Metric(f"precision_at_{k}", f"P@{k}", "", False),
        Metric(f"recall_at_{k}", f"R@{k}", "", False),
        Metric(f"f1_at_{k}", f"F1@{k}", "", False),
        Metric(f"hit_rate_at_{k}", f"hit@{k}", "", False),
        Metric(f"map_at_{k}", f"MAP@{k}", "", False),
        Metric("mrr", "MRR", "", False),
        Metric("auc", "AUC", "", False),
        Metric("log_loss", "log loss", "", True, of_numbers=True),
        Metric(f"diversity_at_{k}", f"div@{k}", "", False),
    )


def metric_named(name: str) -> Metric:
    """The metric of a name, also as `evaluate.primary` writes it: `ndcg@5` is `ndcg_at_5`."""
    (found,) = (metric for metric in ALL_METRICS if metric.name == name.replace("@", "_at_"))
    return found
