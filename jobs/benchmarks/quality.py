"""How good every algorithm is in each cold-start scenario of MovieLens-1M (MeLU's split), the closed-form floors first.

The test users are looked at once for each row, after its rates were chosen on validation users with one seed; all rows
get the same number of trials. A row that is done is kept as JSON under the output root: the same command goes on with
the next one, and a training that was cut goes on from its checkpoint.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from jobs import command
from jobs.benchmarks.quality_rows import Row, RowStore, lines_of
from jobs.benchmarks.trainings import Trained, seconds_of_training, train_here
from jobs.command import say
from jobs.evaluate import evaluate_beside_floors, evaluate_on_test
from metarec.build import ALGORITHMS
from metarec.config import Config, with_values
from metarec.errors import TrainingError

if TYPE_CHECKING:
    from metarec.data.dataset import Dataset

GRADIENT_STEPS = ("maml", "meta_sgd", "learned_mask", "reptile", "imaml", "fine_tuned")
"""Algorithms with an inner rate to choose; the others have the more outer rates to choose from."""

FLOORS_ROW = "floors"


class Plan(NamedTuple):
    """What is measured.

    Attributes:
        base: settings of every row.
        scenarios: name → its further settings.
        algorithms: names, in the order of the rows.
        seeds: of each row; the first one is that of the trials.
        rates: the trials of an algorithm with inner steps.
        outer_rates: the trials of one without.
    """

    base: Mapping[str, Any]
    scenarios: Mapping[str, Mapping[str, Any]]
    algorithms: Sequence[str]
    seeds: Sequence[int]
    rates: Sequence[Mapping[str, float]]
    outer_rates: Sequence[Mapping[str, float]]

    def trials(self, algorithm: str) -> Sequence[Mapping[str, float]]:
        """The settings that an algorithm is tried with."""
        return self.rates if algorithm in GRADIENT_STEPS else self.outer_rates

    def config(self, scenario: str, algorithm: str, seed: int, rates: Mapping[str, float]) -> Config:
        """Of one training, in this process."""
        own = {"algorithm.name": algorithm, "run.seed": seed, "train.num_workers": 0, "evaluate.support_sizes": []}
        return with_values(Config(), {**self.base, **self.scenarios[scenario], **own, **rates})


FULL = Plan(
    base={
        "data.source": "movielens-1m",
        "data.min_ratings": 13,
        "protocol.split": "melu_split.parquet",
        "protocol.max_ratings": 100,
        "outer.epochs": 6,  # no worse on validation users than the default 12, see README
    },
    scenarios={name: {"protocol.name": name} for name in ("user_cold", "item_cold", "user_and_item_cold")},
    algorithms=tuple(ALGORITHMS),
    seeds=(0, 1, 2),
    rates=[{"inner.lr": inner, "outer.lr": outer} for inner, outer in itertools.product((0.1, 0.5), (0.001, 0.003))],
    outer_rates=[{"outer.lr": rate} for rate in (0.0003, 0.001, 0.003, 0.01)],
)
QUICK = Plan(
    base={
        "synthetic.num_users": 80,
        "synthetic.num_items": 40,
        "model.hidden": [8],
        "model.embedding_width": 4,
        "outer.epochs": 1,
        "evaluate.num_draws": 2,
    },
    scenarios={"user_cold": {}},
    algorithms=("maml", "joint"),
    seeds=(0, 1),
    rates=[{"inner.lr": 0.5, "outer.lr": 0.003}, {"inner.lr": 0.1, "outer.lr": 0.003}],
    outer_rates=[{"outer.lr": 0.003}, {"outer.lr": 0.001}],
)


def measure(*, quick: bool, threads: int | None) -> dict[str, Any]:
    """Make the rows that are not there yet.

    Args:
        quick: synthetic ratings, two algorithms, one epoch.
        threads: of torch; None = as many as it takes.

    Returns:
        The report, plain values.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    with command.ray_session():
        return measure_plan(QUICK if quick else FULL)


