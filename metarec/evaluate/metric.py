"""The metrics of an evaluation: what they are called, and which direction is better. Nothing else knows that."""

from typing import NamedTuple

NOTHING_RELEVANT = "no relevant query {row}"
_NO_GAIN = "no query target above the lowest"
_NOT_IN_A_LIST = "no relevant query {row} or fewer than {k} {rows} to rank ({short})"
_NO_PAIR = "no relevant query {row} beside another one"
_NO_LIST = "no list of {k} {rows} that can be compared"
"""What users have of whom a metric says nothing."""


class Metric(NamedTuple):
    """A metric as results show it.

    Attributes:
        name: in arrays, reports and the tracker.
        title: in tables.
        unit: behind the title of an axis; empty = none.
        lower_is_better: for errors; of a ranking metric more is better.
        of_numbers: whether it judges scores as predictions of targets; from an order alone it does not follow.
        undefined_where: what users have who have no value of it; empty = everybody has one.
    """

    name: str
    title: str
    unit: str
    lower_is_better: bool
    of_numbers: bool = False
    undefined_where: str = ""

    def improvement(self, value: float) -> float:
        """A value, or a difference of values, so that higher is better."""
        return -value if self.lower_is_better else value


ALL_METRICS = (
    Metric("mae", "MAE", "rating points", True, of_numbers=True),
    Metric("rmse", "RMSE", "rating points", True, of_numbers=True),
    Metric("ndcg_at_1", "nDCG@1", "", False, undefined_where=_NO_GAIN),
    Metric("ndcg_at_3", "nDCG@3", "", False, undefined_where=_NO_GAIN),
    Metric("ndcg_at_5", "nDCG@5", "", False, undefined_where=_NO_GAIN),
)
"""Those that a model can be chosen by or is compared with in the literature."""


def list_metrics(k: int) -> tuple[Metric, ...]:
    """Those of relevant items and of lists of k; of diversity more is not better as such, but shown so."""
    at_k = {
        f"precision_at_{k}": f"P@{k}",
        f"recall_at_{k}": f"R@{k}",
        f"f1_at_{k}": f"F1@{k}",
        f"hit_rate_at_{k}": f"hit@{k}",
        f"map_at_{k}": f"MAP@{k}",
    }
    return (
        *(Metric(name, title, "", False, undefined_where=_NOT_IN_A_LIST) for name, title in at_k.items()),
        Metric("mrr", "MRR", "", False, undefined_where=NOTHING_RELEVANT),
        Metric("auc", "AUC", "", False, undefined_where=_NO_PAIR),
        Metric("log_loss", "log loss", "", True, of_numbers=True),
        Metric(f"diversity_at_{k}", f"div@{k}", "", False, undefined_where=_NO_LIST),
    )


def metric_named(name: str) -> Metric:
    """The metric of a name, also as `evaluate.primary` writes it: `ndcg@5` is `ndcg_at_5`."""
    (found,) = (metric for metric in ALL_METRICS if metric.name == name.replace("@", "_at_"))
    return found
