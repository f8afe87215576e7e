"""Serving: how long one user waits for a ranking of 4,000 items, and how many users a batch serves in a second.

Adapting to 20 ratings, scoring every item and picking the best ten, from ratings by id to recommendations by name. The
loop beside the batch is the same model, one user after the other, and both must recommend the same.

Then all users of a table on Ray Data, as `jobs.recommend --users` serves them (`served_table.py`).
"""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from jobs import command
from jobs.benchmarks.costs import product_rate, products_of, seconds_in_rounds
from jobs.benchmarks.served_table import describe_table, serve_table
from metarec.build import build_learner
from metarec.config import load_config
from metarec.schema import RATING, FeatureField, Head, Schema
from metarec.serving.learner import Learner
from metarec.serving.many_users import recommend_to_all
from metarec.task import Catalogue

CASES: dict[str, tuple[str, ...]] = {
    "ridge on mf": ("algorithm.name=ridge", "model.name=mf"),
    "ridge on melu": ("algorithm.name=ridge",),
    "maml on melu": (),
}
BY_PRODUCTS = "ridge on mf"
"""The case in which one product of matrices scores all; the others score pair by pair, and get smaller batches."""
FULL: dict[str, Any] = {
    "num_items": 4000,
    "num_users": 1000,
    "num_users_by_pairs": 64,
    "num_in_loop": 20,
    "num_in_table": 40_000,
    "rounds": 3,
    "seconds": 0.0,
}
QUICK: dict[str, Any] = {
    "num_items": 200,
    "num_users": 20,
    "num_users_by_pairs": 10,
    "num_in_loop": 5,
    "num_in_table": 40,
    "rounds": 1,
    "seconds": 0.0,
}
NUM_RATINGS = 20
CPU = torch.device("cpu")

Users = list[list[tuple[str, float]]]


def measure(*, quick: bool, threads: int | None) -> dict[str, Any]:
    """Each case's milliseconds a user alone, and users a second in one batch and one by one.

    Args:
        quick: in its smallest form.
        threads: of torch; None = as it is.
    """
    if threads:
        torch.set_num_threads(threads)
    scale = QUICK if quick else FULL
    report: dict[str, Any] = {"benchmark": "recommend", "threads": torch.get_num_threads(), **scale}
    report["product_rate"] = product_rate(CPU)
    report["cases"] = {
        name: _case(overrides, scale, scale["num_users" if name == BY_PRODUCTS else "num_users_by_pairs"])
        for name, overrides in CASES.items()
    }
    learner = make_learner(scale["num_items"], CASES[BY_PRODUCTS])
    began = time.perf_counter()
    with command.ray_session():
        ray_seconds = time.perf_counter() - began
        report["table"] = {
            "model": BY_PRODUCTS,
            "ray_seconds": ray_seconds,
            **serve_table(learner, make_users(scale["num_in_table"], scale["num_items"])),
        }
    return report


def _case(overrides: tuple[str, ...], scale: dict[str, Any], num_users: int) -> dict[str, Any]:
    learner = make_learner(scale["num_items"], overrides)
    users = make_users(num_users, scale["num_items"])
    few = users[: scale["num_in_loop"]]
    alone = [learner.adapt(user).recommend(10) for user in few]
    together = recommend_to_all(learner, users)
    work = {
        "batch": lambda: recommend_to_all(learner, users),
        "loop": lambda: [learner.adapt(user).recommend(10) for user in few],
    }
    seconds = seconds_in_rounds(work, rounds=scale["rounds"], least_seconds=scale["seconds"], device=CPU)
    operations, rate = products_of(work["batch"]), product_rate(CPU)
    pairs = [
        (a, b) for own, served in zip(alone, together, strict=False) for a, b in zip(own, served.best, strict=True)
    ]
    return {
        "users_in_the_batch": num_users,
        "milliseconds_alone": _milliseconds_alone(learner, few),
        "users_per_second": {"batch": len(users) / seconds["batch"], "loop": len(few) / seconds["loop"]},
        "operations_a_user": operations / len(users),
        "share_of_the_machine": operations / seconds["batch"] / rate,
        "most_users_a_second_at_that_rate": rate / (operations / len(users)),
        "same_items": sum(a.item == b.item for a, b in pairs) / len(pairs),
        "largest_difference": max(abs(a.score - b.score) for a, b in pairs),
    }


def _milliseconds_alone(learner: Learner, users: Users) -> dict[str, float]:
    """The median and the worst of single requests."""
    waits = []
    for user in users:
        began = time.perf_counter()
        learner.adapt(user).recommend(10)
        waits.append(1000 * (time.perf_counter() - began))
    return {"median": float(np.median(waits)), "worst": max(waits)}


def make_learner(num_items: int, overrides: tuple[str, ...]) -> Learner:
    """A model with MovieLens' kinds of fields and random weights."""
    torch.manual_seed(0)
    ids = tuple(str(item) for item in range(num_items))
    users = (FeatureField("gender", "categorical", ("F", "M")), FeatureField("occupation", "categorical", ids[:21]))
    items = (FeatureField("id", "categorical", ids), FeatureField("genres", "multi_valued", ids[:18], width=3))
    schema = Schema(users, items, (Head(RATING, 1.0, 5.0),))
    config = load_config(overrides=list(overrides))
    module = build_learner(config, schema)
    with torch.no_grad():
        for _, parameter in module.model.named_parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    features = {"id": torch.arange(1, num_items + 1)[:, None], "genres": torch.randint(0, 19, (num_items, 3))}
    catalogue = Catalogue({}, features, torch.tensor([3.5]), 0.3 * torch.randn(num_items, 1))
    return Learner(module, config, schema, catalogue, ids, ids, {})


def make_users(num_users: int, num_items: int) -> Users:
    """Ratings of random items."""
    rng = np.random.default_rng(0)
    return [
        [(str(item), float(rng.integers(1, 6))) for item in rng.choice(num_items, NUM_RATINGS, replace=False)]
        for _ in range(num_users)
    ]


def describe(report: dict[str, Any]) -> Iterator[str]:
    """The report as a table in Markdown."""
    rate = report["product_rate"] / 1e9
    yield f"{report['num_items']:,} items, {NUM_RATINGS} ratings a user"
    yield f"{report['threads']} threads, {rate:,.0f} GFLOP/s in matrix products"
    yield "| | one user | users in a batch | a second | one by one | share of the product rate | at that rate |"
    yield "|---|---|---|---|---|---|---|"
    for name, case in report["cases"].items():
        speed, wait = case["users_per_second"], case["milliseconds_alone"]
        cells = [
            f"{wait['median']:.1f} ms (worst {wait['worst']:.1f})",
            f"{case['users_in_the_batch']:,}",
            f"{speed['batch']:,.0f}",
            f"{speed['loop']:,.0f}",
            f"{case['share_of_the_machine']:.0%}",
            f"{case['most_users_a_second_at_that_rate']:,.0f}",
        ]
        yield f"| {name} | {' | '.join(cells)} |"
    worst = max(case["largest_difference"] for case in report["cases"].values())
    same = min(case["same_items"] for case in report["cases"].values())
    yield f"batch and loop recommend the same items ({same:.0%}), with scores that agree within {worst:.0e}"
    yield from describe_table(report["table"])
