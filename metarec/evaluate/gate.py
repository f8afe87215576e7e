"""The gate: whether a model may become champion."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metarec.baselines import FLOOR_NAMES
from metarec.evaluate.evaluation import Evaluation
from metarec.evaluate.interval import Interval
from metarec.evaluate.metric import Metric, metric_named


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a candidate.

    Attributes:
        passed: better than every opponent, beyond the interval.
        reasons: for each opponent that it does not beat, a sentence; none where it passed.
        opponents: name → candidate minus opponent on the primary metric, an error of which is better below 0, and a
            ranking metric above it.
    """

    passed: bool
    reasons: tuple[str, ...]
    opponents: Mapping[str, Interval]

    def to_json(self) -> dict[str, Any]:
        """As plain dictionaries; an interval's end that is not finite is null."""
        return {
            "passed": self.passed,
            "reasons": list(self.reasons),
            "opponents": {name: interval.to_json("difference") for name, interval in self.opponents.items()},
        }


def judge(evaluation: Evaluation, *, candidate: str, opponents: Sequence[str], primary: str) -> Verdict:
    """Pass a candidate that is better than every opponent with all support ratings, beyond the paired interval.

    A floor that has no value of the primary metric, since its scores tell an order alone, is no opponent; anybody else
    without one cannot be passed.

    Args:
        evaluation: of the candidate and the opponents on the same tasks.
        candidate: who wants to pass.
        opponents: whom it has to beat, at least one.
        primary: the metric, as `evaluate.primary` names it.
    """
    assert opponents, "a gate without an opponent lets everything through"
    metric = metric_named(primary)
    rivals = [name for name in opponents if name not in FLOOR_NAMES or _has(evaluation, name, metric)]
    intervals = {name: evaluation.compare(candidate, name, metric=metric.name) for name in rivals}
    lost = {name: interval for name, interval in intervals.items() if not is_better(interval, metric)}
    reasons = [_reason(evaluation, candidate, name, primary, interval) for name, interval in lost.items()]
    if not rivals:
        reasons.append(f"no opponent has a value of {primary}")
    return Verdict(passed=not reasons, reasons=tuple(reasons), opponents=intervals)


def _has(evaluation: Evaluation, name: str, metric: Metric) -> bool:
    return not math.isnan(evaluation.value(name, "all", metric.name))


def is_better(interval: Interval, metric: Metric) -> bool:
    """Beyond chance: whether every difference of an interval is an improvement; NaN is none."""
    return metric.improvement(interval.low) > 0 and metric.improvement(interval.high) > 0


def _reason(evaluation: Evaluation, candidate: str, opponent: str, primary: str, interval: Interval) -> str:
    metric = metric_named(primary)
    if not _has(evaluation, candidate, metric):
        return f"{candidate} has no {primary}, so that it cannot be compared with {opponent}"
    if not _has(evaluation, opponent, metric):
        return f"{opponent} has no {primary}, so that {candidate} cannot be compared with it"
    own, other = (evaluation.value(name, "all", metric.name) for name in (candidate, opponent))
    wanted = "below" if metric.lower_is_better else "above"
    return (
        f"{primary} {own:.4f} of {candidate} is not {wanted} the {other:.4f} of {opponent} beyond chance: "
        f"difference {interval.value:+.4f}, 95 % interval {interval.low:+.4f} to {interval.high:+.4f} over "
        f"{len(evaluation.users)} {evaluation.words.tasks}"
    )