def measure_plan(plan: Plan) -> dict[str, Any]:
    """`measure` for any plan, within a Ray session."""
    from metarec.data.prepare import prepare

    announce_plan(plan)
    datasets = {name: prepare(plan.config(name, "joint", 0, {}), progress=say) for name in plan.scenarios}
    stores = {name: RowStore.of(name, plan, dataset) for name, dataset in datasets.items()}
    announce_budget(plan, datasets, stores)
    for scenario, dataset in datasets.items():
        store = stores[scenario]
        if not store.has(FLOORS_ROW):
            config = plan.config(scenario, "joint", 0, {})
            evaluation = evaluate_beside_floors(config, dataset, {})
            store.save(FLOORS_ROW, [Row.of(evaluation, name) for name in evaluation.predictors])
        for algorithm in plan.algorithms:
            if not store.has(algorithm):
                store.save(algorithm, [make_row(plan, scenario, algorithm, dataset)])
                say(f"kept the row of {algorithm}, {scenario}")
    rows = {
        scenario: [row for name in (FLOORS_ROW, *plan.algorithms) for row in store.load(name)]
        for scenario, store in stores.items()
    }
    return {
        "scenarios": {scenario: [row.to_json() for row in found] for scenario, found in rows.items()},
        "num_trials": len(plan.rates),
        "seeds": list(plan.seeds),
        "table": [line for scenario, found in rows.items() for line in lines_of(scenario, found)],
    }


def describe(report: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the report."""
    yield (
        f"{report['num_trials']} trials a row on validation users with one seed; test figures are the mean of seeds "
        f"{', '.join(map(str, report['seeds']))}"
    )
    yield from report["table"]


def announce_plan(plan: Plan) -> None:
    """Say how many trainings there are."""
    num_rows, num_trials, num_seeds = len(plan.algorithms) * len(plan.scenarios), len(plan.rates), len(plan.seeds)
    say(
        f"plan: {num_rows} rows, each of {num_trials} trials and {num_seeds} seeds: "
        f"{num_rows * (num_trials + num_seeds - 1)} trainings; how long they take is told when there is data to try"
    )


def announce_budget(plan: Plan, datasets: "Mapping[str, Dataset]", stores: Mapping[str, RowStore]) -> None:
    """Say how many trainings lie ahead and how long they take at the pace of a step of each algorithm."""
    trainings, seconds = 0, 0.0
    for scenario, dataset in datasets.items():
        for algorithm in plan.algorithms:
            if not stores[scenario].has(algorithm):
                number = len(plan.trials(algorithm)) + len(plan.seeds) - 1
                trainings += number
                seconds += number * seconds_of_training(plan.config(scenario, algorithm, 0, {}), dataset)
    rows = len(plan.algorithms) * len(plan.scenarios)
    say(
        f"time budget: {rows} rows of at most {len(plan.rates)} trials and {len(plan.seeds)} seeds, of which "
        f"{trainings} trainings are left; about {seconds / 3600:.1f} hours of training with {torch.get_num_threads()} "
        "threads, evaluation not counted"
    )


def make_row(plan: Plan, scenario: str, algorithm: str, dataset: "Dataset") -> Row:
    """Choose rates on validation users, train the other seeds with them, and judge all on the test users."""
    from metarec.evaluate.seeds import with_mean_of

    first = plan.seeds[0]
    trials = [try_rates(plan.config(scenario, algorithm, first, rates), dataset) for rates in plan.trials(algorithm)]
    best, rates = best_of(list(zip(trials, plan.trials(algorithm), strict=True)), f"{algorithm}, {scenario}")
    others = [train_here(plan.config(scenario, algorithm, seed, rates), dataset) for seed in plan.seeds[1:]]
    members: dict[str, Trained] = {f"seed {seed}": each for seed, each in zip(plan.seeds, [best, *others], strict=True)}
    evaluation = evaluate_on_test(
        best.config,
        dataset,
        {name: each.predict for name, each in members.items()},
        training_seconds={name: each.seconds for name, each in members.items()},
    )
    row = Row.of(with_mean_of(evaluation, list(members), algorithm), algorithm)
    return row._replace(rates=dict(rates), validation=[trial and trial.validation for trial in trials])


def try_rates(config: Config, dataset: "Dataset") -> Trained | None:
    """Train one trial; None where its rates are too high for training to go on."""
    try:
        return train_here(config, dataset)
    except TrainingError as error:
        say(f"warning: a trial of {config.algorithm.name} is out: {error}")
        return None


def best_of(
    trials: Sequence[tuple[Trained | None, Mapping[str, float]]], what: str
) -> tuple[Trained, Mapping[str, float]]:
    """The trial that is best on validation users, with its rates.

    Args:
        trials: each with its rates.
        what: they are of.

    Raises:
        TrainingError: none of them trained to its end.
    """
    from metarec.evaluate.metric import metric_named

    trained = [(trial, rates) for trial, rates in trials if trial is not None]
    if not trained:
        raise TrainingError(f"none of the {len(trials)} trials of {what} trained to its end; lower the plan's rates")
    metric = metric_named(trained[0][0].config.evaluate.primary)
    return max(trained, key=lambda each: metric.improvement(each[0].validation))
