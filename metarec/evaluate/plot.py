"""Adaptation curves: how much each further rating of a cold user is worth."""

import io
import math
from collections.abc import Mapping, Sequence

import numpy as np

from metarec.evaluate.evaluation import Evaluation

_AXES = {
    "mae": "MAE (rating points)",
    "rmse": "RMSE (rating points)",
    "ndcg_at_1": "nDCG@1",
    "ndcg_at_3": "nDCG@3",
    "ndcg_at_5": "nDCG@5",
}


def plot_curves(evaluation: Evaluation, metric: str = "mae") -> bytes:
    """One curve a predictor over the support sizes, evenly spaced, the candidate as a broad line; a PNG.

    The frame holds all of the candidate's curve and the best point of every other; a spike of those may leave it.

    Args:
        evaluation: what to draw; its last predictor is the candidate.
        metric: one of `METRICS`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curves = {
        name: [evaluation.value(name, size, metric) for size in evaluation.sizes] for name in evaluation.predictors
    }
    *others, candidate = curves
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for name in others:
        axes.plot(curves[name], marker="o", markersize=4, linewidth=1.4, label=name)
    axes.plot(curves[candidate], marker="o", markersize=7, linewidth=4, color="0.2", zorder=1.5, label=candidate)
    axes.set_ylim(*_frame(curves, candidate, lower_is_better=metric in ("mae", "rmse")))
    median = np.median(evaluation.num_support)
    labels = [f"all\n(median {median:g})" if size == "all" else str(size) for size in evaluation.sizes]
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlabel("support ratings of a cold user")
    axes.set_ylabel(_AXES[metric])
    axes.set_title(f"{len(evaluation.users)} cold users, mean of {evaluation.num_draws} draws", fontsize=10)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", frameon=False)
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    return png.getvalue()


def _frame(curves: Mapping[str, Sequence[float]], candidate: str, *, lower_is_better: bool) -> tuple[float, float]:
    best = min if lower_is_better else max
    inside = [*curves[candidate], *(best(values) for values in curves.values())]
    inside = [value for value in inside if math.isfinite(value)] or [0.0]
    margin = 0.06 * (max(inside) - min(inside)) or 0.05
    return min(inside) - margin, max(inside) + margin
