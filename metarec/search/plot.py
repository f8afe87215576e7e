"""A search at a glance: the metric over each setting that was drawn."""

import io
import math
from collections.abc import Sequence
from typing import Any

from metarec.evaluate.metric import metric_named
from metarec.search.outcome import text_of
from metarec.search.trials import Trial, ranked

PANEL_INCHES = 3.4
MANY_TIMES = 20.0
"""A setting whose largest value is so many times its smallest is drawn on a logarithmic axis."""


def plot_trials(trials: Sequence[Trial], drawn: Sequence[str], primary: str) -> bytes:
    """One panel a setting, a point a trial: full where it finished, hollow where it was stopped, a star for the best.

    Trials without a figure are left out.

    Args:
        trials: of the search.
        drawn: the settings that differ.
        primary: the metric, as `evaluate.primary` names it.

    Returns:
        A PNG.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    metric, best = metric_named(primary), ranked(trials, primary)[:1]
    shown = [trial for trial in trials if _figure(trial) is not None]
    size = (PANEL_INCHES * max(len(drawn), 2), PANEL_INCHES)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(drawn), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, drawn, strict=True):
        _draw(axes, name, shown, best)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(f"validation {metric.title}" + (f" ({metric.unit})" if metric.unit else ""))
    figure.suptitle("full: finished, hollow: stopped early, star: best", fontsize=9)
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    return png.getvalue()


def _draw(axes: Any, name: str, shown: Sequence[Trial], best: Sequence[Trial]) -> None:
    values = [trial.values[name] for trial in shown]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    for trial in shown:
        finished = trial.result is not None and trial.result.ending == "finished"
        x = trial.values[name] if numeric else text_of(trial.values[name])
        marker, points = ("*", 190) if trial in best else ("o", 40)
        face = "tab:red" if trial in best else ("tab:blue" if finished else "none")
        axes.scatter([x], [_figure(trial)], s=points, marker=marker, facecolors=face, edgecolors="tab:blue", zorder=3)
    if numeric and values and min(values) > 0 and max(values) > MANY_TIMES * min(values):
        axes.set_xscale("log")
    axes.set_xlabel(name)


def _figure(trial: Trial) -> float | None:
    metric = trial.result.metric if trial.result else None
    return metric if metric is not None and math.isfinite(metric) else None
