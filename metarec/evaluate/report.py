"""The report of an evaluation: its figures as a JSON file, and a page for a browser beside it."""

import json
from typing import Any

from metarec import storage
from metarec.errors import StorageError
from metarec.evaluate.best_floor import best_floor
from metarec.evaluate.evaluation import Evaluation, Size
from metarec.evaluate.gate import Verdict
from metarec.evaluate.metric import Metric, metric_named
from metarec.evaluate.page import render_page
from metarec.schema import FORMAT_VERSION

_FIGURES, _PAGE = ".json", ".html"


def write_report(
    evaluation: Evaluation, verdict: Verdict | None, path_or_uri: str, *, primary: str = "mae", **facts: Any
) -> None:
    """Write what `render_report` makes.

    Args:
        evaluation, verdict, primary, facts: as there.
        path_or_uri: the JSON file, or the page; the other is written beside it, with its own ending.

    Raises:
        StorageError: a file cannot be written.
    """
    figures, page = render_report(evaluation, verdict, primary=primary, **facts)
    storage.write_bytes(figures_uri(path_or_uri), figures)
    storage.write_bytes(page_uri(path_or_uri), page)


def render_report(
    evaluation: Evaluation, verdict: Verdict | None, *, primary: str = "mae", **facts: Any
) -> tuple[bytes, bytes]:
    """What was found as JSON and as a page, without anything about a single user.

    Args:
        evaluation: goes under `evaluation`, as its `to_json`; its values with their intervals go under `intervals`, and
            how far they are from the best floor of the same metric and support size under `differences`: of every
            metric with all support ratings, of the primary one at every size.
        verdict: goes under `verdict`; null where no gate was applied.
        primary: the metric that decides, under `primary`.
        facts: further entries at the top, JSON values: the run, the dataset, the model.
    """
    document = {
        "format_version": FORMAT_VERSION,
        "kind": "report",
        **facts,
        "primary": primary,
        "evaluation": evaluation.to_json(),
        "intervals": _intervals(evaluation, primary),
        "differences": _differences(evaluation, primary),
        "verdict": None if verdict is None else verdict.to_json(),
    }
    figures = json.dumps(document, indent=1, allow_nan=False)
    page = render_page(evaluation, verdict, primary=primary, facts={**facts, "primary": primary})
    return figures.encode(), page.encode()


def check_report_path(path_or_uri: str) -> None:
    """Refuse a place where no report can be written, before there is anything to write.

    Raises:
        StorageError: the name has another ending, is that of a folder, or the folder cannot be written to.
    """
    place, _ = storage.split_options(path_or_uri)
    if not place.endswith((_FIGURES, _PAGE)):
        raise StorageError(f"cannot write a report to {path_or_uri}; name a file that ends in .json or .html")
    for uri in (figures_uri(path_or_uri), page_uri(path_or_uri)):
        storage.check_replaceable(uri)


def places_of(path_or_uri: str) -> str:
    """Both files of a report, for a person to open."""
    return f"{figures_uri(path_or_uri)} and {page_uri(path_or_uri)}"


def figures_uri(path_or_uri: str) -> str:
    """The JSON file of a report that either of its files names."""
    return _with_ending(path_or_uri, _FIGURES)


def page_uri(path_or_uri: str) -> str:
    """The page of a report that either of its files names."""
    return _with_ending(path_or_uri, _PAGE)


def _with_ending(path_or_uri: str, ending: str) -> str:
    place, options = storage.split_options(path_or_uri)
    return place.removesuffix(_FIGURES).removesuffix(_PAGE) + ending + options


def _intervals(evaluation: Evaluation, primary: str) -> dict[str, Any]:
    """By predictor, support size and metric."""
    return {
        name: {
            str(size): {metric.name: evaluation.interval(name, size, metric.name).to_json() for metric in metrics}
            for size, metrics in _judged(evaluation, primary)
        }
        for name in evaluation.predictors
    }


def _differences(evaluation: Evaluation, primary: str) -> dict[str, Any]:
    """By support size and metric: which floor is best there, and how far every other predictor is from it."""
    return {
        str(size): {metric.name: found for metric in metrics if (found := _from_best_floor(evaluation, metric, size))}
        for size, metrics in _judged(evaluation, primary)
    }


def _from_best_floor(evaluation: Evaluation, metric: Metric, size: Size) -> dict[str, Any]:
    best = best_floor(evaluation, metric, size)
    if best is None:
        return {}
    others = [name for name in evaluation.predictors if name != best]
    found = {name: evaluation.compare(name, best, metric=metric.name, size=size) for name in others}
    return {"floor": best, "values": {name: interval.to_json("difference") for name, interval in found.items()}}


def _judged(evaluation: Evaluation, primary: str) -> list[tuple[Size, tuple[Metric, ...]]]:
    """At each support size the metrics that are judged there."""
    deciding = (metric_named(primary),)
    return [(size, evaluation.metrics if size == "all" else deciding) for size in evaluation.sizes]
