"""The report of an evaluation as one HTML page that needs nothing else: tables, curves as inline SVG, no script."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from metarec.evaluate.best_floor import best_floor
from metarec.evaluate.evaluation import Evaluation, Size
from metarec.evaluate.figures import between, decimal, signed
from metarec.evaluate.gate import Verdict, is_better
from metarec.evaluate.interval import Interval
from metarec.evaluate.left_out import left_out
from metarec.evaluate.markup import STYLE, Cell, note, table, text
from metarec.evaluate.metric import ALL_METRICS, Metric, metric_named
from metarec.evaluate.plot import curves_as_svg


def render_page(evaluation: Evaluation, verdict: Verdict | None, *, primary: str, facts: Mapping[str, Any]) -> str:
    """The page.

    Args:
        evaluation: what was found; its last predictor is the candidate.
        verdict: of the gate; None where none was asked.
        primary: the metric that decides, as `evaluate.primary` names it.
        facts: what is judged on what, as text; `dataset` stands in the title as well.
    """
    metric, tasks = metric_named(primary), evaluation.words.tasks
    where = f" of {facts['dataset']}" if "dataset" in facts else ""
    title = f"{evaluation.predictors[-1]} on {len(evaluation.users)} test {tasks}{where}"
    sections = {
        "results": ("Results", _results(evaluation, metric)),
        "floors": ("Beside the best floor of each metric", _beside_floors(evaluation)),
        "curves": ("What each further rating is worth", _curves(evaluation, metric)),
        "lists": (f"Lists of {evaluation.k}", _lists(evaluation)),
        "segments": (f"Groups of {tasks}", _segments(evaluation, metric)),
        "costs": ("Seconds", _costs(evaluation)),
        "facts": ("What was measured", _facts(evaluation, facts)),
    }
    shown = {name: section for name, section in sections.items() if section[1]}
    links = "".join(f'<a href="#{name}">{text(heading)}</a>' for name, (heading, _) in shown.items())
    body = "".join(f'<h2 id="{name}">{text(heading)}</h2>{content}' for name, (heading, content) in shown.items())
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><h1>{text(title)}</h1>{_verdict(verdict)}<nav>{links}</nav>{body}</body></html>\n"
    )


def _results(evaluation: Evaluation, primary: Metric) -> str:
    """Errors and nDCG of every predictor with all support ratings, and how far each is from the best floor."""
    best, tasks = best_floor(evaluation, primary), evaluation.words.tasks
    titles = ["", *(metric.title for metric in ALL_METRICS), *([f"{primary.title} - best floor"] if best else [])]
    rows = []
    for name in evaluation.predictors:
        cells = [_cell(evaluation, name, metric, with_interval=True) for metric in ALL_METRICS]
        if best:
            interval = evaluation.compare(name, best, metric=primary.name)
            cells.append(Cell("best floor") if name == best else _difference(interval))
        rows.append((name, cells))
    return table(titles, rows, candidate=evaluation.predictors[-1]) + note(
        f"All support ratings (median {np.median(evaluation.num_support):g}), {evaluation.num_query:g} query ratings. "
        f"Means over {tasks} and {evaluation.num_draws} draws, for RMSE the root of that of squares; below them their "
        f"95 % intervals, of a paired bootstrap over {tasks}. Tied scores count as their mean over random order. "
        "Green: best of the column. A dash: not defined, as errors are not where scores tell an order alone.",
        *left_out(evaluation, ALL_METRICS),
    )


def _beside_floors(evaluation: Evaluation) -> str:
    """The candidate and the best floor of each metric that both have, with all support ratings."""
    candidate, rows = evaluation.predictors[-1], []
    for metric in evaluation.metrics:
        best = best_floor(evaluation, metric)
        if best is None or best == candidate or math.isnan(evaluation.value(candidate, "all", metric.name)):
            continue
        own, floor = (evaluation.interval(name, "all", metric.name) for name in (candidate, best))
        interval = evaluation.compare(candidate, best, metric=metric.name)
        difference = _difference(interval)._replace(best=is_better(interval, metric))
        rows.append(
            (metric.title, [Cell(decimal(own.value), between(own)), Cell(decimal(floor.value), best), difference])
        )
    titles = ["", candidate, "best floor", "difference"]
    return table(titles, rows) + note("Green: ahead beyond chance.") if rows else ""


def _curves(evaluation: Evaluation, primary: Metric) -> str:
    """A plot and a table of the primary metric, and of nDCG@5 or MAE beside it."""
    other = metric_named("mae" if primary.name == "ndcg_at_5" else "ndcg@5")
    parts = []
    for metric in (primary, other):
        titles = [f"{metric.title} by support ratings", *(str(size) for size in evaluation.sizes)]
        rows = [
            (name, [_cell(evaluation, name, metric, size) for size in evaluation.sizes])
            for name in evaluation.predictors
        ]
        drawing = f'<div class="scroll">{curves_as_svg(evaluation, metric)}</div>'
        parts += [drawing, table(titles, rows, candidate=evaluation.predictors[-1])]
    short, tasks = [(evaluation.num_short(size), size) for size in evaluation.sizes], evaluation.words.tasks
    return "".join(parts) + note(
        *(f"{count} {tasks} have fewer than {size} support ratings; they keep all." for count, size in short if count)
    )


def _lists(evaluation: Evaluation) -> str:
    """Everything that is no error and no nDCG."""
    metrics = evaluation.metrics[len(ALL_METRICS) :]
    if not metrics:
        return ""
    titles = ["", *(metric.title for metric in metrics), f"coverage@{evaluation.k}"]
    rows = [
        (
            name,
            [
                *(_cell(evaluation, name, metric) for metric in metrics),
                Cell(decimal(evaluation.coverage_of(name, "all"))),
            ],
        )
        for name in evaluation.predictors
    ]
    return table(titles, rows, candidate=evaluation.predictors[-1]) + note(
        f"The held-out ratings of a task are ranked among {evaluation.num_candidates:.0f} {evaluation.words.rows}.",
        *left_out(evaluation, metrics),
    )


def _segments(evaluation: Evaluation, primary: Metric) -> str:
    best, candidate = best_floor(evaluation, primary), evaluation.predictors[-1]
    if not evaluation.segments or best is None or best == candidate:
        return ""
    titles = [primary.title, evaluation.words.tasks, best, candidate, "difference"]
    rows = []
    for segment in evaluation.segments:
        values = [evaluation.value(name, "all", primary.name, segment) for name in (best, candidate)]
        interval = evaluation.compare(candidate, best, metric=primary.name, segment=segment)
        cells: list[str | Cell] = [str(int(segment.members.sum())), *map(decimal, values), _difference(interval)]
        rows.append((segment.name, cells))
    return table(titles, rows)


def _costs(evaluation: Evaluation) -> str:
    rows = []
    for name in evaluation.predictors:
        training = evaluation.training_seconds.get(name)
        rows.append(
            (
                name,
                [
                    "-" if training is None else f"{training:.1f}",
                    f"{evaluation.seconds[name]:.1f}",
                    f"{evaluation.task_milliseconds(name):.2f}",
                ],
            )
        )
    titles = ["", "training (s)", "all adaptation (s)", "adaptation and prediction of a task (ms)"]
    return table(titles, rows, candidate=evaluation.predictors[-1])


def _facts(evaluation: Evaluation, facts: Mapping[str, Any]) -> str:
    counts = {
        f"test {evaluation.words.tasks}": len(evaluation.users),
        "query ratings": f"{evaluation.num_query:g}",
        **({"known ratings, at most": evaluation.known_ratings} if evaluation.known_ratings else {}),
        "draws": evaluation.num_draws,
        "resamples behind an interval": evaluation.num_resamples,
        "candidates of a ranking": f"{evaluation.num_candidates:.0f}",
    }
    shown = {n: ", ".join(map(str, v)) if isinstance(v, list) else str(v) for n, v in {**facts, **counts}.items()}
    return table(["", ""], [(name, [value]) for name, value in shown.items()], kind="facts")


def _verdict(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    if verdict.passed:
        return '<p class="passed">Passes the gate: better than every opponent beyond chance.</p>'
    reasons = "".join(f"<li>{text(reason)}</li>" for reason in verdict.reasons)
    return f'<div class="failed">Does not pass the gate:<ul>{reasons}</ul></div>'


def _difference(interval: Interval) -> Cell:
    """A difference above its interval."""
    value, _, ends = signed(interval).partition(" ")
    return Cell(value, ends)


def _cell(
    evaluation: Evaluation, name: str, metric: Metric, size: Size = "all", *, with_interval: bool = False
) -> Cell:
    """A value; the best of all predictors is marked."""
    values = {other: evaluation.value(other, size, metric.name) for other in evaluation.predictors}
    known = [metric.improvement(value) for value in values.values() if not math.isnan(value)]
    below = between(evaluation.interval(name, size, metric.name)) if with_interval else ""
    return Cell(decimal(values[name]), below, bool(known) and metric.improvement(values[name]) == max(known))
