"""Who is left out of a metric: users of whom it says nothing, whatever is predicted for them."""

from collections.abc import Sequence

from metarec.evaluate.evaluation import Evaluation
from metarec.evaluate.metric import NOTHING_RELEVANT, Metric


def left_out(evaluation: Evaluation, metrics: Sequence[Metric]) -> list[str]:
    """A sentence for each group of users who have no value of some of the metrics: how many, why, and of which.

    Metrics that lack the same users share a sentence.
    """
    groups: dict[bytes, list[Metric]] = {}
    for metric in metrics:
        undefined = evaluation.undefined(metric.name)
        if metric.undefined_where and undefined.any():
            groups.setdefault(undefined.tobytes(), []).append(metric)
    return [_sentence(evaluation, group) for group in groups.values()]


def _sentence(evaluation: Evaluation, metrics: Sequence[Metric]) -> str:
    words, reasons = evaluation.words, [metric.undefined_where for metric in metrics]
    # Where other metrics lack no more users than have nothing relevant, that is their reason as well.
    reason = NOTHING_RELEVANT if NOTHING_RELEVANT in reasons else reasons[0]
    told = reason.format(row=words.row, rows=words.rows, k=evaluation.k, short=evaluation.num_without_list)
    *most, last = [metric.title for metric in metrics]
    titles = f"{', '.join(most)} and {last}" if most else last
    count = evaluation.num_undefined(metrics[0].name)
    return f"{count} of {len(evaluation.users)} {words.tasks} have {told} and are left out of {titles}."
