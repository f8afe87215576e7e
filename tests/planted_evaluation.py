"""An evaluation whose figures are planted, with lists, segments and seconds, for tables and reports to show."""

import numpy as np

from metarec.evaluate.evaluation import Evaluation
from metarec.evaluate.metric import ALL_METRICS, list_metrics
from metarec.evaluate.segments import Segment

NUM_USERS = 40
METRICS = (*ALL_METRICS, *list_metrics(5))
FIGURES = {"global mean": 1.2, "item + user bias": 1.0, "factorisation + fold-in": 0.9, "maml on <melu>": 0.8}


def planted_evaluation(**changes) -> Evaluation:
    """Four predictors with these MAEs at every size but 0, where all have 1.5; users 0 to 9 are 0.2 worse with MAML."""
    values = np.full((len(FIGURES), 3, len(METRICS), NUM_USERS), 0.25)
    for index, error in enumerate(FIGURES.values()):
        values[index, :, 0], values[index, :, 1] = error, error**2
    values[:, 0, 0] = 1.5
    values[-1, 1:, 0, :10] += 0.2
    values[-1, 1:, 0, 10:20] -= 0.2
    values[:, :, [m.name for m in METRICS].index("log_loss")] = np.nan
    values[:, :, 5:, :3] = np.nan
    female = np.arange(NUM_USERS) < 10
    fields = {
        "predictors": tuple(FIGURES),
        "sizes": (0, 5, "all"),
        "users": np.arange(NUM_USERS),
        "num_support": np.full(NUM_USERS, 8),
        "num_query": 10,
        "num_candidates": 300.0,
        "k": 5,
        "seconds": dict.fromkeys(FIGURES, 2.4),
        "user_values": values,
        "squared_errors": tuple(np.stack([values[:, :, 1]] * 2, axis=2)),
        "coverage": np.full((len(FIGURES), 3, 2), 0.125),
        "metrics": METRICS,
        "training_seconds": {"maml on <melu>": 77.0},
        "segments": (Segment("gender = F", female), Segment("gender = M", ~female)),
    }
    return Evaluation(**{**fields, **changes})
