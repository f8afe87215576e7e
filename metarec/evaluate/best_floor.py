"""Which of the closed-form floors is hardest to beat."""

from metarec.baselines import FLOOR_NAMES
from metarec.evaluate.evaluation import Evaluation, Size
from metarec.evaluate.metric import Metric


def best_floor(evaluation: Evaluation, metric: Metric, size: Size = "all") -> str | None:
    """The floor among the predictors that is best on a metric; None where there is none."""
    floors = [name for name in evaluation.predictors if name in FLOOR_NAMES]
    return max(floors, key=lambda name: metric.improvement(evaluation.value(name, size, metric.name)), default=None)
