"""An evaluation as a table for the terminal."""

import textwrap
from collections.abc import Sequence

import numpy as np

from metarec.evaluate.best_floor import best_floor
from metarec.evaluate.evaluation import Evaluation, Size
from metarec.evaluate.figures import decimal, signed
from metarec.evaluate.left_out import left_out
from metarec.evaluate.metric import ALL_METRICS, Metric, metric_named

_WIDTH = 100
_NAME_WIDTH = 32
_VALUE_WIDTH = 8
_LIST_METRICS_A_BLOCK = 7
_SIZES_A_BLOCK = (_WIDTH - _NAME_WIDTH) // _VALUE_WIDTH


def render_table(evaluation: Evaluation, *, primary: str = "mae", size: Size = "all") -> str:
    """Every predictor's metrics at one support size, then the primary one of all at every size; 100 columns wide.

    The rows stand in the order of `evaluation.predictors`. Where floors are among them, each row says how far it is
    from the best floor on the primary metric, with the 95 % interval over users; of an error below 0 is better. Then
    come the metrics of lists, seconds, and the last predictor in each segment of users.
    """
    metric = metric_named(primary)
    lines = [_headline(evaluation, size), "", *_metrics(evaluation, metric, size)]
    for start in range(0, len(evaluation.sizes), _SIZES_A_BLOCK):
        lines += ["", *_curve(evaluation, metric, evaluation.sizes[start : start + _SIZES_A_BLOCK])]
    lines += [*_lists(evaluation, size), *_segments(evaluation, metric)]
    return "\n".join(line.rstrip() for line in [*lines, *_notes(evaluation)])


def _headline(evaluation: Evaluation, size: Size) -> str:
    median = np.median(evaluation.num_support)
    support = f"all support ratings (median {median:g})" if size == "all" else f"{size} support ratings"
    if evaluation.known_ratings:
        support += f", up to {evaluation.known_ratings} training ratings with them"
    return (
        f"{len(evaluation.users)} test {evaluation.words.tasks}, {support}, {evaluation.num_query:g} query ratings, "
        f"mean of {evaluation.num_draws} draws"
    )


def _metrics(evaluation: Evaluation, primary: Metric, size: Size) -> list[str]:
    best = best_floor(evaluation, primary, size)
    titles = [metric.title for metric in ALL_METRICS]
    lines = [_row("", titles) + (f"  {primary.title} - best floor [95 %]" if best else "")]
    for name in evaluation.predictors:
        values = [decimal(evaluation.value(name, size, metric.name)) for metric in ALL_METRICS]
        lines.append(_row(name, values) + (_difference(evaluation, name, best, primary, size) if best else ""))
    return lines


def _difference(evaluation: Evaluation, name: str, best: str, primary: Metric, size: Size) -> str:
    if name == best:
        return "  best floor"
    interval = evaluation.compare(name, best, metric=primary.name, size=size)
    return f"  {signed(interval)}"


def _curve(evaluation: Evaluation, primary: Metric, sizes: Sequence[Size]) -> list[str]:
    rows = [
        _row(name, [decimal(evaluation.value(name, size, primary.name)) for size in sizes])
        for name in evaluation.predictors
    ]
    return [_row(f"{primary.title} by support ratings", [str(size) for size in sizes]), *rows]


def _lists(evaluation: Evaluation, size: Size) -> list[str]:
    """The metrics that the first block has no room for, and what each predictor costs."""
    rest = evaluation.metrics[len(ALL_METRICS) :]
    blocks = []
    for start in range(0, len(rest), _LIST_METRICS_A_BLOCK):
        part = rest[start : start + _LIST_METRICS_A_BLOCK]
        last = start + _LIST_METRICS_A_BLOCK >= len(rest)
        title = f"ranked among {evaluation.num_candidates:.0f} {evaluation.words.rows}" if start == 0 else "and"
        blocks += ["", _row(title, [metric.title for metric in part] + (_costs_titles(evaluation) if last else []))]
        for name in evaluation.predictors:
            values = [decimal(evaluation.value(name, size, metric.name)) for metric in part]
            blocks.append(_row(name, values + (_costs(evaluation, name, size) if last else [])))
    return blocks


def _costs_titles(evaluation: Evaluation) -> list[str]:
    return [f"cov@{evaluation.k}", "train s", "ms/task"]


def _costs(evaluation: Evaluation, name: str, size: Size) -> list[str]:
    """Coverage, the seconds that fitting took, and the milliseconds of adapting to a task and predicting its query."""
    training = evaluation.training_seconds.get(name)
    return [
        decimal(evaluation.coverage_of(name, size)),
        "-" if training is None else f"{training:.1f}",
        f"{evaluation.task_milliseconds(name):.2f}",
    ]


def _segments(evaluation: Evaluation, primary: Metric) -> list[str]:
    """The last predictor in each segment beside the best floor over all users, with all support ratings."""
    best, candidate = best_floor(evaluation, primary), evaluation.predictors[-1]
    if not evaluation.segments or best is None or best == candidate:
        return []
    tasks = evaluation.words.tasks
    title = _row(f"{primary.title} of test {tasks} with", [tasks.split()[0], "floor", "model"])
    lines = ["", title + "  model - floor [95 %]"]
    for segment in evaluation.segments:
        values = [evaluation.value(name, "all", primary.name, segment) for name in (best, candidate)]
        interval = evaluation.compare(candidate, best, metric=primary.name, segment=segment)
        cells = [str(int(segment.members.sum())), *map(decimal, values)]
        lines.append(_row(segment.name, cells) + f"  {signed(interval)}")
    return [*lines, f"(floor: {best}; model: {candidate})"]


def _notes(evaluation: Evaluation) -> list[str]:
    short, tasks = [(evaluation.num_short(size), size) for size in evaluation.sizes], evaluation.words.tasks
    notes = [
        f"{count} {tasks} have fewer than {size} support ratings; they keep all." for count, size in short if count
    ]
    notes += [line for note in left_out(evaluation, evaluation.metrics) for line in textwrap.wrap(note, _WIDTH)]
    return ["", *notes] if notes else []


def _row(name: str, cells: Sequence[str]) -> str:
    shown = name if len(name) <= _NAME_WIDTH else name[: _NAME_WIDTH - 1] + "…"
    return f"{shown:<{_NAME_WIDTH}}" + "".join(f"{cell:>{_VALUE_WIDTH}}" for cell in cells)
