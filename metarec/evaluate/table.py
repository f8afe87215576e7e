"""An evaluation as a table for the terminal."""

from collections.abc import Sequence

import numpy as np

from metarec.baselines import FLOORS
from metarec.evaluate.evaluation import METRICS, Evaluation, Size

_WIDTH = 100
_NAME_WIDTH = 32
_VALUE_WIDTH = 8
_SIZES_A_BLOCK = (_WIDTH - _NAME_WIDTH) // _VALUE_WIDTH
_TITLES = {"mae": "MAE", "rmse": "RMSE", "ndcg_at_1": "nDCG@1", "ndcg_at_3": "nDCG@3", "ndcg_at_5": "nDCG@5"}


def render_table(evaluation: Evaluation, *, size: Size = "all") -> str:
    """Every predictor's metrics at one support size, then the MAE of all of them at every size; 100 columns wide.

    The rows stand in the order of `evaluation.predictors`. Where floors are among them, each row says how far its MAE
    is from that of the best floor, with the 95 % interval over users; below 0 is better.
    """
    lines = [_headline(evaluation, size), "", *_metrics(evaluation, size)]
    for start in range(0, len(evaluation.sizes), _SIZES_A_BLOCK):
        lines += ["", *_curve(evaluation, evaluation.sizes[start : start + _SIZES_A_BLOCK])]
    return "\n".join(line.rstrip() for line in [*lines, *_notes(evaluation)])


def _headline(evaluation: Evaluation, size: Size) -> str:
    median = np.median(evaluation.num_support)
    support = f"all support ratings (median {median:g})" if size == "all" else f"{size} support ratings"
    return (
        f"{len(evaluation.users)} cold users, {support}, {evaluation.num_query} query ratings, "
        f"mean of {evaluation.num_draws} draws"
    )


def _metrics(evaluation: Evaluation, size: Size) -> list[str]:
    floors = [name for name in evaluation.predictors if name in FLOORS]
    best = min(floors, key=lambda name: evaluation.value(name, size, "mae"), default=None)
    titles = [_TITLES[metric] for metric in METRICS]
    lines = [_row("", titles) + ("  MAE - best floor [95 %]" if best else "")]
    for name in evaluation.predictors:
        values = [_decimal(evaluation.value(name, size, metric)) for metric in METRICS]
        lines.append(_row(name, values) + (_difference(evaluation, name, best, size) if best else ""))
    return lines


def _difference(evaluation: Evaluation, name: str, best: str, size: Size) -> str:
    if name == best:
        return "  best floor"
    interval = evaluation.compare(name, best, metric="mae", size=size)
    return f"  {interval.difference:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"


def _curve(evaluation: Evaluation, sizes: Sequence[Size]) -> list[str]:
    rows = [
        _row(name, [_decimal(evaluation.value(name, size, "mae")) for size in sizes]) for name in evaluation.predictors
    ]
    return [_row("MAE by support ratings", [str(size) for size in sizes]), *rows]


def _notes(evaluation: Evaluation) -> list[str]:
    short = [(evaluation.num_short(size), size) for size in evaluation.sizes]
    notes = [f"{count} users have fewer than {size} support ratings; they keep all." for count, size in short if count]
    undefined = evaluation.num_undefined("ndcg_at_1")
    if undefined:
        notes.append(f"{undefined} users have no query target above the lowest; nDCG is over the others.")
    return ["", *notes] if notes else []


def _row(name: str, cells: Sequence[str]) -> str:
    shown = name if len(name) <= _NAME_WIDTH else name[: _NAME_WIDTH - 1] + "…"
    return f"{shown:<{_NAME_WIDTH}}" + "".join(f"{cell:>{_VALUE_WIDTH}}" for cell in cells)


def _decimal(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.4f}"
