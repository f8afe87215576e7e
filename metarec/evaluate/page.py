"""The report of an evaluation as one HTML page that needs nothing else: tables, curves as inline SVG, no script."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from metarec.evaluate.best_floor import best_floor
from metarec.evaluate.evaluation import Evaluation, Size
from metarec.evaluate.figures import decimal, signed
from metarec.evaluate.gate import Verdict
from metarec.evaluate.markup import STYLE, table, text
from metarec.evaluate.metric import Metric, metric_named
from metarec.evaluate.plot import curves_as_svg


def render_page(evaluation: Evaluation, verdict: Verdict | None, *, primary: str, facts: Mapping[str, Any]) -> str:
    """The page.

    Args:
        evaluation: what was found; its last predictor is the candidate.
        verdict: of the gate; None where none was asked.
        primary: the metric that decides, as `evaluate.primary` names it.
        facts: what is judged on what, as text.
    """
    metric = metric_named(primary)
    title = f"{evaluation.predictors[-1]} on {len(evaluation.users)} test {evaluation.words.tasks}"
    sections = {
        "results": ("Results", _results(evaluation, metric)),
        "curves": ("What each further rating is worth", _curves(evaluation, metric)),
        "lists": (f"Lists of {evaluation.k}", _lists(evaluation)),
        "segments": ("Groups of users", _segments(evaluation, metric)),
        "costs": ("Seconds", _costs(evaluation)),
        "facts": ("What was measured", _facts(evaluation, facts)),
    }
    shown = {name: section for name, section in sections.items() if section[1]}
    links = "".join(f'<a href="#{name}">{text(heading)}</a>' for name, (heading, _) in shown.items())
    body = "".join(f'<h2 id="{name}">{text(heading)}</h2>{content}' for name, (heading, content) in shown.items())
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body><h1>{text(title)}</h1>{_verdict(verdict)}<nav>{links}</nav>{body}</body></html>\n"
    )


def _results(evaluation: Evaluation, primary: Metric) -> str:
    """Errors and nDCG of every predictor with all support ratings, and how far each is from the best floor."""
    metrics = [metric for metric in evaluation.metrics if metric.name.startswith(("mae", "rmse", "ndcg"))]
    best = best_floor(evaluation, primary)
    titles = ["", *(metric.title for metric in metrics), *([f"{primary.title} - best floor [95 %]"] if best else [])]
    rows = []
    for name in evaluation.predictors:
        cells = [_best_cell(evaluation, name, metric) for metric in metrics]
        if best:
            interval = evaluation.compare(name, best, metric=primary.name)
            cells.append("best floor" if name == best else signed(interval))
        rows.append((name, cells))
    note = (
        f"All support ratings (median {np.median(evaluation.num_support):g}), {evaluation.num_query:g} query ratings, "
        f"mean over users and {evaluation.num_draws} draws; paired bootstrap intervals over users. RMSE is the root "
        "of the mean over users. Tied scores count as their mean over random order. Green: best of the column."
    )
    return table(titles, rows, candidate=evaluation.predictors[-1]) + f'<p class="note">{text(note)}</p>'


def _curves(evaluation: Evaluation, primary: Metric) -> str:
    """A plot and a table of the primary metric, and of nDCG@5 or MAE beside it."""
    other = metric_named("mae" if primary.name == "ndcg_at_5" else "ndcg@5")
    parts = []
    for metric in (primary, other):
        titles = [f"{metric.title} by support ratings", *(str(size) for size in evaluation.sizes)]
        rows = [
            (name, [_best_cell(evaluation, name, metric, size) for size in evaluation.sizes])
            for name in evaluation.predictors
        ]
        parts += [curves_as_svg(evaluation, metric), table(titles, rows, candidate=evaluation.predictors[-1])]
    short, tasks = [(evaluation.num_short(size), size) for size in evaluation.sizes], evaluation.words.tasks
    notes = [
        f"{count} {tasks} have fewer than {size} support ratings; they keep all." for count, size in short if count
    ]
    return "".join([*parts, *(f'<p class="note">{text(note)}</p>' for note in notes)])


def _lists(evaluation: Evaluation) -> str:
    """Everything that is no error and no nDCG."""
    metrics = [metric for metric in evaluation.metrics if not metric.name.startswith(("mae", "rmse", "ndcg"))]
    if not metrics:
        return ""
    titles = ["", *(metric.title for metric in metrics), f"coverage@{evaluation.k}"]
    rows = [
        (
            name,
            [
                *(_best_cell(evaluation, name, metric) for metric in metrics),
                decimal(evaluation.coverage_of(name, "all")),
            ],
        )
        for name in evaluation.predictors
    ]
    undefined, words = evaluation.num_undefined("mrr"), evaluation.words
    note = (
        f"The held-out ratings of a task are ranked among {evaluation.num_candidates:.0f} {words.rows}. "
        f"{undefined} of {len(evaluation.users)} {words.tasks} have no relevant query {words.row} "
        "and are left out of the metrics of relevance."
    )
    if evaluation.num_without_list:
        short, k = evaluation.num_without_list, evaluation.k
        note += f" {short} have fewer than {k} {words.rows} to rank and are left out of the metrics at {k}."
    return table(titles, rows, candidate=evaluation.predictors[-1]) + f'<p class="note">{text(note)}</p>'


def _segments(evaluation: Evaluation, primary: Metric) -> str:
    best, candidate = best_floor(evaluation, primary), evaluation.predictors[-1]
    if not evaluation.segments or best is None or best == candidate:
        return ""
    titles = [primary.title, evaluation.words.tasks, best, candidate, "difference [95 %]"]
    rows = []
    for segment in evaluation.segments:
        values = [evaluation.value(name, "all", primary.name, segment) for name in (best, candidate)]
        interval = evaluation.compare(candidate, best, metric=primary.name, segment=segment)
        rows.append((segment.name, [str(int(segment.members.sum())), *map(decimal, values), signed(interval)]))
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
        "candidates of a ranking": f"{evaluation.num_candidates:.0f}",
    }
    shown = {n: ", ".join(map(str, v)) if isinstance(v, list) else str(v) for n, v in {**facts, **counts}.items()}
    return table(["", ""], [(name, [value]) for name, value in shown.items()])


def _verdict(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    if verdict.passed:
        return '<p class="passed">Passes the gate: better than every opponent beyond chance.</p>'
    reasons = "".join(f"<li>{text(reason)}</li>" for reason in verdict.reasons)
    return f'<div class="failed">Does not pass the gate:<ul>{reasons}</ul></div>'


def _best_cell(evaluation: Evaluation, name: str, metric: Metric, size: Size = "all") -> str:
    """A value; the best of all predictors is marked."""
    values = {other: evaluation.value(other, size, metric.name) for other in evaluation.predictors}
    known = [metric.improvement(value) for value in values.values() if not np.isnan(value)]
    own = decimal(values[name])
    return f"*{own}" if known and metric.improvement(values[name]) == max(known) else own
