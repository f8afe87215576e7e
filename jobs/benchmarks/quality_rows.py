"""The rows of the quality table: what is kept of each, and how they are shown."""

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jobs.benchmarks.trainings import digest_of
from metarec import storage
from metarec.evaluate.evaluation import METRICS, Evaluation
from metarec.evaluate.figures import decimal, signed
from metarec.evaluate.interval import finite_or_none, paired_interval
from metarec.evaluate.metric import metric_named

if TYPE_CHECKING:
    from jobs.benchmarks.quality import Plan
    from metarec.data.dataset import Dataset

SHOWN = ("mae", "rmse", "ndcg_at_1", "ndcg_at_5")


class Row(NamedTuple):
    """One predictor in one scenario.

    Attributes:
        name: floor or algorithm.
        values: by metric.
        per_user: the primary metric of each test user, null where it is not defined.
        primary: its name.
        training_seconds: mean over seeds.
        task_milliseconds: of adapting to a task and predicting its query.
        rates: chosen on validation users; none for a floor.
        validation: the primary metric of each trial there; null for one that could not be trained to its end.
    """

    name: str
    values: dict[str, float | None]
    per_user: list[float | None]
    primary: str
    training_seconds: float | None
    task_milliseconds: float
    rates: dict[str, float] | None = None
    validation: list[float | None] | None = None

    @classmethod
    def of(cls, evaluation: Evaluation, name: str, primary: str = "mae") -> "Row":
        """The row of one predictor of an evaluation."""
        return cls(
            name=name,
            values={metric: finite_or_none(evaluation.value(name, "all", metric)) for metric in METRICS},
            per_user=[finite_or_none(value) for value in evaluation.per_user(name, "all", primary).tolist()],
            primary=primary,
            training_seconds=evaluation.training_seconds.get(name),
            task_milliseconds=evaluation.task_milliseconds(name),
        )

    def to_json(self) -> dict[str, Any]:
        """As a plain dictionary, without anything about a single user."""
        return {name: value for name, value in self._asdict().items() if name != "per_user"}


class RowStore(NamedTuple):
    """The rows of one scenario that are done, one file each.

    Attributes:
        uri: their folder.
        key: tells this plan on this dataset from every other.
    """

    uri: str
    key: str

    @classmethod
    def of(cls, scenario: str, plan: "Plan", dataset: "Dataset") -> "RowStore":
        """The store of a plan."""
        config = plan.config(scenario, "joint", 0, {})
        what = [digest_of(config), dataset.fingerprint, plan.seeds, list(plan.rates), list(plan.outer_rates)]
        key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
        return cls(storage.join(config.output.uri, "benchmarks", "quality", scenario), key)

    def has(self, name: str) -> bool:
        """Whether the rows of a name are done."""
        return storage.exists(self._place(name))

    def save(self, name: str, rows: Sequence[Row]) -> None:
        """Keep rows under a name."""
        storage.write_bytes(self._place(name), json.dumps([row._asdict() for row in rows], indent=1).encode())

    def load(self, name: str) -> list[Row]:
        """The rows that were kept."""
        return [Row(**row) for row in json.loads(storage.read_bytes(self._place(name)))]

    def _place(self, name: str) -> str:
        return storage.join(self.uri, f"{name}-{self.key}.json")


def lines_of(scenario: str, rows: Sequence[Row]) -> list[str]:
    """A scenario as a table in Markdown; each row says how far it is from the best floor."""
    metric = metric_named(rows[0].primary)
    floors = [row for row in rows if row.rates is None]
    best = max(floors, key=lambda row: metric.improvement(row.values[metric.name] or 0.0))
    titles = [metric_named(name).title for name in SHOWN]
    lines = [
        "",
        f"| {scenario} | {' | '.join(titles)} | {metric.title} - best floor [95 %] | rates | training s | ms/task |",
        f"|{' --- |' * (len(titles) + 5)}",
    ]
    for row in rows:
        values = [decimal(row.values[name]) for name in SHOWN]
        rates = ", ".join(f"{name} {rate:g}" for name, rate in (row.rates or {}).items())
        seconds = "" if row.training_seconds is None else f"{row.training_seconds:.0f}"
        cells = [row.name, *values, _difference(row, best), rates, seconds, f"{row.task_milliseconds:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _difference(row: Row, best: Row) -> str:
    if row.name == best.name:
        return "best floor"
    own, other = (np.array([np.nan if v is None else v for v in each.per_user]) for each in (row, best))
    return signed(paired_interval(own, other, num_resamples=2000, root=row.primary == "rmse"))
