"""What came of a search: the table of its trials, and the best settings as a file that `jobs.train` takes."""

from collections.abc import Mapping, Sequence
from typing import Any

import tomli_w

from metarec.config import Config, config_to_dict, with_values
from metarec.search.trials import Trial, ranked

LOOKING_FOR = ("run", "search")
"""Tables of the search itself, which its best config is without."""


def render_trials(trials: Sequence[Trial], drawn: Sequence[str], primary: str) -> str:
    """A line a trial, the best first, then those that failed.

    Args:
        trials: of the search.
        drawn: the settings that differ.
        primary: the metric, as `evaluate.primary` names it.
    """
    best = ranked(trials, primary)
    others = [trial for trial in trials if trial not in best]
    widths = [max(10, len(name)) for name in drawn]
    head = ["trial", *(f"{name:>{width}}" for name, width in zip(drawn, widths, strict=True))]
    lines = ["  ".join([*head, f"validation {primary}", "epochs", "seconds", ""]).rstrip()]
    for trial in [*best, *others]:
        cells = [f"{text_of(trial.values[name]):>{width}}" for name, width in zip(drawn, widths, strict=True)]
        lines.append("  ".join([f"{trial.number:5d}", *cells, *_result_cells(trial, primary)]).rstrip())
    return "\n".join(lines)


def _result_cells(trial: Trial, primary: str) -> list[str]:
    result = trial.result
    if result is None:
        return ["not ended"]
    metric = "-" if result.metric is None else f"{result.metric:.4f}"
    ending = "" if result.ending == "finished" else result.ending
    reason = f": {result.reason}" if result.reason else ""
    sources = ", ".join(str(takeover.source) for takeover in trial.takeovers)
    remarks = [ending + reason, f"took over from {sources}" if sources else ""]
    width = len(f"validation {primary}")
    return [
        f"{metric:>{width}}",
        f"{result.num_epochs:6d}",
        f"{result.train_seconds:7.1f}",
        "; ".join(filter(None, remarks)),
    ]


def text_of(value: object) -> str:
    """A value of a setting as tables and progress lines show it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace(" ", "")


def best_toml(config: Config, values: Mapping[str, Any], *, heading: str, evidence: str) -> str:
    """A config file with everything that differs from the defaults, and the best settings in it.

    Args:
        config: of the search.
        values: of its best trial.
        heading: the first line: the command that runs it.
        evidence: the second line: what speaks for it.
    """
    document, default = config_to_dict(with_values(config, values)), config_to_dict(Config())
    tables = {}
    for table, settings in document.items():
        kept = {name: value for name, value in settings.items() if value != default[table][name]}
        if kept and table not in LOOKING_FOR:
            tables[table] = kept
    seed = {"run": {"seed": config.run.seed}} if config.run.seed else {}
    return f"# {heading}\n# {evidence}\n\n" + tomli_w.dumps({**seed, **tables})
