"""Adaptation curves: how much each further rating of a cold user is worth."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from metarec.evaluate.evaluation import Evaluation
from metarec.evaluate.metric import Metric, metric_named

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_curves(evaluation: Evaluation, primary: str = "mae") -> bytes:
    """`draw_curves` as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    png = io.BytesIO()
    FigureCanvasAgg(draw_curves(evaluation, metric_named(primary))).print_png(png)
    return png.getvalue()


def curves_as_svg(evaluation: Evaluation, metric: Metric) -> str:
    """`draw_curves` as an SVG element that a page can hold: text stays text, and nothing is fetched."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    svg = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": metric.name}):
        FigureCanvasSVG(draw_curves(evaluation, metric)).print_svg(
            svg, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    return svg.getvalue()[svg.getvalue().index("<svg") :]


def draw_curves(evaluation: Evaluation, metric: Metric) -> "Figure":
    """One curve a predictor over the support sizes, evenly spaced, the candidate as a broad line.

    Who has no value of the metric has none. The frame holds all of the candidate's curve and the best point of every
    other; a spike of those may leave it.

    Args:
        evaluation: what to draw; its last predictor is the candidate.
        metric: the one to draw.
    """
    from matplotlib.figure import Figure

    values = {
        name: [evaluation.value(name, size, metric.name) for size in evaluation.sizes] for name in evaluation.predictors
    }
    curves = {name: curve for name, curve in values.items() if not all(map(math.isnan, curve))}
    candidate = evaluation.predictors[-1]
    others = [name for name in curves if name != candidate]
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for name in others:
        axes.plot(curves[name], marker="o", markersize=4, linewidth=1.4, label=name)
    if candidate in curves:
        axes.plot(curves[candidate], marker="o", markersize=7, linewidth=4, color="0.2", zorder=1.5, label=candidate)
    axes.set_ylim(*frame(curves, candidate, metric))
    median = np.median(evaluation.num_support)
    labels = [f"all\n(median {median:g})" if size == "all" else str(size) for size in evaluation.sizes]
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlabel(f"support ratings of a cold {evaluation.words.task}")
    axes.set_ylabel(f"{metric.title} ({metric.unit})" if metric.unit else metric.title)
    axes.set_title(
        f"{len(evaluation.users)} test {evaluation.words.tasks}, mean of {evaluation.num_draws} draws", fontsize=10
    )
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if curves:
        figure.legend(loc="outside right center", frameon=False)
    return figure


def frame(curves: Mapping[str, Sequence[float]], candidate: str, metric: Metric) -> tuple[float, float]:
    """The lowest and the highest value to show: all of the candidate's curve and the best point of every other."""
    inside = [*curves.get(candidate, ()), *(max(values, key=metric.improvement) for values in curves.values())]
    inside = [value for value in inside if math.isfinite(value)] or [0.0]
    margin = 0.06 * (max(inside) - min(inside)) or 0.05
    return min(inside) - margin, max(inside) + margin
