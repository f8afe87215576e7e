"""The report of an evaluation: its figures as a JSON file, and a page for a browser beside it."""

import json
from typing import Any

from metarec import storage
from metarec.errors import StorageError
from metarec.evaluate.best_floor import best_floor
from metarec.evaluate.evaluation import Evaluation, finite_or_none
from metarec.evaluate.gate import Verdict
from metarec.evaluate.interval import Interval
from metarec.evaluate.metric import metric_named
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
        evaluation: goes under `evaluation`, as its `to_json`.
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


def figures_uri(path_or_uri: str) -> str:
    """The JSON file of a report that either of its files names."""
    return _with_ending(path_or_uri, _FIGURES)


def page_uri(path_or_uri: str) -> str:
    """The page of a report that either of its files names."""
    return _with_ending(path_or_uri, _PAGE)


def _with_ending(path_or_uri: str, ending: str) -> str:
    place, options = storage.split_options(path_or_uri)
    return place.removesuffix(_FIGURES).removesuffix(_PAGE) + ending + options


def _differences(evaluation: Evaluation, primary: str) -> dict[str, Any]:
    """How far every predictor is from the best floor on the primary metric, at every support size."""
    metric = metric_named(primary)
    best = best_floor(evaluation, metric)
    if best is None:
        return {}
    return {
        "floor": best,
        "values": {
            name: {
                str(size): _ends(evaluation.compare(name, best, metric=metric.name, size=size))
                for size in evaluation.sizes
            }
            for name in evaluation.predictors
            if name != best
        },
    }


def _ends(interval: Interval) -> dict[str, float | None]:
    return {end: finite_or_none(value) for end, value in interval._asdict().items()}
