"""How figures are written, in a terminal and on a page alike."""

import math

from metarec.evaluate.interval import Interval


def decimal(value: float | None) -> str:
    """Four decimals; a dash for what is not defined."""
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"


def between(interval: Interval) -> str:
    """The ends of a value's interval; nothing for what is not defined."""
    return "" if math.isnan(interval.value) else f"[{interval.low:.4f}, {interval.high:.4f}]"


def signed(interval: Interval) -> str:
    """A difference with its interval; a dash for what is not defined."""
    if math.isnan(interval.value):
        return "-"
    return f"{interval.value:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"
