"""MeLU's protocol as published, on MovieLens-1M: who is judged, on what, and what the closed-form floors reach."""

import pytest

from jobs.evaluate import evaluate_beside_floors
from metarec.config import Config, with_values
from metarec.data.prepare import prepare

SETTINGS = {
    "data.source": "movielens-1m",
    "protocol.name": "user_cold",
    "protocol.split": "melu_split.parquet",
    "data.min_ratings": 13,
    "protocol.max_ratings": 100,
    "evaluate.support_sizes": [],
}
FIGURES = {
    "global mean": (0.921, 1.088, 0.573, 0.663),
    "user median": (0.776, 1.093, 0.573, 0.663),
    "item + user bias": (0.7345, 0.9305, 0.748, 0.793),
    "factorisation + fold-in": (0.695, 0.888, 0.777, 0.817),
}
"""MAE, RMSE, nDCG@1 and nDCG@5, from an implementation of its own, with its own draws and no users kept to validate."""
TOLERANCES = (0.006, 0.013, 0.006, 0.004)


@pytest.mark.slow
def test_the_floors_reach_on_cold_users_what_another_implementation_of_them_does(metarec_data, tmp_path, ray_cluster):
    path = str(metarec_data / "ml-1m")
    config = with_values(Config(), {**SETTINGS, "data.path": path, "output.root": str(tmp_path)})
    dataset = prepare(config, progress=lambda line: None)
    evaluation = evaluate_beside_floors(config, dataset, {})
    assert len(evaluation.users) == 668
    assert (evaluation.num_draws, evaluation.num_query) == (10, 10)
    assert (evaluation.num_support.min(), evaluation.num_support.max()) == (3, 90)
    for name, expected in FIGURES.items():
        found = [evaluation.value(name, "all", metric) for metric in ("mae", "rmse", "ndcg_at_1", "ndcg_at_5")]
        for value, known, tolerance in zip(found, expected, TOLERANCES, strict=True):
            assert value == pytest.approx(known, abs=tolerance), name
    assert evaluation.value("item-kNN", "all", "mae") == pytest.approx(0.698, abs=0.004)
