"""Which direction is better, in the one place that knows."""

import pytest

from metarec.evaluate.metric import metric_named


@pytest.mark.parametrize(
    ("name", "title", "improvement"), [("mae", "MAE", -2.0), ("rmse", "RMSE", -2.0), ("ndcg@5", "nDCG@5", 2.0)]
)
def test_a_higher_error_is_no_improvement_and_a_higher_ndcg_is(name, title, improvement):
    metric = metric_named(name)
    assert (metric.title, metric.improvement(2.0)) == (title, improvement)


def test_the_setting_and_the_results_name_the_same_metric():
    assert metric_named("ndcg@5") is metric_named("ndcg_at_5")
