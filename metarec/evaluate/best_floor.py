"""Which of the closed-form floors is hardest to beat."""

import math

from metarec.baselines import FLOOR_NAMES
from metarec.evaluate.evaluation import Evaluation, Size
from metarec.evaluate.metric import Metric


def best_floor(evaluation: Evaluation, metric: Metric, size: Size = "all") -> str | None:
    """The floor among the predictors that is best on a metric; None where there is none that has it."""
    values = {name: evaluation.value(name, size, metric.name) for name in evaluation.predictors if name in FLOOR_NAMES}
    known = [name for name, value in values.items() if not math.isnan(value)]
    return max(known, key=lambda name: metric.improvement(values[name]), default=None)
