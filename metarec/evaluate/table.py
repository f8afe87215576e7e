"""An evaluation as a table for the terminal."""

from collections.abc import Sequence

import numpy as np

from metarec.baselines import ALL_FLOORS
from metarec.evaluate.evaluation import Evaluation, Size
from metarec.evaluate.metric import ALL_METRICS, Metric, metric_named

_WIDTH = 100
_NAME_WIDTH = 32
_VALUE_WIDTH = 8
_SIZES_A_BLOCK = (_WIDTH - _NAME_WIDTH) // _VALUE_WIDTH


def render_table(evaluation: Evaluation, *, primary: str = "mae", size: Size = "all") -> str:
    """Every predictor's metrics at one support size, then the primary one of all at every size; 100 columns wide.

    The rows stand in the order of `evaluation.predictors`. Where floors are among them, each row says how far it is
    from the best floor on the primary metric, with the 95 % interval over users; of an error below 0 is better.
    """
    metric = metric_named(primary)
    lines = [_headline(evaluation, size), "", *_metrics(evaluation, metric, size)]
    for start in range(0, len(evaluation.sizes), _SIZES_A_BLOCK):
        lines += ["", *_curve(evaluation, metric, evaluation.sizes[start : start + _SIZES_A_BLOCK])]
    return "\n".join(line.rstrip() for line in [*lines, *_notes(evaluation)])


def _headline(evaluation: Evaluation, size: Size) -> str:
    median = np.median(evaluation.num_support)
    support = f"all support ratings (median {median:g})" if size == "all" else f"{size} support ratings"
    return (
        f"{len(evaluation.users)} test {evaluation.words.tasks}, {support}, {evaluation.num_query:g} query ratings, "
        f"mean of {evaluation.num_draws} draws"
    )


def _metrics(evaluation: Evaluation, primary: Metric, size: Size) -> list[str]:
    floors = [name for name in evaluation.predictors if name in ALL_FLOORS]
    best = max(floors, key=lambda n: primary.improvement(evaluation.value(n, size, primary.name)), default=None)
    titles = [metric.title for metric in ALL_METRICS]
    lines = [_row("", titles) + (f"  {primary.title} - best floor [95 %]" if best else "")]
    for name in evaluation.predictors:
        values = [_decimal(evaluation.value(name, size, metric.name)) for metric in ALL_METRICS]
        lines.append(_row(name, values) + (_difference(evaluation, name, best, primary, size) if best else ""))
    return lines


def _difference(evaluation: Evaluation, name: str, best: str, primary: Metric, size: Size) -> str:
    if name == best:
        return "  best floor"
    interval = evaluation.compare(name, best, metric=primary.name, size=size)
    return f"  {interval.difference:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"


def _curve(evaluation: Evaluation, primary: Metric, sizes: Sequence[Size]) -> list[str]:
    rows = [
        _row(name, [_decimal(evaluation.value(name, size, primary.name)) for size in sizes])
        for name in evaluation.predictors
    ]
    return [_row(f"{primary.title} by support ratings", [str(size) for size in sizes]), *rows]


def _notes(evaluation: Evaluation) -> list[str]:
    short, tasks = [(evaluation.num_short(size), size) for size in evaluation.sizes], evaluation.words.tasks
    notes = [
        f"{count} {tasks} have fewer than {size} support ratings; they keep all." for count, size in short if count
    ]
    undefined = evaluation.num_undefined("ndcg_at_1")
    if undefined:
        notes.append(f"{undefined} {tasks} have no query target above the lowest; nDCG is over the others.")
    return ["", *notes] if notes else []


def _row(name: str, cells: Sequence[str]) -> str:
    shown = name if len(name) <= _NAME_WIDTH else name[: _NAME_WIDTH - 1] + "…"
    return f"{shown:<{_NAME_WIDTH}}" + "".join(f"{cell:>{_VALUE_WIDTH}}" for cell in cells)


def _decimal(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.4f}"
